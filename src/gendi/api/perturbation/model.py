"""The models of perturbations: fitted to an AnnData of control and treated cells, they predict an AnnData."""

import json
import warnings
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gendi.data.cells.extra import require
from gendi.data.cells.output import names_of, with_counts
from gendi.data.cells.perturbation.dose_curves import DoseCurves
from gendi.data.cells.perturbation.experiment import Experiment, checked_dose, read_experiment
from gendi.data.cells.read import plain_columns
from gendi.errors import UsageError
from gendi.machine.version import __version__

WAYS = ("transport", "diffusion")
SOURCE = "gendi"


@dataclass(frozen=True, eq=False)
class Perturbation:
    """A fitted model: the experiment, the drugs' effects, the diffusion model or None, and the columns' names."""

    experiment: Experiment
    effects: DoseCurves
    diffusion: Any
    keys: tuple[str, str, str]
    var: dict[str, list[Any]] = field(default_factory=dict)
    """The columns of `var` of the training data."""

    def effects_of(self, *, cell_type: str, drug: str, dose: float) -> Any:
        """Return the predicted effects on all genes at any dose as a DataFrame; the names of the genes are its index.

        Its columns are `log_fold_change` (natural logarithm) and `standard_error`. Raises the errors of `predict`.
        """
        c, d, x = self.experiment.type_number(cell_type), self.experiment.drug_number(drug), checked_dose(dose)
        self.effects.check(c, d, x)
        rows = {"log_fold_change": self.effects.lfc(c, d, x), "standard_error": self.effects.standard_error(c, d, x)}
        return require("pandas").DataFrame(rows, index=list(self.experiment.genes))


def fit(
    adata: Any,
    *,
    cell_type: str,
    drug: str,
    dose: str,
    control: str | None = None,
    batch: str | None = None,
    layer: str | None = None,
    interactions: bool = True,
    diffusion: bool = False,
    steps: int = 1500,
    seed: int = 0,
) -> Perturbation:
    """Learn the effects of drugs on types of cells (`gendi.data.cells.perturbation.dose_curves`).

    What the fit says against itself is a warning: a dose curve at the edge of what is tried, and held-out doses at
    which straight lines between the tested doses are better than the model.

    Args:
        adata, cell_type, drug, dose, control, batch, layer: see
            `gendi.data.cells.perturbation.experiment.read_experiment`.
        interactions: whether a drug may have different effects on different types.
        diffusion: whether to train the network too, which `predict` needs for `how="diffusion"`.
        steps, seed: number of training steps and seed of the network.

    Raises:
        UsageError, DataError: where `read_experiment` raises them.
    """
    experiment = read_experiment(
        adata, cell_type=cell_type, drug=drug, dose=dose, control=control, batch=batch, layer=layer
    )
    effects = DoseCurves(interactions).fit(experiment)
    for text in effects.warnings():
        warnings.warn(text, stacklevel=2)
    network = None
    if diffusion:
        from gendi.api.perturbation.diffusion import Diffusion

        network = Diffusion(effects, steps=steps, seed=seed)
    return Perturbation(experiment, effects, network, (cell_type, drug, dose), plain_columns(adata.var))


def predict(
    model: Perturbation,
    *,
    cell_type: str,
    drug: str,
    dose: float,
    n: int | None = None,
    how: str = "transport",
    state_scale: float = 1.0,
    drug_scale: float = 1.0,
    seed: int = 0,
) -> Any:
    """Return cells of a type under a dose of a drug as an AnnData in the form of `gendi.sample`'s.

    Counts are in `layers["counts"]`, their logarithms ln(1 + 1e4 k / depth) in X; obs and var are as in training.

    A dose outside the tested ones of the drug is a warning that says how far outside it is.

    Args:
        model: a fitted model.
        cell_type, drug, dose: the combination to predict; the dose is in the units of the training data.
        n: number of cells; by default as many as the type has controls (in the batches of the drug). Controls are taken
            in turn.
        how: "transport" changes the counts of control cells, "diffusion" draws new cells of the same depths.
        state_scale, drug_scale: guidance of the diffusion; 1 means no guidance.
        seed: the seed of everything that is drawn.

    Raises:
        UsageError: an unknown type, drug or value of `how`, n below 1, or a dose that is not above 0.
        DataError: a type without control cells.
    """
    pandas = require("pandas")
    if how not in WAYS:
        raise UsageError(f"how = {how!r} must be {' or '.join(WAYS)}.")
    if n is not None and n < 1:
        raise UsageError(f"n = {n} must be 1 or more.")
    c, d, x = model.experiment.type_number(cell_type), model.experiment.drug_number(drug), checked_dose(dose)
    model.effects.check(c, d, x)
    far = model.effects.outside(d, x)
    if far:
        warnings.warn(far, stacklevel=2)
    controls = model.experiment.controls(c, d)
    controls = controls[np.arange(n or len(controls)) % len(controls)]
    if how == "transport":
        counts = model.effects.predict(controls, c, d, x, seed)
    elif model.diffusion is None:
        raise UsageError('how = "diffusion" needs a model that was fitted with diffusion=True.')
    else:
        counts = model.diffusion.predict(controls, c, d, x, seed, state_scale, drug_scale)
    size = len(counts)
    record = {"gendi": __version__, "cell_type": cell_type, "drug": drug, "dose": x, "how": how, "seed": seed}
    source = [cell_type, drug, x, how, state_scale, drug_scale, model.effects.lfc(c, d, x).tolist()]
    type_key, drug_key, dose_key = model.keys
    obs = pandas.DataFrame(
        {
            type_key: pandas.Categorical([cell_type] * size, categories=list(model.experiment.type_names)),
            drug_key: pandas.Categorical([drug] * size, categories=list(model.experiment.drug_names)),
            dose_key: np.full(size, x),
            "source": pandas.Categorical([SOURCE] * size),
        },
        index=names_of(size, {}, {"source": source, "seed": seed}),
    )
    var = pandas.DataFrame(model.var, index=list(model.experiment.genes))
    return with_counts(counts, obs, var, {"gendi": json.dumps(record)})
