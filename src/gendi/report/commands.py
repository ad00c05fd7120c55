"""The command lines that repeat a run: its preset, and a flag for everything that was set differently."""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from gendi.diffusion.config import ConditionConfig
from gendi.errors import UsageError
from gendi.evaluate.result import Evaluation
from gendi.report.run import Run
from gendi.train.config import RunConfig
from gendi.train.presets import get_preset


def commands(run: Run) -> list[list[str]]:
    """Return the commands that train, evaluate and report as this run did: lists of words, quoted for a shell."""
    where = shlex.quote(str(run.folder))
    train = ["gendi", "train", shlex.quote(run.spec or "DATA")]
    if run.config is not None:
        train += config_flags(run.config)
    if run.size is not None:
        train += ["--size", f"{run.size[0]}x{run.size[1]}"]
    budget = run.settings.get("budget")
    train += [*budget_flags(budget if isinstance(budget, dict) else {}), "--out", where]
    lines = [train]
    if run.evaluation is not None:
        evaluate = ["gendi", "evaluate", where, "--n", str(run.evaluation.n)]
        if run.drawn is not None:
            how = run.drawn.how
            evaluate += ["--sampler", shlex.quote(how.sampler), "--steps", str(how.steps), "--seed", str(how.seed)]
        if run.evaluation.extractors:
            evaluate += ["--extractor", *(shlex.quote(record.name) for record in run.evaluation.extractors)]
        lines.append(evaluate)
    lines += [_evaluate_again(where, other) for other in run.others]
    return [*lines, ["gendi", "report", where]]


def _evaluate_again(where: str, evaluation: Evaluation) -> list[str]:
    """Return the command of an evaluation that stands beside the newest one."""
    line, source = ["gendi", "evaluate", where, "--n", str(evaluation.n)], evaluation.source
    line += [
        word
        for name in ("sampler", "steps", "seed")
        if source.get(name) is not None
        for word in (f"--{name}", shlex.quote(str(source[name])))
    ]
    if evaluation.extractors:
        line += ["--extractor", *(shlex.quote(record.name) for record in evaluation.extractors)]
    return line


def config_flags(config: RunConfig) -> list[str]:
    """Return `--preset` and a flag for every setting whose value differs from the preset's."""
    try:
        flags, usual = ["--preset", shlex.quote(config.preset)], get_preset(config.preset).config
    except UsageError:  # the configuration was made in Python, and its name is not that of a preset
        flags, usual = [], get_preset("mnist").config
    plain = dict(_leaves(usual.to_dict()))
    for name, value in _leaves(config.to_dict()):
        if name in ("preset", "conditions") or value == plain[name]:
            continue
        group, _, field = name.replace("_", "-").rpartition(".")
        match value:
            case bool():
                flags.append(f"--{group}.{field if value else f'no-{field}'}")
            case tuple() | list():
                flags += [f"--{group}.{field}", *map(str, value)]
            case _:
                flags += [f"--{group}.{field}", shlex.quote(str(value))]
    return flags + condition_flags(config.conditions, usual.conditions)


def condition_flags(conditions: Sequence[ConditionConfig], usual: Sequence[ConditionConfig]) -> list[str]:
    """Return the flags for conditions that differ from the `usual` ones.

    Names and dropout need flags; everything else about a condition is read from the data.
    """
    names, dropouts = [c.name for c in conditions], [c.dropout for c in conditions]
    flags: list[str] = []
    if names != [c.name for c in usual]:
        flags += ["--condition", *map(shlex.quote, names or ["none"])]
        usual = [ConditionConfig(name) for name in names]
    if dropouts != [c.dropout for c in usual]:
        flags += ["--condition-dropout", *map(str, dropouts)]
    return flags


def wrapped(words: list[str], width: int = 84) -> str:
    """Join words into a command line, broken before flags, so that lines stay within `width` where they can."""
    parts: list[str] = []
    for word in words:
        if word.startswith("--") or not parts:
            parts.append(word)
        else:
            parts[-1] += f" {word}"
    lines = parts[:1]
    for part in parts[1:]:
        if len(lines[-1]) + 1 + len(part) + 2 <= width:
            lines[-1] += f" {part}"
        else:
            lines.append(f"    {part}")
    return " \\\n".join(lines)


def budget_flags(budget: Mapping[str, Any]) -> list[str]:
    """Return the flag for a run's budget; whole minutes are written as minutes."""
    if isinstance(seconds := budget.get("seconds"), int | float):
        return ["--max-time", f"{seconds / 60:g}m" if seconds % 60 == 0 else f"{seconds:g}s"]
    for name in ("images", "steps"):
        if isinstance(count := budget.get(name), int):
            return [f"--{name}", str(count)]
    return []


def _leaves(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in table.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value
