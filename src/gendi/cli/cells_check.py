"""`gendi cells check`."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from gendi.cli.console import show, show_json, table
from gendi.cli.parse import Text, named, parse, shows
from gendi.data.kinds import claimed_by, kind_of
from gendi.errors import DataError, UsageError

if TYPE_CHECKING:
    from gendi.data.cells.check import CellsReport

EXAMPLES = """\
  gendi cells check blood.h5ad
  gendi cells check blood.h5ad --layer counts
  gendi cells check a.h5ad,b.h5ad                       several files that are read as one
  gendi cells check filtered_feature_bc_matrix/         a folder of 10x
  gendi cells check cells:pbmc68k --json                data that come with scanpy"""


@dataclass(frozen=True)
class CellsCheck:
    """Inspect single cells before training on them: what the file holds, what is wrong, and how to mend it."""

    data: Annotated[tyro.conf.Positional[str], named("DATA", "(required)")] = ""
    """An .h5ad, a 10x .h5, a folder with matrix.mtx, or a .csv with a line for each cell, written cells:FILE.csv.
    Several files, with commas between them, are read as one.
    """
    layer: Annotated[Text, shows("the one where counts are found")] = None
    """The layer that has the counts."""
    recover_counts: bool = False
    """Compute counts from normalised or log-normalised expression, where they can be computed."""
    json: bool = False
    """Print one JSON object."""


def main(args: Sequence[str]) -> int:
    """Run the command. It ends with 3 if training would not begin."""
    command = parse(CellsCheck, args, "gendi cells check", EXAMPLES)
    if not command.data:
        raise UsageError("DATA is missing: say which cells to look at. See gendi cells check --help.")
    kind = claimed_by(command.data) or kind_of("cells")
    if kind.name != "cells":
        raise UsageError(
            f"{command.data} is read as {kind.name}, not as cells. For cells in such a file write cells:{command.data}."
        )
    report = kind.check(command.data, layer=command.layer, recover="yes" if command.recover_counts else None)
    if command.json:
        show_json(dataclasses.asdict(report) | {"usable": report.usable})
    else:
        show(_text(report))
    if not report.usable:
        raise DataError(f"{command.data} cannot be trained on as it is: see the errors above.")
    return 0


def _text(report: "CellsReport") -> str:
    """Return the report for a person."""
    rows: list[tuple[str, Any]] = [("cells", report.cells), ("genes", report.genes)]
    if report.counts is not None:
        rows.append(("counts in", report.counts))
    if report.depth is not None and report.zeros is not None:
        low, median, high = report.depth
        rows += [("depth", f"{low:,.0f} to {high:,.0f}, median {median:,.0f}"), ("zeros", f"{100 * report.zeros:.1f}%")]
        rows.append(("genes without counts", report.silent_genes))
    lines = [table(rows, indent=""), "", "matrices"]
    lines.append(table((name, f"looks like {look}") for name, look in report.matrices.items()))
    if report.conditions:
        lines += ["", "conditions (--condition NAME)"]
        lines.append(table((c.name, c.kind, _extent(c)) for c in report.conditions))
    if report.clusters:
        lines += [
            "",
            f"Without a condition of the kind class, training divides the cells into {report.clusters} clusters",
        ]
        lines.append("and gives them to the network as the condition cluster; --cells.clusters 0 turns this off.")
    if report.left_out:
        lines += ["", "no conditions"]
        lines.append(table(report.left_out.items()))
    if report.problems:
        lines += ["", "problems"]
        lines += [f"  {p.severity}: {p.what}\n    mend: {p.mend}" for p in report.problems]
    else:
        lines += ["", "nothing is wrong with it"]
    return "\n".join(lines)


def _extent(condition: Any) -> str:
    """Return the classes with their cells, or the range of a number."""
    if condition.kind == "class":
        shown = sorted(condition.counts.items(), key=lambda pair: -pair[1])[:8]
        more = f", and {len(condition.counts) - 8} more" if len(condition.counts) > 8 else ""
        return ", ".join(f"{name} {count:,}" for name, count in shown) + more
    return "-" if condition.low is None else f"{condition.low:.4g} to {condition.high:.4g}"
