"""The table of the classes: how far the samples of each are from its real rows, and whether it is recognised."""

from gendi.evaluate.class_records import ClassRecord, worst_first
from gendi.evaluate.result import Evaluation
from gendi.report.metrics import Meaning, with_interval, written
from gendi.report.page import Html, figures_table, fill

MOST = 60
"""The most classes that the table shows."""
HEADS = ("Samples", "Real rows", "Energy distance", "Gate", "Recognised")
ENERGY, RECOGNISED = Meaning("", ""), Meaning("", "", ".0%")


def by_class_table(evaluation: Evaluation) -> Html:
    """Return a table with a line for each class, the worst one first; nothing for an evaluation without classes."""
    if not evaluation.by_class:
        return Html("")
    return figures_table("Class", HEADS, [_row(record) for record in worst_first(evaluation.by_class)[:MOST]])


def by_class_in_words(evaluation: Evaluation) -> list[Html]:
    """Return the notes below the table."""
    records = evaluation.by_class
    few = sum(record.passed is None for record in records)
    failed = sum(record.passed is False for record in records)
    parts = [
        "Each class by itself: the energy distance of its samples to all its real rows, and below the verdict the most "
        "that chance would explain. Recognised is the share of its held-out rows that a classifier finds which learned "
        f"from samples. {failed or 'None'} of {len(records) - few} classes with enough rows "
        f"{'fail' if failed > 1 else 'fails'}."
    ]
    if few:
        has = "class has" if few == 1 else "classes have"
        parts.append(f"{few} {has} too few rows for a verdict.")
    if len(records) > MOST:
        parts.append(f"The table shows the {MOST} worst of {len(records)} classes.")
    return [fill("{text}", text=" ".join(parts))]


def _row(record: ClassRecord) -> Html:
    return fill(
        '<tr><th scope="row">{name}</th><td class="number">{samples}</td><td class="number">{real}</td>'
        '<td class="number value">{energy}</td><td class="number">{verdict}<br><span class="aim">{gate}</span></td>'
        '<td class="number">{recognised}</td></tr>',
        name=record.name,
        samples=f"{record.samples:,}",
        real=f"{record.real:,}",
        energy=with_interval(record.energy, record.interval, ENERGY),
        verdict="too few rows" if record.passed is None else "pass" if record.passed else "FAIL",
        gate="—" if record.limit is None else f"≤ {written(record.limit, ENERGY.form)}",
        recognised=with_interval(record.recognised, record.recognised_interval, RECOGNISED),
    )
