"""The command lines that repeat a run and its evaluations."""

import shlex

from gendi.diffusion.gaussian.config import STUDENTS
from gendi.evaluate.result import Evaluation
from gendi.report.run import Run
from gendi.train.kept.as_flags import student_command, train_command
from gendi.train.kept.shipped import META


def commands(run: Run) -> list[list[str]]:
    """Return the commands that train, evaluate and report as this run did: lists of words, quoted for a shell."""
    where = shlex.quote(run.argument)
    lines = [_making(run)]
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


def _making(run: Run) -> list[str]:
    """Return the command that made the model."""
    if run.shipped is not None and isinstance(facts := run.meta.get(META), dict):
        return str(facts.get("command")).split()
    budget, start = run.settings.get("budget"), run.settings.get("start") or {}
    if run.config is not None and run.config.objective.loss in STUDENTS and isinstance(start.get("from"), str):
        return student_command(start["from"], run.config, budget, run.folder)
    return train_command(run.spec, run.config, run.size, budget, run.folder)


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
