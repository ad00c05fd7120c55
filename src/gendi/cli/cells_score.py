"""`gendi cells score`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from gendi.cli.console import say, show, show_json
from gendi.cli.outputs import Output
from gendi.cli.parse import Folder, Seed, Text, named, parse, shows
from gendi.errors import UsageError

if TYPE_CHECKING:
    from gendi.data.cells.scoring import Scores

EXAMPLES = """\
  gendi cells score pred.h5ad real.h5ad --control non-targeting --perturbation gene
  gendi cells score pred.h5ad real.h5ad --control DMSO --perturbation drug --cell-type cell_type
  gendi cells score pred.h5ad real.h5ad --control DMSO --perturbation drug --dose dose --out each.csv"""


@dataclass(frozen=True)
class CellsScore:
    """Score cells that any model predicted under perturbations against real cells, beside simple references.

    Every metric has a 95% interval. Beside it are what no change, the mean of the other perturbations, an additive
    model, ridge regression and interpolation of doses get, where the real cells allow them, and the ceiling: one half
    of the real cells against the other half. Genes are matched by name.
    """

    predicted: tyro.conf.Positional[Annotated[str, named("PRED")]]
    """An .h5ad of predicted cells, with their conditions in obs; its controls, if it has some, belong to it."""
    real: tyro.conf.Positional[Annotated[str, named("REAL")]]
    """An .h5ad of real cells with controls. Conditions that are not predicted serve the references only."""
    control: Annotated[Text, shows("required")] = None
    """The name that controls have in the column of --perturbation, or a column of booleans."""
    perturbation: Annotated[Text, shows("required")] = None
    """The column of obs with drugs or genes."""
    cell_type: Annotated[Text, shows("all cells are of one type")] = None
    """The column of obs with types of cells: changes are from controls of the same type."""
    dose: Annotated[Text, shows("perturbations have no doses")] = None
    """The column of obs with doses, numbers above 0; parts of a combination may have one each, such as 1+0.5."""
    combine: Annotated[Text, shows("+")] = None
    """What stands between the doses of a combination's parts."""
    layer: Annotated[Text, shows("X, or counts where X differs in scale")] = None
    """The matrix that is compared, of both files: a layer's name, X or raw."""
    shared_genes: bool = False
    """Score the genes that both files have, where genes of REAL are missing in PRED."""
    seed: Annotated[Seed, shows("0")] = None
    """Seed of the halves and of the intervals."""
    out: Annotated[Folder, shows("none")] = None
    """A .csv for the values of every condition."""
    json: bool = False
    """Print one JSON object."""


def main(args: Sequence[str]) -> int:
    """Run the command."""
    command = parse(CellsScore, args, "gendi cells score", EXAMPLES)
    output = _output(command)
    asked = {"control": command.control, "perturbation": command.perturbation}
    if missing := [f"--{name}" for name, value in asked.items() if value is None]:
        raise _without(missing, command.real)
    from gendi.data.cells.scoring import score

    found = score(
        command.predicted,
        command.real,
        control=str(command.control),
        perturbation=str(command.perturbation),
        cell_type=command.cell_type,
        dose=command.dose,
        combine="+" if command.combine is None else command.combine,
        layer=command.layer,
        shared_genes=command.shared_genes,
        seed=command.seed or 0,
    )
    for note in found.notes:
        say(f"note: {note}")
    if output is not None:
        found.frame().to_csv(output.claim(), index=False)
    if command.json:
        show_json(found.to_dict())
        return 0
    show(_text(found))
    if output is not None:
        show(f"\n{output.path}")
    return 0


def _text(found: "Scores") -> str:
    n, m = found.cells
    head = (
        f"{len(found.conditions):,} conditions, {found.genes:,} genes; {n:,} predicted cells of {found.predicted} "
        f"against {m:,} real cells of {found.real}"
    )
    return "\n".join([head, found.table(), "", *found.explanation])


def _output(command: CellsScore) -> Output | None:
    if command.out is not None and Path(command.out).suffix != ".csv":
        raise UsageError(f"--out {command.out}: the values of every condition are written as a .csv.")
    return Output.checked(command.out, None, None, [], [command.predicted, command.real])


def _without(missing: Sequence[str], real: str) -> UsageError:
    """Return the error for a command that lacks what says which cells are what, with the columns that there are."""
    from gendi.data.cells.read import read_h5ad

    obs: Any = read_h5ad(real).obs
    known = ", ".join(map(str, obs.columns)) or "none"
    return UsageError(
        f"{' and '.join(missing)} must be given: --perturbation names the column of obs with drugs or genes, and "
        f"--control the name that controls have in it. {real} has the columns {known}. See gendi cells score --help."
    )
