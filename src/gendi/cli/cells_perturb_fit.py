"""`gendi cells perturb fit`."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from gendi.cli.console import program, say, show, show_json
from gendi.cli.outputs import Output
from gendi.cli.parse import Folder, Text, named, parse, shows
from gendi.errors import UsageError

EXAMPLES = """\
  gendi cells perturb fit drugs.h5ad --cell-type cell_type --drug drug --dose dose --control DMSO
  gendi cells perturb fit drugs.h5ad --cell-type cell_type --drug drug --dose dose --control DMSO --out models/drugs
  gendi cells perturb fit screen.h5ad --drug gene --control non-targeting      knocked-out genes, without doses
  gendi cells perturb fit drugs.h5ad --drug drug --dose dose --control DMSO --descriptors fingerprints.csv"""


@dataclass(frozen=True)
class CellsPerturbFit:
    """Learn from control and treated cells how drugs change each type of cells, by dose.

    Knocked-out genes are drugs without a column of doses, and A+B is a combination of the drugs A and B. The folder
    holds the model (bundle), a page with volcano plots and dose curves (report.html), and the effects of all genes at
    the tested doses (effects.csv). gendi cells perturb predict draws cells of it.
    """

    data: tyro.conf.Positional[Annotated[str, named("DATA")]]
    """An .h5ad of counts with control and treated cells."""
    drug: Annotated[Text, shows("required")] = None
    """The column of obs with drugs, or with genes that were knocked out."""
    cell_type: Annotated[Text, shows("all cells are of one type")] = None
    """The column with types of cells."""
    dose: Annotated[Text, shows("treatments have no doses")] = None
    """The column with doses, numbers above 0 in treated cells."""
    control: Annotated[Text, shows("the cells of dose 0, or a name such as control")] = None
    """The name that controls have as their drug, or a column of booleans."""
    batch: Annotated[Text, shows("all controls together")] = None
    """The column with batches, such as plates: treated cells are compared with controls of their own batch."""
    layer: Annotated[Text, shows("the one where counts are found")] = None
    """The layer that has the counts."""
    combine: Annotated[Text, shows("+")] = None
    """What stands between the names of drugs that were given together, as in A+B (and between their doses)."""
    descriptors: Annotated[Text, shows('uns["descriptors"], if it is there')] = None
    """A CSV of numbers that say what is known of drugs or genes, whose first column has their names: drugs that no cell
    had can then be predicted."""
    measure: bool = False
    """Fit once more without some conditions, and say how well these are predicted, beside simple models."""
    plane: Literal["pca", "umap"] = "pca"
    """How the page lays cells out in a plane: principal components, or a UMAP, which takes some 15 seconds."""
    out: Annotated[Folder, shows("runs/ and the name of the data, with -perturbation")] = None
    """Folder of the model."""
    json: bool = False
    """Print one JSON object."""


def main(args: Sequence[str]) -> int:
    """Run the command."""
    command = parse(CellsPerturbFit, args, "gendi cells perturb fit", EXAMPLES)
    if command.drug is None:
        raise UsageError(
            "--drug must be given: the column of obs with drugs, or with genes that were knocked out. gendi cells "
            f"check {command.data} lists the columns. See gendi cells perturb fit --help."
        )
    usual = Path("runs") / f"{Path(command.data).stem}-perturbation"
    output = Output(command.out, usual, None, [command.data], [command.data])
    output.check()
    from gendi.api.perturbation import effects, fit
    from gendi.api.perturbation.stored import save
    from gendi.data.cells.perturbation.unseen import shown
    from gendi.data.cells.read import read_h5ad
    from gendi.report.perturbation import write_perturbation_page
    from gendi.storage.files import atomic_write
    from gendi.train.kept.folders import BUNDLE

    adata = read_h5ad(command.data, "no")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        model = fit(
            adata,
            drug=command.drug,
            cell_type=command.cell_type,
            dose=command.dose,
            control=command.control,
            batch=command.batch,
            layer=command.layer,
            combine="+" if command.combine is None else command.combine,
            descriptors=command.descriptors,
            measure=command.measure,
        )
    for text in dict.fromkeys(str(each.message) for each in caught if each.category is UserWarning):
        say(f"warning: {text}")
    folder = output.claim()
    folder.mkdir(parents=True, exist_ok=True)
    save(model, folder / BUNDLE)
    atomic_write(folder / "effects.csv", effects(model).to_csv(index=False))
    page = write_perturbation_page(model, folder / "report.html", command.data, command.plane)
    e = model.experiment
    found: dict[str, Any] = {
        "out": folder,
        "types": list(e.type_names),
        "drugs": [e.drug_names[d] for d in e.singles],
        "combinations": list(dict.fromkeys(map(e.name_of, e.combinations.values()))),
        "genes": len(e.genes),
        "control": int(e.control.sum()),
        "treated": int((~e.control).sum()),
    }
    if model.effects.unseen is not None:
        own, mean = model.effects.unseen.quality()
        found["left-out drugs"] = {"correlation": own.value, "interval": own.interval, "mean effect": mean.value}
    if model.held_out is not None:
        found["explained"] = model.held_out.to_dict()
    if command.json:
        show_json(found)
        return 0
    show(
        f"{len(e.singles):,} {e.kind}{'s' if len(e.singles) > 1 else ''}{combined(model)}, "
        f"{len(e.type_names):,} type{'s' if len(e.type_names) > 1 else ''}, "
        f"{len(e.genes):,} genes; {found['control']:,} control and {found['treated']:,} treated cells"
        + (f"; controls are called {e.control_name!r}" if e.control_name else "")
    )
    show(f"{folder / BUNDLE}    the model\n{folder / 'effects.csv'}\n{page}")
    if model.effects.unseen is not None:
        show(
            f"effects of drugs that were left out correlate at {shown(own)} with what descriptors say, and at "
            f"{shown(mean)} with the mean effect of the others"
        )
    if command.measure:
        lines = [] if model.held_out is None else model.held_out.lines()
        about = "where conditions were held out, the share of the squared changes that is explained (1 is perfect):"
        show("\n  ".join([about, *lines]) if lines else "there are too few conditions to hold any out")
    of_type = f" --cell-type {e.type_names[0]!r}" if len(e.type_names) > 1 else ""
    at_dose = " --dose DOSE" if e.dosed else ""
    say(f"next: {program()} cells perturb predict {folder}{of_type} --drug {e.drug_names[0]!r}{at_dose}")
    return 0


def combined(model: Any) -> str:
    """Return how many combinations cells had, and what they say of others; nothing without any."""
    joint, names = model.effects.joint, {model.experiment.name_of(t) for t in model.experiment.combinations.values()}
    if not names:
        return ""
    scale = f" ({joint.scale:.2f} times the sum of their parts)" if joint is not None else ""
    return f", {len(names):,} combination{'s' if len(names) > 1 else ''}{scale}"
