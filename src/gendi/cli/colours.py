"""The colours of pictures as a person reads them: value, interval, floor, gate and verdict."""

from typing import TYPE_CHECKING

from gendi.cli.console import table
from gendi.cli.gates import between, passes, verdict

if TYPE_CHECKING:
    from gendi.evaluate import Evaluation


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
            + (f"; failed: {', '.join(failed)}" if failed else ""),
        ]
    )
