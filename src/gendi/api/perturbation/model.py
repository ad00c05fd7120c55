"""From an AnnData of controls and treated cells to an AnnData of cells that nobody measured."""

import json
from dataclasses import dataclass
from typing import Any

import numpy as np

from gendi.data.cells.extra import require
from gendi.data.cells.perturbation.effects import HillEffects
from gendi.data.cells.perturbation.experiment import Experiment, checked_dose, read_experiment
from gendi.errors import UsageError
from gendi.machine.version import __version__

WAYS = ("transport", "diffusion")
SOURCE = "gendi"


@dataclass(frozen=True, eq=False)
class Perturbation:
    """What was learned: effects, the diffusion if there is one, and the names of the columns."""

    experiment: Experiment
    effects: HillEffects
    diffusion: Any
    keys: tuple[str, str, str]


def fit(
    adata: Any,
    *,
    cell_type: str,
    drug: str,
    dose: str,
    control: str | None = None,
    layer: str | None = None,
    interactions: bool = True,
    diffusion: bool = False,
    steps: int = 1500,
    seed: int = 0,
) -> Perturbation:
    """Learn what drugs do to types of cells.

    Args:
        adata, cell_type, drug, dose, control, layer: see `gendi.data.cells.perturbation.experiment.read_experiment`.
        interactions: whether a drug may do different things to different types.
        diffusion: train the network too, for `how="diffusion"` of `predict`; `steps` and `seed` are its.

    Raises:
        UsageError, DataError: as `read_experiment`.
    """
    experiment = read_experiment(adata, cell_type=cell_type, drug=drug, dose=dose, control=control, layer=layer)
    effects = HillEffects(interactions).fit(experiment)
    network = None
    if diffusion:
        from gendi.api.perturbation.diffusion import Diffusion

        network = Diffusion(effects, steps=steps, seed=seed)
    return Perturbation(experiment, effects, network, (cell_type, drug, dose))


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
    """Return cells of a type under a dose of a drug as an AnnData: counts in X, and obs as the training data's.

    Args:
        n: how many; as many as the type has controls by default. Controls are taken in turn.
        how: "transport" moves control cells, "diffusion" draws new ones of their depths.
        state_scale, drug_scale: guidance of the diffusion; 1 is none.
        seed: of everything that is drawn.

    Raises:
        UsageError: an unknown type or drug, a dose that is not above 0, a way that there is not.
        DataError: a type without control cells.
    """
    anndata, pandas = require("anndata"), require("pandas")
    if how not in WAYS:
        raise UsageError(f"how = {how!r}: it is {' or '.join(WAYS)}.")
    if n is not None and n < 1:
        raise UsageError(f"n = {n}: ask for 1 cell or more.")
    c, d, x = model.experiment.type_number(cell_type), model.experiment.drug_number(drug), checked_dose(dose)
    controls = model.experiment.controls(c)
    controls = controls[np.arange(n or len(controls)) % len(controls)]
    if how == "transport":
        counts = model.effects.predict(controls, c, d, x, seed)
    elif model.diffusion is None:
        raise UsageError('how = "diffusion" needs a model that was fitted with diffusion=True.')
    else:
        counts = model.diffusion.predict(controls, c, d, x, seed, state_scale, drug_scale)
    size = len(counts)
    type_key, drug_key, dose_key = model.keys
    obs = pandas.DataFrame(
        {
            type_key: pandas.Categorical([cell_type] * size, categories=list(model.experiment.type_names)),
            drug_key: pandas.Categorical([drug] * size, categories=list(model.experiment.drug_names)),
            dose_key: np.full(size, x),
            "source": pandas.Categorical([SOURCE] * size),
        },
        index=[f"gendi-{seed}-{i}" for i in range(size)],
    )
    var = pandas.DataFrame(index=list(model.experiment.genes))
    told = {"gendi": __version__, "cell_type": cell_type, "drug": drug, "dose": x, "how": how, "seed": seed}
    return anndata.AnnData(counts.astype(np.int32), obs=obs, var=var, uns={"gendi": json.dumps(told)})
