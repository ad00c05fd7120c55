"""The metrics of cells and tables as a person reads them: value, interval, floor, gate, worst control, verdict."""

from typing import TYPE_CHECKING

from gendi.cli.console import cell, table

if TYPE_CHECKING:
    from gendi.evaluate import Evaluation
    from gendi.evaluate.result import Gate, Interval, Metric


def gates_table(evaluation: "Evaluation") -> str:
    """Return the table, and below it which gates failed and which metrics caught which control."""
    head = (
        "metric",
        "value",
        "95% interval",
        "floor",
        "its interval",
        "passes",
        "worst control",
        "score",
        "verdict",
    )
    rows = [
        (
            m.name,
            m.value,
            between(m.interval),
            m.floor,
            between(m.floor_interval),
            passes(m.gate),
            _control(m),
            _rounded(m.score),
            verdict(m),
        )
        for m in evaluation.metrics
    ]
    judged = [m for m in evaluation.metrics if m.passed is not None]
    failed = [m.name for m in judged if not m.passed]
    lines = [
        f"{evaluation.n:,} samples against {evaluation.reference_n:,} held-out rows of {evaluation.data}; the floor is "
        f"{evaluation.floor_n:,} real rows in the samples' place",
        table(rows, head),
        f"{len(judged) - len(failed)} of {len(judged)} gates passed"
        + (f"; failed: {', '.join(failed)}" if failed else ""),
    ]
    for control, gates in evaluation.caught().items():
        more = " ..." if len(gates) > 4 else ""
        by = f"caught by {len(gates)} of them, {', '.join(gates[:4])}{more}" if gates else "MISSED"
        lines.append(f"control {control}: {by}")
    if evaluation.by_class:
        lines += ["", classes_table(evaluation)]
    return "\n".join(lines)


def classes_table(evaluation: "Evaluation") -> str:
    """Return a table with a line for each class, the worst one first."""
    from gendi.evaluate.class_records import worst_first

    head = ("class", "samples", "real rows", "energy", "95% interval", "passes", "verdict", "recognised")
    rows = [
        (
            record.name,
            record.samples,
            record.real,
            record.energy,
            between(record.interval),
            None if record.limit is None else f"<= {cell(record.limit)}",
            "too few" if record.passed is None else "pass" if record.passed else "FAIL",
            None if record.recognised is None else f"{record.recognised:.0%}",
        )
        for record in worst_first(evaluation.by_class)
    ]
    title = "by class: the energy distance of its samples to all its real rows, in the features of the metrics"
    return f"{title}\n{table(rows, head)}"


def passes(gate: "Gate | None") -> str | None:
    """Return a gate in words: "<= 0.2", ">= 0.9", "0.8 to 1.2"."""
    match gate:
        case (None, float(high)):
            return f"<= {cell(high)}"
        case (float(low), None):
            return f">= {cell(low)}"
        case (float(low), float(high)):
            return f"{cell(low)} to {cell(high)}"
    return None


def verdict(metric: "Metric") -> str | None:
    """Return "pass" or "FAIL"; None where there is no gate or no value."""
    return None if metric.passed is None else "pass" if metric.passed else "FAIL"


def between(interval: "Interval | None") -> str | None:
    """Return an interval in words: "0.8 to 1.2"; None where there is none."""
    return None if interval is None else f"{cell(interval[0])} to {cell(interval[1])}"


def _control(metric: "Metric") -> str | None:
    worst = metric.worst_control
    return None if worst is None else f"{cell(metric.controls[worst])} {worst}"


def _rounded(score: float | None) -> float | None:
    return None if score is None else round(score, 2)
