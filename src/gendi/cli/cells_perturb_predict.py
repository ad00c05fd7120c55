"""`gendi cells perturb predict`."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from gendi.cli.console import say, show, show_json
from gendi.cli.outputs import Output
from gendi.cli.parse import Folder, Samples, Seed, Text, named, parse, shows, spec
from gendi.errors import UsageError

EXAMPLES = """\
  gendi cells perturb predict runs/drugs-perturbation --cell-type B --drug aspirin --dose 3
  gendi cells perturb predict models/drugs --drug aspirin --dose 3 --out pred.h5ad     every type of cells
  gendi cells perturb predict models/drugs --drug aspirin+ibuprofen --dose 3+1
  gendi cells perturb predict models/screen --drug KLF1     a knocked-out gene, which has no dose"""

Dose = Annotated[str | None, spec("DOSE", str)]


@dataclass(frozen=True)
class CellsPerturbPredict:
    """Draw cells as they would look under a dose of a drug, by a model that gendi cells perturb fit made.

    The .h5ad is like one of gendi sample: counts in layers["counts"], their logarithms in X.
    """

    model: tyro.conf.Positional[Annotated[str, named("MODEL")]]
    """Folder of the model."""
    drug: Annotated[Text, shows("required")] = None
    """The drug, or the gene that is knocked out; or a combination, such as A+B."""
    dose: Annotated[Dose, shows("required where the training data have doses")] = None
    """The dose, in the units of the training data: one number, or one for each part of a combination, such as 1+0.5."""
    cell_type: Annotated[Text, shows("every type")] = None
    """The type of cells."""
    descriptors: Annotated[Text, shows("those that the model was fitted with")] = None
    """A CSV with descriptors of more drugs, in the same columns."""
    batch: Annotated[Text, shows("all those in which the drug was given")] = None
    """The batch, such as a donor, whose control cells are changed."""
    n: Annotated[Samples, shows("as many as the type has controls")] = None
    """Number of cells of each type."""
    seed: Annotated[Seed, shows("0")] = None
    """Seed of all draws."""
    out: Annotated[Folder, shows("pred.h5ad in the model's folder")] = None
    """Where to, an .h5ad."""
    json: bool = False
    """Print one JSON object."""


def main(args: Sequence[str]) -> int:
    """Run the command."""
    command = parse(CellsPerturbPredict, args, "gendi cells perturb predict", EXAMPLES)
    if command.drug is None:
        raise UsageError("--drug must be given. See gendi cells perturb predict --help.")
    output = Output(command.out, Path(command.model) / "pred.h5ad", None, [], [])
    if output.path.suffix != ".h5ad":
        raise UsageError(f"--out {command.out}: cells are written as an .h5ad.")
    output.check()
    from gendi.api.perturbation import predict
    from gendi.api.perturbation.stored import load
    from gendi.data.cells.extra import require
    from gendi.data.cells.output import write

    model = load(command.model)
    if command.descriptors is not None:
        model = model.with_descriptors(command.descriptors)
    types = model.experiment.type_names if command.cell_type is None else (command.cell_type,)
    parts = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        for cell_type in types:
            parts.append(
                predict(
                    model,
                    cell_type=cell_type,
                    drug=command.drug,
                    dose=command.dose,
                    batch=command.batch,
                    n=command.n,
                    seed=command.seed or 0,
                )
            )
    for text in dict.fromkeys(str(each.message) for each in caught if each.category is UserWarning):
        say(f"warning: {text}")
    if len(parts) > 1:
        for i, part in enumerate(parts):
            part.obs_names = [f"{name}-{i}" for name in part.obs_names]
    cells = parts[0] if len(parts) == 1 else require("anndata").concat(parts, merge="same", uns_merge="first")
    write(output.claim(), cells)
    if command.json:
        show_json({"out": output.path, "cells": len(cells), "types": list(types)})
    else:
        show(f"{output.path}    {len(cells):,} cells of {len(types)} type{'s' if len(types) > 1 else ''}")
    return 0
