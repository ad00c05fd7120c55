"""The colours of pictures as a person reads them: value, interval, floor, gate and verdict."""

from typing import TYPE_CHECKING

from gendi.cli.console import table
from gendi.cli.gates import between, passes, verdict

if TYPE_CHECKING:
    from gendi.evaluate import Evaluation


def colours_table(evaluation: "Evaluation") -> str:
    """Return the table of the metrics that have gates, and below it which gates failed."""
    gated = [metric for metric in evaluation.metrics if metric.gate is not None]
    rows = [(m.name, m.value, between(m.interval), m.floor, passes(m.gate), verdict(m)) for m in gated]
    failed = [m.name for m in gated if not m.passed]
    return "\n".join(
        [
            "colours, in bytes from 0 to 255 (blacks and whites: shares of values); the floor is that of real images",
            table(rows, ("metric", "value", "95% interval", "floor", "passes", "verdict")),
            f"{len(gated) - len(failed)} of {len(gated)} gates passed"
            + (f"; not {', '.join(failed)}" if failed else ""),
        ]
    )
