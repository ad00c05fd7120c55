"""The metrics of an evaluation as a person reads them: each with its interval, its floor, and whether it is a grade."""

from typing import TYPE_CHECKING

from gendi.cli.colours import colours_table
from gendi.cli.console import cell, table
from gendi.cli.gates import between, gates_table
from gendi.evaluate.fakes import fakes_in_words
from gendi.evaluate.table import NO_GRADE

if TYPE_CHECKING:
    from gendi.evaluate import Evaluation
    from gendi.evaluate.result import Metric


def metrics_table(evaluation: "Evaluation") -> str:
    """Return the metrics with their floors, and with gates and controls or the GENDI report's figures if there are.

    A value in brackets is no grade on these data: the metric takes fakes for real pictures, and a line below the table
    says which. The colours of pictures have a table of their own.
    """
    gated = {metric.name for metric in evaluation.metrics if metric.gate is not None}
    if gated and not evaluation.extractors:
        return gates_table(evaluation)
    shown = [metric for metric in evaluation.metrics if metric.name not in gated]
    known = any(metric.report is not None for metric in shown)
    checked = any(metric.check is not None or metric.no_grade for metric in shown)
    last = (("GENDI report",) if known else ()) + (("as real?",) if checked else ())
    head = ("metric", "value", "95% interval", "floor", "its interval", "better", *last)
    rows = [
        (m.name, _value(m), between(m.interval), m.floor, between(m.floor_interval), m.better)
        + ((m.report,) if known else ())
        + ((m.as_real,) if checked else ())
        for m in shown
    ]
    text = (
        f"{evaluation.n:,} samples against {evaluation.reference_n:,} training images of {evaluation.data}; the floor "
        f"is {evaluation.floor_n:,} held-out images in the samples' place\n{table(rows, head)}"
    )
    return "\n".join([text, *_explained(evaluation), *([colours_table(evaluation)] if gated else [])])


def _value(metric: "Metric") -> object:
    return metric.value if metric.graded or metric.value is None else f"({cell(metric.value)})"


def _explained(evaluation: "Evaluation") -> list[str]:
    """Return lines on the last column: of how many pictures it speaks, and which metrics are no grades, and why."""
    checked = [metric for metric in evaluation.metrics if metric.check is not None]
    lines = []
    judged_at = {metric.check.n for metric in checked if metric.check is not None and metric.check.passed is not None}
    if sizes := sorted(judged_at):
        of = " and ".join(f"{size:,}" for size in sizes)
        lines.append(f"as real?: whether {of} samples lie where as many real images would")
    lines += [
        f"{NO_GRADE}: {metric.name} takes {fakes_in_words(metric.check.missed)} for real images"
        for metric in checked
        if metric.check is not None and metric.check.missed and metric.check.value is not None and not metric.no_grade
    ]
    for why in dict.fromkeys(metric.no_grade for metric in evaluation.metrics if metric.no_grade):
        names = ", ".join(metric.name for metric in evaluation.metrics if metric.no_grade == why)
        lines.append(f"{NO_GRADE}: {names}: {why}")
    return lines
