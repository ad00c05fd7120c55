"""`gendi cells perturb fit`."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from gendi.cli.console import program, say, show, show_json
from gendi.cli.outputs import Output
from gendi.cli.parse import Folder, Text, named, parse, shows
from gendi.errors import UsageError

EXAMPLES = """\
  gendi cells perturb fit drugs.h5ad --cell-type cell_type --drug drug --dose dose --control DMSO
  gendi cells perturb fit drugs.h5ad --cell-type cell_type --drug drug --dose dose --control DMSO --out models/drugs"""


@dataclass(frozen=True)
class CellsPerturbFit:
    """Learn from control and treated cells how drugs change each type of cells, by dose.

    The folder holds the model (bundle), a page with volcano plots and dose curves (report.html), and the effects of all
    genes at the tested doses (effects.csv). gendi cells perturb predict draws cells of it.
    """

    data: tyro.conf.Positional[Annotated[str, named("DATA")]]
    """An .h5ad of counts with control and treated cells."""
    cell_type: Annotated[Text, shows("required")] = None
    """The column of obs with types of cells."""
    drug: Annotated[Text, shows("required")] = None
    """The column with drugs."""
    dose: Annotated[Text, shows("required")] = None
    """The column with doses, numbers above 0 in treated cells."""
    control: Annotated[Text, shows("the cells of dose 0")] = None
    """The name that controls have as their drug, or a column of booleans."""
    batch: Annotated[Text, shows("all controls together")] = None
    """The column with batches, such as plates: treated cells are compared with controls of their own batch."""
    layer: Annotated[Text, shows("the one where counts are found")] = None
    """The layer that has the counts."""
    out: Annotated[Folder, shows("runs/ and the name of the data, with -perturbation")] = None
    """Folder of the model."""
    json: bool = False
    """Print one JSON object."""


def main(args: Sequence[str]) -> int:
    """Run the command."""
    command = parse(CellsPerturbFit, args, "gendi cells perturb fit", EXAMPLES)
    asked = {"--cell-type": command.cell_type, "--drug": command.drug, "--dose": command.dose}
    if missing := [name for name, value in asked.items() if value is None]:
        raise UsageError(
            f"{' and '.join(missing)} must be given: columns of obs with types, drugs and doses. gendi cells check "
            f"{command.data} lists the columns. See gendi cells perturb fit --help."
        )
    usual = Path("runs") / f"{Path(command.data).stem}-perturbation"
    output = Output(command.out, usual, None, [command.data], [command.data])
    output.check()
    from gendi.api.perturbation import effects, fit
    from gendi.api.perturbation.stored import save
    from gendi.data.cells.read import read_h5ad
    from gendi.report.perturbation import write_perturbation_page
    from gendi.storage.files import atomic_write
    from gendi.train.kept.folders import BUNDLE

    adata = read_h5ad(command.data, "no")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        model = fit(
            adata,
            cell_type=str(command.cell_type),
            drug=str(command.drug),
            dose=str(command.dose),
            control=command.control,
            batch=command.batch,
            layer=command.layer,
        )
    for text in dict.fromkeys(str(each.message) for each in caught if each.category is UserWarning):
        say(f"warning: {text}")
    folder = output.claim()
    folder.mkdir(parents=True, exist_ok=True)
    save(model, folder / BUNDLE)
    atomic_write(folder / "effects.csv", effects(model).to_csv(index=False))
    page = write_perturbation_page(model, folder / "report.html", command.data)
    e = model.experiment
    found = {
        "out": folder,
        "types": list(e.type_names),
        "drugs": list(e.drug_names),
        "genes": len(e.genes),
        "control": int(e.control.sum()),
        "treated": int((~e.control).sum()),
    }
    if command.json:
        show_json(found)
        return 0
    show(
        f"{len(e.drug_names):,} drugs, {len(e.type_names):,} types, {len(e.genes):,} genes; {found['control']:,} "
        f"control and {found['treated']:,} treated cells"
    )
    show(f"{folder / BUNDLE}    the model\n{folder / 'effects.csv'}\n{page}")
    say(
        f"next: {program()} cells perturb predict {folder} --cell-type {e.type_names[0]!r} --drug {e.drug_names[0]!r} "
        "--dose DOSE"
    )
    return 0
