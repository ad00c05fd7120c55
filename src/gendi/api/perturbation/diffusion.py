"""Treated cells drawn from noise, by a conditional diffusion of the factors behind their counts.

The rate of gene g in cells of type c under dose x of drug d is

    p_cg exp(lfc_g(c, d, x)), scaled so that the rates sum to 1,

with the rates p_cg of control cells and the log-fold changes of the model of effects, which changes dispersions too.
The marginal distributions are therefore known even for combinations and doses without any observed cell. The network is
conditional on type, drug and log dose, and learns the rest: the factors that genes have in common
(`gendi.data.cells.copula`). The depth of a predicted cell is that of a control cell, times the sum over genes of
p exp(lfc).

Guidance is nested:

    x0 = x_null + w_state (x_c - x_null) + w_drug (x_cdx - x_c)                        [Brooks et al. 2023, eq. 3]

Each condition has its own dropout. For the network, being a control is one more drug, without a dose.
"""

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from gendi.data.cells.codec import DepthLaw, Header
from gendi.data.cells.copula import CopulaCodec, bounds
from gendi.data.cells.factors import fit_factors
from gendi.data.cells.fit import FIT_ENTRIES
from gendi.data.cells.marginals import Marginals
from gendi.data.cells.normalise import depths
from gendi.data.cells.perturbation.baselines import ShiftModel
from gendi.data.cells.perturbation.experiment import CONTROL
from gendi.data.dataset import Data
from gendi.data.split import Split, fingerprint
from gendi.diffusion.config import ConditionConfig
from gendi.diffusion.gaussian.guidance import GuidanceRule
from gendi.diffusion.gaussian.samplers import sample
from gendi.diffusion.randomness import stream
from gendi.errors import DataError
from gendi.train.config import RunConfig
from gendi.train.presets import get_preset
from gendi.train.step.probe import Choice
from gendi.train.step.trainer import Trainer

LABEL = "condition"
STATE_DROPOUT, DRUG_DROPOUT = 0.1, 0.2


class Diffusion:
    """A diffusion model of the factors of treated cells, trained on the experiment that `effects` was fitted to.

    Args:
        effects: a fitted model of log-fold changes.
        steps: number of training steps.
        factors: number of factors.
        seed: the seed of everything that is drawn.

    Raises:
        DataError: cells without counts.
    """

    def __init__(self, effects: ShiftModel, *, steps: int = 1500, factors: int = 15, seed: int = 0) -> None:
        self.effects, experiment = effects, effects.train
        known = [*((c, CONTROL, 0.0) for c in np.unique(experiment.types).tolist()), *experiment.conditions()]
        number = {condition: i for i, condition in enumerate(known)}
        own = zip(experiment.types.tolist(), experiment.drugs.tolist(), experiment.doses.tolist(), strict=True)
        labels = np.array([number[condition] for condition in own], np.int64)
        tables = [self._marginals(*condition) for condition in known]
        pooled = effects.shifts.marginals
        marginals = Marginals(
            np.stack([*(rates for rates, _ in tables), pooled.rates[-1]]),
            np.stack([*(dispersions for _, dispersions in tables), pooled.dispersions[-1]]),
        )
        depth, genes = depths(experiment.counts), experiment.counts.shape[1]
        if not (depth > 0).all():
            raise DataError(f"{int((depth == 0).sum())} cells have no counts at all. Leave these cells out.")
        rng, columns = stream(seed, "perturbation factors"), np.arange(genes, dtype=np.int64)
        some = np.sort(rng.permutation(len(labels))[: max(1, FIT_ENTRIES // (4 * genes))])
        lower, upper = bounds(marginals, experiment.counts[some], labels[some], depth[some], columns)
        fitted = fit_factors(lower, upper, min(factors, genes), rng)
        self.codec = CopulaCodec(Header(genes, LABEL, {}), {}, DepthLaw.fit(depth), marginals, fitted, columns)
        config, data = self._encoded(labels, seed)
        trainer = Trainer(config, data, Choice("fp32", "contiguous", "given"))
        for step in range(steps):
            trainer.step(step / steps)
        self.denoiser, self.settings = trainer.ema_denoiser(), config.sample

    def _marginals(self, cell_type: int, drug: int, dose: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the rates (G,), which sum to 1, and the dispersions (G,) of a combination of type, drug and dose."""
        table = self.effects.shifts.marginals
        rates = self._changed_rates(cell_type, drug, dose)
        change = None if drug == CONTROL else self.effects.dispersion_change(cell_type, drug, dose)
        factor = 1.0 if change is None else np.exp(change)
        return rates / rates.sum(), table.dispersions[cell_type] * factor

    def _changed_rates(self, cell_type: int, drug: int, dose: float) -> NDArray[np.float64]:
        """Return p exp(lfc), (G,), or the rates p of the type itself for a control."""
        rates = self.effects.shifts.marginals.rates[cell_type]
        return np.asarray(rates if drug == CONTROL else rates * np.exp(self.effects.lfc(cell_type, drug, dose)))

    def _encoded(self, labels: NDArray[np.int64], seed: int) -> tuple[RunConfig, Data]:
        experiment = self.effects.train
        treated = ~experiment.control
        logs = np.log(experiment.doses, out=np.full(len(labels), np.nan), where=treated)
        drugs = (*experiment.drug_names, "control")
        specs = (
            ConditionConfig(
                "cell_type", "class", len(experiment.type_names), STATE_DROPOUT, names=experiment.type_names
            ),
            ConditionConfig("drug", "class", len(drugs), DRUG_DROPOUT, names=drugs),
            ConditionConfig(
                "dose", "value", 1, DRUG_DROPOUT, mean=float(np.nanmean(logs)), std=float(np.nanstd(logs)) or 1.0
            ),
        )
        conditions = {
            "cell_type": experiment.types,
            "drug": np.where(treated, experiment.drugs, len(drugs) - 1),
            "dose": logs.astype(np.float32),
        }
        cond = {LABEL: torch.from_numpy(labels)}
        x = self.codec.encode(torch.from_numpy(experiment.counts), cond, torch.arange(len(labels))).numpy()
        split = Split(x, conditions)
        empty = Split(x[:0], {name: rows[:0] for name, rows in conditions.items()})
        config = get_preset("cells").config
        config = replace(config, conditions=specs, train=replace(config.train, seed=seed))
        mark = fingerprint(split, empty)
        fields: dict[str, Any] = {"kind": "cells", "schema": {}, "encoded": True}
        return config, Data(
            "perturbation", "cells:perturbation", split, empty, specs, mark, self.codec, (), (), **fields
        )

    def predict(
        self,
        control_cells: NDArray[np.int64],
        cell_type: int,
        drug: int,
        dose: float,
        seed: int,
        state_scale: float = 1.0,
        drug_scale: float = 1.0,
    ) -> NDArray[np.int64]:
        """Return counts (n, G) of n treated cells, one for each of the control cells (n, G), which give their depths.

        Scales of 1 mean no guidance. Raises the errors of `ShiftModel.predict`.
        """
        self.effects.check(cell_type, drug, dose)
        n = len(control_cells)
        cond = {
            "cell_type": torch.full((n,), cell_type),
            "drug": torch.full((n,), drug),
            "dose": torch.full((n,), float(np.log(dose))),
        }
        scales = {"cell_type": state_scale, "drug": drug_scale, "dose": drug_scale}
        denoiser: Any = self.denoiser  # of numbers, as the codec's are
        guided = GuidanceRule(scales=scales, nested=True).guide(denoiser)
        how = self.settings
        x = sample(guided, self.codec.shape, n, steps=how.steps, sampler=how.sampler, seed=seed, cond=cond)
        rates, dispersions = self._marginals(cell_type, drug, dose)
        marginals = Marginals(np.stack([rates] * 2), np.stack([dispersions] * 2))
        codec = CopulaCodec(self.codec.header, {}, self.codec.depth, marginals, self.codec.factors, self.codec.modelled)
        depth = np.maximum(depths(control_cells), 1.0) * self._changed_rates(cell_type, drug, dose).sum()
        given = {LABEL: torch.zeros(n, dtype=torch.int64), "depth": torch.from_numpy(depth)}
        return np.asarray(codec.decode(x, given, seed, 0).numpy())
