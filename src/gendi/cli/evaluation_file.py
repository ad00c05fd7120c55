"""The files of a run's evaluations: the newest in evaluation.json, the others beside it in the folder `evaluations`.

Evaluations of the same samples by other extractors add up in one file. Those of another number of samples, another
sampler or other weights stand each in a file of its own, whose name says the number and the seed.
"""

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

from gendi.errors import DataError

if TYPE_CHECKING:
    from gendi.evaluate import Evaluation

NEWEST, OTHERS = "evaluation.json", "evaluations"
_SAME = ("n", "seed", "fingerprint", "reference_n", "floor_n", "source", "ema")
"""What evaluations of the same samples have in common."""


def other_files(run: Path) -> list[Path]:
    """Return the files of the evaluations of a run that stand beside the newest one, by name."""
    return sorted((run / OTHERS).glob("*.json"))


def keep_beside(run: Path, new: "Evaluation") -> "Evaluation":
    """Write an evaluation of a run as its newest, and return it with what is known of the same samples already.

    The newest one so far is moved into the folder of the others, unless it is of the same samples.

    Raises `UsageError` if there is something that gendi did not write, `ResourceError` if the disk refuses.
    """
    from gendi.storage.disk import disk_error
    from gendi.storage.files import atomic_write
    from gendi.storage.record import RunRecord

    record, newest = RunRecord(run), run / NEWEST
    record.check(newest)
    old, beside = previous(newest), run / OTHERS / _name(new)
    whole = join(old, join(previous(beside), new))
    if old is not None and not _of_same_samples(old, new):
        place = run / OTHERS / _name(old)
        if not place.parent.is_dir():
            record.check(place.parent)
        try:
            place.parent.mkdir(exist_ok=True)
        except OSError as error:
            raise disk_error(error, place, 0) from error
        record.claim(place)
        atomic_write(place, as_text(old))
    record.claim(newest)
    atomic_write(newest, as_text(whole))
    if beside.is_file() and record.holds(beside):
        beside.unlink()
    return whole


def join(old: "Evaluation | None", new: "Evaluation") -> "Evaluation":
    """Return `new` with the metrics of `old` that other extractors computed for the same samples, so that successive
    evaluations add up.
    """
    if old is None or not _of_same_samples(old, new):
        return new
    names = {record.name for record in new.extractors}
    measured = {metric.name for metric in new.metrics}
    kept = tuple(record for record in old.extractors if record.name not in names)
    others = {record.name for record in kept}
    by_features = (m for m in old.metrics if m.extractor is not None and m.extractor not in names)
    metrics = tuple(m for m in by_features if m.name not in measured)
    seconds = {name: value for name, value in old.seconds.items() if name in others}
    return dataclasses.replace(
        new,
        extractors=kept + new.extractors,
        metrics=metrics + new.metrics,
        classes=new.classes or old.classes,
        seconds={**seconds, **new.seconds},
        notes=tuple(dict.fromkeys(old.notes + new.notes)),
    )


def as_text(evaluation: "Evaluation") -> str:
    """Return an evaluation as JSON, its metrics in the order in which they were measured."""
    return json.dumps(evaluation.to_dict(), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def previous(path: Path) -> "Evaluation | None":
    """Return the evaluation in a file; None if there is none, or none that can be read."""
    from gendi.errors import BundleError
    from gendi.evaluate import Evaluation
    from gendi.storage.files import read_json

    try:
        return Evaluation.from_dict(read_json(path)) if path.is_file() else None
    except (DataError, BundleError):
        return None


def _of_same_samples(a: "Evaluation", b: "Evaluation") -> bool:
    return all(getattr(a, name) == getattr(b, name) for name in _SAME)


def _name(evaluation: "Evaluation") -> str:
    same = [getattr(evaluation, name) for name in _SAME]
    digest = hashlib.sha256(json.dumps(same, sort_keys=True).encode()).hexdigest()[:8]
    return f"n{evaluation.n}-seed{evaluation.seed}-{digest}.json"
