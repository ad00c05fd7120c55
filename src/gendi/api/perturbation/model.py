"""The models of perturbations: fitted to an AnnData of control and treated cells, they predict an AnnData."""

import json
import warnings
from copy import copy
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from gendi.data.cells.extra import require
from gendi.data.cells.output import names_of, with_counts
from gendi.data.cells.perturbation.descriptors import Descriptors, read_descriptors
from gendi.data.cells.perturbation.experiment import Experiment
from gendi.data.cells.perturbation.held_out import HeldOut
from gendi.data.cells.perturbation.held_out import measure as measured
from gendi.data.cells.perturbation.reading import forgotten_doses, read_experiment
from gendi.data.cells.perturbation.treatment import Doses, Treatment, spelled
from gendi.data.cells.perturbation.treatments import Treatments
from gendi.data.cells.read import plain_columns
from gendi.errors import UsageError
from gendi.machine.version import __version__

WAYS = ("transport", "diffusion")
SOURCE = "gendi"


@dataclass(frozen=True, eq=False)
class Perturbation:
    """A fitted model: the experiment, the drugs' effects, the diffusion model or None, and the columns' names."""

    experiment: Experiment
    effects: Treatments
    diffusion: Any
    keys: tuple[str | None, str, str | None]
    """The columns of obs with types, drugs and doses; None where there is none."""
    var: dict[str, list[Any]] = field(default_factory=dict)
    """The columns of `var` of the training data."""
    held_out: HeldOut | None = None
    """How the model does on conditions that it was fitted without, where that was asked for."""
    batch_key: str | None = None
    """The column of obs with batches, or None."""

    def effects_of(self, *, drug: str, cell_type: str | None = None, dose: Doses | None = None) -> Any:
        """Return the predicted effects on all genes at any dose as a DataFrame; the names of the genes are its index.

        Its columns are `log_fold_change` (natural logarithm) and `standard_error`. Raises the errors of `predict`.
        """
        lfc, variance = self.effects.effect(*self.asked(cell_type, drug, dose))
        rows = {"log_fold_change": lfc, "standard_error": np.sqrt(variance)}
        return require("pandas").DataFrame(rows, index=list(self.experiment.genes))

    def dispersions_of(self, *, drug: str, cell_type: str | None = None, dose: Doses | None = None) -> Any:
        """Return how much more or less the counts of each gene vary than in controls, as a DataFrame.

        Its columns are `log_change`, the natural logarithm of the factor of the negative binomial dispersion, and
        `standard_error`; the names of the genes are its index. Raises the errors of `predict`.
        """
        change, variance = self.effects.change_of_dispersions(*self.asked(cell_type, drug, dose))
        rows = {"log_change": change, "standard_error": np.sqrt(variance)}
        return require("pandas").DataFrame(rows, index=list(self.experiment.genes))

    def with_descriptors(self, source: Any) -> "Perturbation":
        """Return the model with the descriptors of more drugs that no cell had, in the columns that it was fitted with.

        Args:
            source: a CSV's path, a DataFrame or a dict of vectors (`gendi.data.cells.perturbation.descriptors`).

        Raises:
            UsageError: the model was fitted without descriptors; other columns.
            DataError: a table that cannot be used.
        """
        unseen, more = self.effects.unseen, read_descriptors(source, {})
        if unseen is None or more is None:
            raise UsageError("The model was fitted without descriptors of drugs, and cannot learn from them now.")
        table = unseen.table.with_rows(more)
        e = replace(self.experiment, described=_without_cells(self.experiment, table))
        effects = copy(self.effects)
        effects.train, effects.unseen = e, replace(unseen, table=table)
        return replace(self, experiment=e, effects=effects)

    def asked(self, cell_type: str | None, drug: str, dose: Doses | None) -> tuple[int, Treatment]:
        """Return the number of a type, and a treatment. Raises the errors of `predict`."""
        c, treatment = self.experiment.type_number(cell_type), self.experiment.treatment(drug, dose)
        self.effects.check_treatment(c, treatment)
        return c, treatment


def fit(
    adata: Any,
    *,
    drug: str,
    cell_type: str | None = None,
    dose: str | None = None,
    control: str | None = None,
    batch: str | None = None,
    layer: str | None = None,
    combine: str | None = "+",
    descriptors: Any = None,
    interactions: bool = True,
    measure: bool = False,
    diffusion: bool = False,
    steps: int = 1500,
    seed: int = 0,
) -> Perturbation:
    """Learn the effects of drugs, and of combinations of them, on types of cells.

    The model is that of `gendi.data.cells.perturbation.treatments`. Knocked-out genes and other perturbations without
    doses are drugs without the column `dose`.

    What the fit says against itself is a warning: a dose curve at the edge of what is tried, held-out doses at which
    straight lines between the tested doses are better than the model, drugs that were never given alone, and
    descriptors that do not tell the effects of drugs that were left out.

    Args:
        adata, drug, cell_type, dose, control, batch, layer, combine: see
            `gendi.data.cells.perturbation.reading.read_experiment`.
        descriptors: vectors of numbers that say what is known of drugs or genes beside cells, also of such that no cell
            had, which can then be predicted: a CSV's path, a DataFrame or a dict of vectors. None reads
            `adata.uns["descriptors"]`, if it is there.
        interactions: whether a drug may have different effects on different types.
        measure: whether to hold some conditions out and to fit once more without them, to say how the model does there
            (`gendi.data.cells.perturbation.held_out`).
        diffusion: whether to train the network too, which `predict` needs for `how="diffusion"`.
        steps, seed: number of training steps and seed of the network.

    Raises:
        UsageError, DataError: where `read_experiment` and `read_descriptors` raise them.
    """
    table = read_descriptors(descriptors, adata.uns)
    experiment = read_experiment(
        adata,
        drug=drug,
        cell_type=cell_type,
        dose=dose,
        control=control,
        batch=batch,
        layer=layer,
        combine=combine,
    )
    if dose is None and (text := forgotten_doses(adata, drug, experiment.control)):
        warnings.warn(text, stacklevel=2)
    if table is not None:
        experiment = replace(experiment, described=_without_cells(experiment, table))
    effects = Treatments(interactions, table).fit(experiment)
    for text in effects.warnings():
        warnings.warn(text, stacklevel=2)
    network = None
    if diffusion:
        from gendi.api.perturbation.diffusion import Diffusion

        network = Diffusion(effects, steps=steps, seed=seed)
    found = measured(effects) if measure else None
    keys = (cell_type, drug, dose)
    return Perturbation(experiment, effects, network, keys, plain_columns(adata.var), found, batch)


def _without_cells(experiment: Experiment, table: Descriptors) -> tuple[str, ...]:
    """Return the drugs of a table of descriptors that no cell had."""
    return tuple(name for name in table.names if name not in (*experiment.drug_names, experiment.control_name))


def predict(
    model: Perturbation,
    *,
    drug: str,
    cell_type: str | None = None,
    dose: Doses | None = None,
    batch: str | None = None,
    n: int | None = None,
    how: str = "transport",
    state_scale: float = 1.0,
    drug_scale: float = 1.0,
    seed: int = 0,
) -> Any:
    """Return cells of a type under a dose of a drug as an AnnData in the form of `gendi.sample`'s.

    Counts are in `layers["counts"]`, their logarithms ln(1 + 1e4 k / depth) in X; obs and var are as in training.

    A dose outside the tested ones of the drug is a warning that says how far outside it is, and so is a combination
    that no cell had.

    Args:
        model: a fitted model.
        drug: the drug, or the gene that is knocked out; or a combination, such as "A+B".
        cell_type: the type of cells; it may be left out where there is one only.
        dose: in the units of the training data; it is left out where these have none. Parts of a combination have one
            dose, or each its own: "1+0.5" or (1, 0.5).
        batch: the batch, such as a donor, whose controls predicted cells are made of; None takes those of all batches
            in which the drug was given.
        n: number of cells; by default as many as the type has controls (in the batches of the drug). Controls are taken
            in turn.
        how: "transport" changes the counts of control cells, "diffusion" draws new cells of the same depths.
        state_scale, drug_scale: guidance of the diffusion; 1 means no guidance.
        seed: the seed of everything that is drawn.

    Raises:
        UsageError: an unknown type, drug or value of `how`, n below 1, a dose that is not above 0, is missing or has
            no meaning.
        DataError: a type without control cells, also in the batch that is asked for.
    """
    pandas = require("pandas")
    if how not in WAYS:
        raise UsageError(f"how = {how!r} must be {' or '.join(WAYS)}.")
    if n is not None and n < 1:
        raise UsageError(f"n = {n} must be 1 or more.")
    c, treatment = model.asked(cell_type, drug, dose)
    for text in model.effects.outside(treatment):
        warnings.warn(text, stacklevel=2)
    number = model.experiment.number_of(treatment)
    treatment = model.experiment.combinations.get(-1 if number is None else number, treatment)
    controls = model.experiment.controls(c, number) if batch is None else model.experiment.controls_of(c, batch)
    controls = controls[np.arange(n or len(controls)) % len(controls)]
    lfc = model.effects.effect(c, treatment)[0]
    if how == "transport":
        counts = model.effects.moved(controls, c, lfc, seed, model.effects.change_of_dispersions(c, treatment)[0])
    elif model.diffusion is None:
        raise UsageError('how = "diffusion" needs a model that was fitted with diffusion=True.')
    elif number is None or number >= len(model.experiment.drug_names):
        raise UsageError(
            f'how = "diffusion" knows the drugs and combinations that cells had, and {drug!r} is none of them.'
        )
    else:
        x = treatment.doses[0] if len(treatment.drugs) == 1 else 1.0
        counts = model.diffusion.predict(controls, c, number, x, seed, state_scale, drug_scale)
    size = len(counts)
    type_key, drug_key, dose_key = model.keys
    name = drug if len(treatment.drugs) == 1 else model.experiment.name_of(treatment)
    names = list(dict.fromkeys([*model.experiment.treatment_names, name]))
    at = treatment.doses[0] if len(treatment.drugs) == 1 else spelled(treatment.doses, str(model.experiment.sign))
    columns = {
        type_key: pandas.Categorical.from_codes([c] * size, categories=list(model.experiment.type_names)),
        drug_key: pandas.Categorical([name] * size, categories=names),
        dose_key: [at] * size,
        model.batch_key: None if batch is None else pandas.Categorical([batch] * size),
        "source": pandas.Categorical([SOURCE] * size),
    }
    source = [c, name, at, batch, how, state_scale, drug_scale, lfc.tolist()]
    obs = pandas.DataFrame(
        {key: column for key, column in columns.items() if key is not None and column is not None},
        index=names_of(size, {}, {"source": source, "seed": seed}),
    )
    var = pandas.DataFrame(model.var, index=list(model.experiment.genes))
    about = {"cell_type": cell_type, "drug": name, "dose": at if model.experiment.dosed else None}
    record = {"gendi": __version__, **about, "how": how, "seed": seed}
    return with_counts(counts, obs, var, {"gendi": json.dumps(record)})
