"""The colours of pictures as a person reads them: value, interval, floor, gate and verdict."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from gendi.cli.console import table
from gendi.cli.gates import between, passes, verdict

if TYPE_CHECKING:
    from gendi.data import Data
    from gendi.evaluate import Evaluation

UNEQUAL = 0.1
"""How far classes in turn may be from the training pictures' before it is said: half the sum of absolute differences
of their shares."""


def colours_table(evaluation: "Evaluation") -> str:
    """Return the table of the metrics that have gates, and below it which gates failed."""
    gated = [metric for metric in evaluation.metrics if metric.gate is not None]
    rows = [
        (m.name, m.value, between(m.interval), m.floor, between(m.floor_interval), passes(m.gate), verdict(m))
        for m in gated
    ]
    judged = [m for m in gated if m.passed is not None]
    failed = [m.name for m in judged if not m.passed]
    return "\n".join(
        [
            "colours, in bytes from 0 to 255 (blacks and whites: shares of values); the floor is that of real images",
            table(rows, ("metric", "value", "95% interval", "floor", "its interval", "passes", "verdict")),
            f"{len(judged) - len(failed)} of {len(judged)} gates passed"
            + (f"; not {', '.join(failed)}" if failed else ""),
        ]
    )


def classes_in_turn(condition: Mapping[str, Any], data: "Data") -> tuple[str, ...]:
    """Return a note if the classes come in turn, as no `condition` was requested, but are not equally frequent."""
    import numpy as np

    labels = data.train.labels
    if condition or labels is None or len(data.class_names) < 2:
        return ()
    counts = np.bincount(labels, minlength=len(data.class_names))
    if np.abs(counts / counts.sum() - 1 / len(counts)).sum() / 2 <= UNEQUAL:
        return ()
    return (
        f"The classes of the samples come in turn, but the training images have from {counts.min():,} to "
        f"{counts.max():,} of a class. Colours and distances see this difference too.",
    )
