"""The command line that trains as a run was trained: its preset, and a flag for every setting that differs from it."""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from gendi.diffusion.config import ConditionConfig
from gendi.errors import UsageError
from gendi.train.config import RunConfig
from gendi.train.kept.distil import METHODS
from gendi.train.presets import get_preset


def train_command(
    spec: str | None, config: RunConfig | None, size: Sequence[int] | None, budget: Any, out: str | Path
) -> list[str]:
    """Return the words of `gendi train`, quoted for a shell.

    Args:
        spec: the data.
        config: the configuration of the run; None if it is not known.
        size: height and width to which pictures were brought, if they were.
        budget: the table of the run's budget.
        out: the folder of the run.
    """
    words = ["gendi", "train", shlex.quote(spec or "DATA")]
    if config is not None:
        words += config_flags(config)
    if size is not None:
        words += ["--size", "x".join(map(str, size))]
    return [*words, *budget_flags(budget if isinstance(budget, dict) else {}), "--out", shlex.quote(str(out))]


def student_command(teacher: str, config: RunConfig, budget: Any, out: str | Path) -> list[str]:
    """Return the words of `gendi distil` that make a student of the configuration `config`, quoted for a shell.

    Args:
        teacher: what is distilled.
        config: the configuration of the student, whose loss is one of those of students.
        budget: the table of the student's budget.
        out: the folder of the student.
    """
    method = next(name for name, loss in METHODS.items() if loss == config.objective.loss)
    distil = config.objective.distil
    words = ["gendi", "distil", shlex.quote(teacher), "--method", method, "--calls", str(distil.calls)]
    told = [f"{scale:g}" for scale in distil.guidance_range]
    words += ["--guidance-range", *told] if told else ["--guidance", f"{distil.guidance:g}"]
    words += ["--lr", f"{config.optim.lr:g}"]
    return [*words, *budget_flags(budget if isinstance(budget, dict) else {}), "--out", shlex.quote(str(out))]


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

    Names, whether they must be there, and dropout need flags; everything else about a condition is read from the data.
    """
    names, dropouts = [c.name for c in conditions], [c.dropout for c in conditions]
    flags: list[str] = []
    # A condition that was named must be there; the preset's own is left out where the data have none.
    if [(c.name, c.required) for c in conditions] != [(c.name, c.required) for c in usual]:
        flags += ["--condition", *map(shlex.quote, names or ["none"])]
        usual = [ConditionConfig(name) for name in names]
    if dropouts != [c.dropout for c in usual]:
        flags += ["--condition-dropout", *map(str, dropouts)]
    return flags


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
