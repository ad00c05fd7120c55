"""The report of `gendi data check` on a table, as a person reads it."""

import shlex
from typing import TYPE_CHECKING

from gendi.cli.console import program, table

if TYPE_CHECKING:
    from gendi.data.tables.check import TableReport


def shown(report: "TableReport") -> str:
    """Return the report as text."""
    share = f" ({100 * report.gaps / report.rows:.3g}%)" if report.gaps else ""
    facts = [
        ("rows", f"{report.rows:,}"),
        ("columns", f"{len(report.columns):,}"),
        ("rows with a gap", f"{report.gaps:,}{share}"),
        ("rows that repeat an earlier one", f"{report.duplicates:,}"),
    ]
    rows = [(c.name, c.kind, f"{c.missing:,}", f"{c.distinct:,}", c.condition, c.extent) for c in report.columns]
    lines = [report.name, table(facts), "", "columns"]
    lines.append(table(rows, ("name", "kind", "missing", "different", "condition", "what")))
    if report.left_out:
        lines += ["", "left out: samples will not have", table(report.left_out.items())]
    if any(column.condition for column in report.columns):
        command = shlex.join([program(), "train", report.spec, "--condition"])
        lines += ["", f"columns with a condition can be given to the network: {command} NAME ..."]
    if report.proposals:
        lines += ["", "proposals", *(f"  {sentence}" for sentence in report.proposals)]
    if report.rules:
        flags = " ".join(f"--rule {shlex.quote(rule)}" for rule in report.rules)
        lines += ["", "rules that all rows keep", *(f"  {rule}" for rule in report.rules)]
        lines += [f"a model whose samples keep them too: {program()} train {shlex.quote(report.spec)} {flags}"]
    if report.broken:
        lines += ["", "rules that are broken", *(f"  {sentence}" for sentence in report.broken)]
    lines += [f"note: {note}" for note in report.notes]
    return "\n".join(lines)
