"""Which of several runs is best, and which are ties with it: differences that chance explains are not told apart."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gendi.cli.console import cell
from gendi.cli.evaluation_file import NEWEST, other_files, previous
from gendi.errors import UsageError

if TYPE_CHECKING:
    from gendi.evaluate import Evaluation


def standings(runs: Sequence[Path], names: Sequence[str | None]) -> list[dict[str, Any]]:
    """Return for each metric among `names`, one for each run, the best run, its ties, and those that are worse.

    Runs are compared where their evaluations are on one scale (`gendi.evaluate.compare`): each scale on which there are
    two or more has a standing of its own. The value of the best run is `value`. Evaluations that stand beside the
    newest one of a run take part under the name of the run, with the sampler and its calls in brackets.
    """
    known: dict[str, Evaluation] = {}
    for run in runs:
        if (newest := previous(run / NEWEST)) is not None:
            known[str(run)] = newest
        for path in other_files(run):
            if (other := previous(path)) is not None:
                how = " ".join(str(other.source[key]) for key in ("sampler", "steps") if key in other.source)
                label = f"{run} ({how or path.stem})"
                known[f"{run} ({path.stem})" if label in known else label] = other
    out = []
    for name in dict.fromkeys(name for name in names if name is not None):
        values = {run: {m.name: m.value for m in found.metrics if m.graded}.get(name) for run, found in known.items()}
        left = {run: found for run, found in known.items() if values[run] is not None}
        while left:
            entry, left = _standing(name, left)
            out += [entry] if entry["ties"] or entry["worse"] else []
    return out


def in_words(standing: dict[str, Any]) -> str:
    """Return a standing as a line: "fid-digits: runs/a is best (0.27); a tie with it: runs/b"."""
    line = f"{standing['name']}: {standing['best']} is best ({cell(standing['value'])})"
    if standing["ties"]:
        line += f"; {'ties' if len(standing['ties']) > 1 else 'a tie'} with it: {', '.join(standing['ties'])}"
    return line


def _standing(name: str, measured: "dict[str, Evaluation]") -> "tuple[dict[str, Any], dict[str, Evaluation]]":
    """Return the standing of the best run and of all on its scale, and the evaluations on other scales."""
    from gendi.evaluate import compare

    def loss(run: str) -> float:
        metric = measured[run][name]
        return metric.loss(metric.value or 0.0)

    best, *others = sorted(measured, key=loss)
    ties: list[str] = []
    worse: list[str] = []
    elsewhere = {}
    for run in others:
        try:
            (found,) = (d for d in compare(measured[best], measured[run]) if d.name == name)
        except UsageError:  # another n, another reference, other features
            elsewhere[run] = measured[run]
            continue
        (ties if found.tie else worse).append(run)
    return {"name": name, "value": measured[best][name].value, "best": best, "ties": ties, "worse": worse}, elsewhere
