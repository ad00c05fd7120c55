"""The command lines that repeat a run and its evaluations."""

import shlex

from gendi.evaluate.result import Evaluation
from gendi.report.run import Run
from gendi.train.kept.as_flags import train_command


def commands(run: Run) -> list[list[str]]:
    """Return the commands that train, evaluate and report as this run did: lists of words, quoted for a shell."""
    where = shlex.quote(str(run.folder))
    lines = [train_command(run.spec, run.config, run.size, run.settings.get("budget"), run.folder)]
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
