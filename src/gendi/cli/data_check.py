"""`gendi data check`."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import tyro

from gendi.cli.console import cell, program, show, show_json, table
from gendi.cli.parse import CountFromZero, Size, named, parse, shows
from gendi.cli.table_check import shown
from gendi.data.kinds import find_kind

if TYPE_CHECKING:
    from gendi.data.condition_report import ConditionReport

MOST_SHOWN = 100
"""Classes or tags whose counts are shown."""
EXAMPLES = """\
  gendi data check mnist
  gendi data check photos/ --size 64
  gendi data check seqs.fasta
  gendi data check people.csv                           the columns of a table, their kinds and gaps
  gendi data check images.npz --json"""


@dataclass(frozen=True)
class DataCheck:
    """Read a data set as training would, and report on every picture or sequence, or on every column of a table.
    Nothing is trained.
    """

    data: Annotated[tyro.conf.Positional[str], named("DATA")]
    """mnist, fashion-mnist, a folder of images (subfolders are classes) or of idx files, an .npz or a .npy; a .fasta,
    .txt or .smi of sequences, or a .csv that has them in a column, written sequences:FILE.csv; a table as .csv or
    .parquet.
    """
    size: Annotated[Size, shows("the images' own")] = None
    """Bring all images to this size: 28, or 96x64 for height 96 and width 64."""
    max_bad: Annotated[CountFromZero, shows("1% of them")] = None
    """How many unreadable files or sequences may be skipped."""
    rule: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """Tables: a rule, "start <= end", to name the rows that break it; the flag may be repeated."""
    json: bool = False
    """Print one JSON object."""


def main(args: Sequence[str]) -> int:
    """Run the command."""
    command = parse(DataCheck, args, "gendi data check", EXAMPLES)
    from gendi.data import check_data

    report = check_data(command.data, size=command.size, max_bad=command.max_bad, rules=command.rule)
    if command.json:
        show_json(report.to_dict())
        return 0
    if find_kind(command.data).name == "table":
        show(shown(report))
        return 0
    show(report.name)
    show(table([(label, f"{value:,}" if isinstance(value, int) else value) for label, value in report.facts()]))
    if report.conditions:
        given = ["--size", "x".join(map(str, command.size))] if command.size else []
        line = shlex.join([program(), "train", command.data, *given, "--condition"])
        show(f"\nconditions ({line} NAME ...)")
        rows = [(c.name, c.kind, _said_of(c), c.missing) for c in report.conditions]
        show(table(rows, ("name", "kind", "what", "missing")))
    for condition in report.conditions:
        if condition.counts:
            show(f"\n{condition.name}")
            counts = list(condition.counts.items())
            show(table(counts[:MOST_SHOWN]))
            if len(counts) > MOST_SHOWN:
                show(f"  ... and {len(counts) - MOST_SHOWN} more: --json lists them all")
    if report.skipped:
        show(f"\nleft out: {len(report.skipped):,}")
        show(table(report.skipped))
    for note in report.notes:
        show(f"note: {note}")
    return 0


def _said_of(condition: "ConditionReport") -> str:
    match condition.kind:
        case "class":
            return f"{condition.size:,} classes"
        case "tags":
            return f"{condition.size:,} tags"
        case "image":
            return f"{condition.size} channel(s)"
    many = f"{condition.size:,} numbers, " if condition.kind == "vector" else ""
    if condition.low is None:
        return f"{many}none in training"
    return f"{many}{cell(condition.low)} to {cell(condition.high)}, {cell(condition.mean)} +- {cell(condition.std)}"
