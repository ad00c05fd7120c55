"""What a model has to beat. Each predicts a log-fold change, and moves control cells by it.

control         no change
mean shift      the mean change over all conditions that were seen
additive        log mean = effect of the type (its controls) + effect of drug and dose (the mean change over the types
                that had them; between doses, straight lines in the log of the dose)
nearest dose    the change at the nearest dose (in the log) of the same type and drug, else of the drug in all types
ridge           linear in type, drug, log dose within drug, and type with drug, by ridge regression
"""

from abc import ABC, abstractmethod
from typing import ClassVar, Self

import numpy as np
from jaxtyping import Float64, Int64
from numpy.typing import NDArray

from gendi.data.cells.perturbation.experiment import Experiment, checked_dose
from gendi.data.cells.perturbation.shifts import Shifts, observe
from gendi.data.cells.perturbation.transport import transport
from gendi.diffusion.randomness import stream
from gendi.errors import UsageError


class ShiftModel(ABC):
    """Whatever predicts a log-fold change from type, drug and dose."""

    name: ClassVar[str]

    def fit(self, train: Experiment) -> Self:
        """Learn from an experiment. Raises `DataError` for one without controls or treated cells."""
        self.train, self.shifts = train, observe(train)
        self.learn(self.shifts)
        return self

    def learn(self, shifts: Shifts) -> None:  # noqa: B027
        """Learn from what was observed; whatever needs no more than the observations has nothing to do."""

    @abstractmethod
    def lfc(self, cell_type: int, drug: int, dose: float) -> Float64[np.ndarray, " g"]:
        """Return the log-fold change (G,) that is predicted."""

    def predict(
        self, control_cells: Int64[np.ndarray, "n g"], cell_type: int, drug: int, dose: float, seed: int
    ) -> Int64[np.ndarray, "n g"]:
        """Return control cells (n, G) as they would be under a drug: counts (n, G).

        Raises:
            UsageError: an unknown type or drug, a dose that is not above 0, cells of other genes.
            DataError: a type without control cells.
        """
        self.check(cell_type, drug, dose)
        rates = self.shifts.marginals.rates[cell_type]
        if control_cells.shape[1] != len(rates):
            raise UsageError(f"Cells of {control_cells.shape[1]} genes; the model was fitted to {len(rates)}.")
        rng = stream(seed, "predicted treatment")
        return transport(control_cells, self.lfc(cell_type, drug, checked_dose(dose)), rates, rng)

    def check(self, cell_type: int, drug: int, dose: float) -> None:
        """Raise `UsageError` or `DataError` for what cannot be predicted."""
        checked_dose(dose)
        for kind, number, names in (
            ("cell type", cell_type, self.train.type_names),
            ("drug", drug, self.train.drug_names),
        ):
            if not 0 <= number < len(names):
                raise UsageError(f"There is no {kind} number {number}: there are {len(names)}, from 0 on.")
        if not (self.shifts.drugs == drug).any():
            raise UsageError(
                f"No cell with the drug {self.train.drug_names[drug]!r} was seen in training, and nothing is known of "
                "a drug but its cells. Train with some, of any type."
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
    """The mean change over types at the drug and dose, between doses by straight lines in the log dose."""

    name = "additive"

    def lfc(self, cell_type: int, drug: int, dose: float) -> NDArray[np.float64]:
        own = self.shifts.drugs == drug
        seen = np.unique(self.shifts.doses[own])
        means = np.stack([self.shifts.y[own & (self.shifts.doses == x)].mean(0) for x in seen])
        place = np.interp(np.log(dose), np.log(seen), np.arange(len(seen)))
        below = min(int(place), len(seen) - 1)
        above = min(below + 1, len(seen) - 1)
        return np.asarray(means[below] + (place - below) * (means[above] - means[below]))


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
        """Return one-hot type, one-hot drug, one-hot drug times centred log dose, one-hot pair, (m, T + 2 D + T D)."""
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


BASELINES: tuple[type[ShiftModel], ...] = (Control, MeanShift, Additive, NearestDose, Ridge)
"""What every model is measured against."""
