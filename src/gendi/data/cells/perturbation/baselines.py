"""Simple models, which a better model has to beat. Each predicts a log-fold change and applies it to control cells.

    control         no change
    mean shift      the mean change over all observed conditions
    additive        log mean = effect of the type (from its controls) + effect of drug and dose (the mean change over
                    the types that had them; between doses, straight lines in the log of the dose)
    nearest dose    the change at the nearest dose (on the log scale) of the same type and drug; for a type that never
                    had the drug, of the drug in all types
    interpolation   straight lines in the log of the dose between the doses of the same type and drug, and the nearest
                    one beyond them; for a type that never had the drug, as additive
    shrunk          interpolation shrunk to additive: z = interpolation - additive is taken to be N(0, t^2) over genes,
                    observed with the variance v of the interpolation, so t^2 / (t^2 + v) of it is kept; t^2 is the mean
                    over genes of z^2 - v, or 0
    ridge           ridge regression, linear in type, drug, log dose within drug, and pair of type and drug

A condition of an experiment is a combination of type, drug and dose that treated cells had.
"""

from abc import ABC, abstractmethod
from typing import ClassVar, Self

import numpy as np
from jaxtyping import Float64, Int64
from numpy.typing import NDArray

from gendi.data.cells.perturbation.experiment import Experiment
from gendi.data.cells.perturbation.shifts import Shifts, observe, shrunk_rates
from gendi.data.cells.perturbation.transport import transport
from gendi.data.cells.perturbation.treatment import checked_dose
from gendi.diffusion.randomness import stream
from gendi.errors import UsageError


class ShiftModel(ABC):
    """A model that predicts a log-fold change from type, drug and dose."""

    name: ClassVar[str]

    def fit(self, train: Experiment) -> Self:
        """Learn from an experiment. Raises `DataError` for one without controls or treated cells."""
        self.train, self.shifts = train, observe(train)
        self.learn(self.shifts)
        return self

    def learn(self, shifts: Shifts) -> None:  # noqa: B027
        """Learn from the observed changes; a model that only looks them up has nothing to do here."""

    @abstractmethod
    def lfc(self, cell_type: int, drug: int, dose: float) -> Float64[np.ndarray, " g"]:
        """Return the predicted log-fold change (G,)."""

    def predict(
        self, control_cells: Int64[np.ndarray, "n g"], cell_type: int, drug: int, dose: float, seed: int
    ) -> Int64[np.ndarray, "n g"]:
        """Return the counts (n, G) that control cells (n, G) would have under a drug.

        Raises:
            UsageError: an unknown type or drug, a dose that is not above 0, cells with another number of genes.
            DataError: a type without control cells.
        """
        self.check(cell_type, drug, dose)
        lfc = self.lfc(cell_type, drug, checked_dose(dose))
        return self.moved(control_cells, cell_type, lfc, seed, self.dispersion_change(cell_type, drug, dose))

    def dispersion_change(self, cell_type: int, drug: int, dose: float) -> Float64[np.ndarray, " g"] | None:
        """Return the predicted change (G,) of the logarithm of each gene's dispersion; None for a model of means."""
        return None

    def moved(
        self,
        control_cells: Int64[np.ndarray, "n h"],
        cell_type: int,
        lfc: Float64[np.ndarray, " g"],
        seed: int,
        change: Float64[np.ndarray, " g"] | None = None,
    ) -> Int64[np.ndarray, "n h"]:
        """Return the counts (n, G) of control cells (n, H) of a type after log-fold changes (G,) of their means.

        `change` (G,) is that of the logarithms of dispersions, and None changes none.

        Raises `UsageError` for cells with another number H of genes than G.
        """
        rates = self.shifts.marginals.rates[cell_type]
        if control_cells.shape[1] != len(rates):
            raise UsageError(
                f"The cells have {control_cells.shape[1]} genes; the model was fitted to cells with {len(rates)}."
            )
        rng = stream(seed, "predicted treatment")
        own = shrunk_rates(control_cells, rates)
        dispersions = self.shifts.marginals.dispersions[cell_type]
        return transport(control_cells, lfc, own, rng, dispersions, change)

    def check(self, cell_type: int, drug: int, dose: float) -> None:
        """Raise `UsageError` or `DataError` if this type, drug or dose cannot be predicted."""
        checked_dose(dose)
        for kind, number, names in (
            ("cell type", cell_type, self.train.type_names),
            (self.train.kind, drug, self.train.drug_names),
        ):
            if not 0 <= number < len(names):
                raise UsageError(f"There is no {kind} number {number}: there are {len(names)}, numbered from 0.")
        if not (self.shifts.drugs == drug).any():
            raise UsageError(
                f"The training data have no cell with the {self.train.kind} {self.train.drug_names[drug]!r}, which is "
                "known only by its cells. Train with some, of any type."
            )
        self.train.controls(cell_type)


class Control(ShiftModel):
    """No change."""

    name = "control"

    def lfc(self, cell_type: int, drug: int, dose: float) -> NDArray[np.float64]:
        return np.zeros(self.shifts.y.shape[1])


class MeanShift(ShiftModel):
    """The mean change of all conditions."""

    name = "mean shift"

    def lfc(self, cell_type: int, drug: int, dose: float) -> NDArray[np.float64]:
        return np.asarray(self.shifts.y.mean(0))


class Additive(ShiftModel):
    """The mean change over types at the drug and dose; between doses, straight lines in the log dose."""

    name = "additive"

    def lfc(self, cell_type: int, drug: int, dose: float) -> NDArray[np.float64]:
        own = self.shifts.drugs == drug
        seen = np.unique(self.shifts.doses[own])
        means = np.stack([self.shifts.y[own & (self.shifts.doses == x)].mean(0) for x in seen])
        place = np.interp(np.log(dose), np.log(seen), np.arange(len(seen)))
        below = min(int(place), len(seen) - 1)
        above = min(below + 1, len(seen) - 1)
        return np.asarray(means[below] + (place - below) * (means[above] - means[below]))


class Interpolation(Additive):
    """Straight lines between the pair's own doses; the additive model for a pair without any."""

    name = "interpolation"

    def lfc(self, cell_type: int, drug: int, dose: float) -> NDArray[np.float64]:
        own, weights = self.between(cell_type, drug, dose)
        return np.asarray(weights @ self.shifts.y[own]) if len(own) else super().lfc(cell_type, drug, dose)

    def between(self, cell_type: int, drug: int, dose: float) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return the pair's conditions and the weight of each."""
        own = np.flatnonzero((self.shifts.drugs == drug) & (self.shifts.types == cell_type))
        own = own[np.argsort(self.shifts.doses[own])]
        logs = np.log(self.shifts.doses[own])
        return own, np.array([np.interp(np.log(dose), logs, row) for row in np.eye(len(own))])


class ShrunkInterpolation(Interpolation):
    """Interpolation shrunk to the additive model by empirical Bayes."""

    name = "shrunk"

    def lfc(self, cell_type: int, drug: int, dose: float) -> NDArray[np.float64]:
        base = Additive.lfc(self, cell_type, drug, dose)
        own, weights = self.between(cell_type, drug, dose)
        if not len(own):
            return base
        z = weights @ self.shifts.y[own] - base
        v = weights**2 @ (self.shifts.variance + self.shifts.control_variance)[own]
        size = max(0.0, float((z**2 - v).mean()))
        return np.asarray(base + size / (size + v) * z)


class NearestDose(ShiftModel):
    """The change at the nearest dose of the same type and drug, or of the drug in any type."""

    name = "nearest dose"

    def lfc(self, cell_type: int, drug: int, dose: float) -> NDArray[np.float64]:
        own = self.shifts.drugs == drug
        pair = own & (self.shifts.types == cell_type)
        own = pair if pair.any() else own
        far = np.where(own, np.abs(np.log(self.shifts.doses) - np.log(dose)), np.inf)
        return np.asarray(self.shifts.y[np.isclose(far, far.min())].mean(0))


class Ridge(ShiftModel):
    """Linear regression of the changes, with a penalty on all coefficients."""

    name = "ridge"

    def __init__(self, penalty: float = 1.0) -> None:
        if not penalty > 0:
            raise UsageError(f"penalty = {penalty} must be above 0.")
        self.penalty = penalty

    def features(
        self, types: NDArray[np.int64], drugs: NDArray[np.int64], doses: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Return features (m, T + 2 D + T D): one-hot type, one-hot drug, that times centred log dose, one-hot pair."""
        t, d = np.eye(len(self.train.type_names))[types], np.eye(len(self.train.drug_names))[drugs]
        dose = ((np.log(doses) - self.centre) / self.spread)[:, None]
        return np.concatenate([t, d, d * dose, (t[:, :, None] * d[:, None]).reshape(len(t), -1)], axis=1)

    def learn(self, shifts: Shifts) -> None:
        logs = np.log(shifts.doses)
        self.centre, self.spread = float(logs.mean()), float(logs.std()) or 1.0
        x = self.features(shifts.types, shifts.drugs, shifts.doses)
        self.weights = np.linalg.solve(x.T @ x + self.penalty * np.eye(x.shape[1]), x.T @ shifts.y)

    def lfc(self, cell_type: int, drug: int, dose: float) -> NDArray[np.float64]:
        x = self.features(np.array([cell_type]), np.array([drug]), np.array([dose]))
        return np.asarray((x @ self.weights)[0])


BASELINES: tuple[type[ShiftModel], ...] = (
    Control,
    MeanShift,
    Additive,
    NearestDose,
    Interpolation,
    ShrunkInterpolation,
    Ridge,
)
"""The models that every model is compared with."""
