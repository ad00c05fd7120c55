"""The file of an evaluation, to which successive evaluations of the same samples add."""

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING

from gendi.errors import DataError

if TYPE_CHECKING:
    from gendi.evaluate import Evaluation


def join(old: "Evaluation | None", new: "Evaluation") -> "Evaluation":
    """Return `new` with the metrics of `old` that other extractors computed for the same samples, so that successive
    evaluations add up.
    """
    if old is None or any(
        getattr(old, name) != getattr(new, name)
        for name in ("n", "seed", "fingerprint", "reference_n", "floor_n", "source", "ema")
    ):
        return new
    names = {record.name for record in new.extractors}
    measured = {metric.name for metric in new.metrics}
    kept = tuple(record for record in old.extractors if record.name not in names)
    others = {record.name for record in kept}
    metrics = tuple(m for m in old.metrics if m.extractor in others and m.name not in measured)
    seconds = {name: value for name, value in old.seconds.items() if name in others}
    return dataclasses.replace(
        new,
        extractors=kept + new.extractors,
        metrics=metrics + new.metrics,
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
