"""Which of several runs is best, and which are ties with it: differences that chance explains are not told apart."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gendi.cli.console import cell
from gendi.errors import BundleError, DataError, UsageError
from gendi.storage.files import read_json

if TYPE_CHECKING:
    from gendi.evaluate import Evaluation


def standings(runs: Sequence[Path], names: Sequence[str | None]) -> list[dict[str, Any]]:
    """Return for each metric among `names`, one for each run, the best run, its ties, and those that are worse.

    Only evaluations on the scale of the best one are compared (`gendi.evaluate.compare`), and a metric with fewer than
    two of them is left out. The value of the best run is `value`.
    """
    known = {run: found for run in runs if (found := _evaluation(run / "evaluation.json")) is not None}
    out = []
    for name in dict.fromkeys(name for name in names if name is not None):
        measured = {
            run: e for run, e in known.items() if any(m.name == name and m.value is not None for m in e.metrics)
        }
        if entry := _standing(name, measured):
            out.append(entry)
    return out


def in_words(standing: dict[str, Any]) -> str:
    """Return a standing as a line: "fid-digits: runs/a is best (0.27); a tie with it: runs/b"."""
    line = f"{standing['name']}: {standing['best']} is best ({cell(standing['value'])})"
    if standing["ties"]:
        line += f"; {'ties' if len(standing['ties']) > 1 else 'a tie'} with it: {', '.join(standing['ties'])}"
    return line


def _standing(name: str, measured: "dict[Path, Evaluation]") -> dict[str, Any] | None:
    from gendi.evaluate import compare

    def loss(run: Path) -> float:
        metric = measured[run][name]
        return metric.loss(metric.value or 0.0)

    places = sorted(measured, key=loss)
    if not places:
        return None
    best, ties, worse = places[0], [], []
    for run in places[1:]:
        try:
            (found,) = (d for d in compare(measured[best], measured[run]) if d.name == name)
        except UsageError:  # another n, another reference, other features
            continue
        (ties if found.tie else worse).append(str(run))
    if not ties and not worse:
        return None
    return {"name": name, "value": measured[best][name].value, "best": str(best), "ties": ties, "worse": worse}


def _evaluation(path: Path) -> "Evaluation | None":
    from gendi.evaluate import Evaluation

    try:
        return Evaluation.from_dict(read_json(path)) if path.is_file() else None
    except (DataError, BundleError):
        return None
