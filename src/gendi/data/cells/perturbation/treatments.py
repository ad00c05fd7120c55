"""The model that `gendi.cells.perturbation` fits: single drugs, and combinations of them.

Single drugs are those of `gendi.data.cells.perturbation.dose_curves`, and combinations those of `.interactions`. A drug
that was never given alone is known from combinations whose other parts were: what these do alone is taken from what was
observed, and what is left counts as an observation of the drug. Combinations of which two or more parts are unknown are
drugs of their own, known as a whole only. Drugs that no cell had are known by descriptors, where there are any
(`gendi.data.cells.perturbation.unseen`). If these tell the effects of drugs that were left out, the effects of drugs
that cells had are shrunk to what they say (`.descriptor_prior`).

Dispersions (`.dispersions`) are learned from drugs that were given alone, and their logarithms change by the sum of
what the parts of a combination do.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from difflib import get_close_matches
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from gendi.data.cells.perturbation.baselines import ShiftModel
from gendi.data.cells.perturbation.descriptor_prior import shrunk_to_descriptors
from gendi.data.cells.perturbation.descriptors import Descriptors
from gendi.data.cells.perturbation.dispersions import fit_dispersions
from gendi.data.cells.perturbation.dose_curves import DoseCurves
from gendi.data.cells.perturbation.effects import noise_scale
from gendi.data.cells.perturbation.experiment import Experiment
from gendi.data.cells.perturbation.interactions import Interactions, fit_interactions
from gendi.data.cells.perturbation.shifts import Shifts
from gendi.data.cells.perturbation.treatment import Treatment
from gendi.data.cells.perturbation.unseen import FAR, LEAST_DRUGS, Unseen, fit_unseen, shown
from gendi.errors import DataError, UsageError

Floats = NDArray[np.float64]
COLUMNS = ("types", "drugs", "doses", "y", "variance", "control_variance")
"""What the shifts have of each condition."""
LISTED = 3
"""Combinations that a message names."""


class Alone(NamedTuple):
    """The effects of single drugs, as `gendi.data.cells.perturbation.interactions` asks for them."""

    model: DoseCurves
    unseen: Unseen | None = None
    rows: Mapping[int, int] = {}
    """The rows of drugs without curves in the table of descriptors."""

    def mean(self, cell_type: int, drug: int, dose: float) -> Floats:
        """Return the log-fold change (G,)."""
        if self.unseen is None or drug in self.model.curves:
            return self.model.lfc(cell_type, drug, dose)
        known = np.stack([self.model.lfc(cell_type, d, dose) for d in self.unseen.drugs.tolist()])
        return np.asarray(self.unseen.weights(self.rows[drug]) @ known)

    def error(self, cell_type: int, drug: int, dose: float) -> Floats:
        """Return its standard error (G,)."""
        if self.unseen is None or drug in self.model.curves:
            return self.model.standard_error(cell_type, drug, dose)
        return np.asarray(self.unseen.spread[cell_type], np.float64)

    def height(self, cell_type: int, drug: int, dose: float) -> float:
        """Return the size of the effect as a share of the drug's largest in this type; 1 if it has none."""
        doses = self.doses(drug)
        if len(doses) == 1:
            return min(1.0, dose / float(doses[0]))
        most = max(float(np.linalg.norm(self.mean(cell_type, drug, x))) for x in doses.tolist())
        return min(1.0, float(np.linalg.norm(self.mean(cell_type, drug, dose))) / most) if most > 0 else 1.0

    def doses(self, drug: int) -> Floats:
        """Return the doses of a drug's curve, or of all known drugs for one without cells."""
        if self.unseen is None or drug in self.model.curves:
            return self.model.curves[drug].doses
        return np.unique(np.concatenate([self.model.curves[d].doses for d in self.unseen.drugs.tolist()]))


class Treatments(ShiftModel):
    """The model in the module's docstring. With `interactions=False`, all types respond alike."""

    name = "treatments"

    def __init__(self, interactions: bool = True, table: Descriptors | None = None) -> None:
        self.interactions, self.table = interactions, table
        self.joint: Interactions | None = None
        self.unseen: Unseen | None = None

    @property
    def alone(self) -> Alone:
        """The effects of single drugs, with cells or without."""
        if self.unseen is None:
            return Alone(self.singles)
        row = {name: i for i, name in enumerate(self.unseen.table.names)}
        names = enumerate((*self.train.drug_names, *self.train.described))
        return Alone(self.singles, self.unseen, {d: row[name] for d, name in names if name in row})

    def fit(self, train: Experiment) -> Self:
        super().fit(train)
        given = set(np.unique(self.shifts.drugs).tolist()) - set(train.combinations) | set(self.wholes)
        own = self.shifts.rows(np.flatnonzero(np.isin(self.shifts.drugs, list(given))))
        priors = {d: prior for d, prior in self.singles.hill.priors.items() if d in given}
        self.singles.dispersions = fit_dispersions(train, own, priors, self.interactions) if priors else {}
        return self

    def learn(self, shifts: Shifts) -> None:
        together = self.train.combinations
        alone = set(shifts.drugs.tolist()) - set(together)
        self.inferred = _inferable(alone, [together[d] for d in np.unique(shifts.drugs) if d in together])
        known = alone | set(self.inferred)
        own = np.unique(shifts.drugs).tolist()
        self.wholes = [d for d in own if d in together and not set(together[d].drugs) <= known]
        single = shifts.rows(np.flatnonzero(np.isin(shifts.drugs, [*alone, *self.wholes])))
        if len(single.y):
            self.singles = self._fitted(single)
        if self.inferred:
            single = _joined(single, self._left(shifts, alone))
            self.singles = self._fitted(single)
        if self.table is not None:
            self.unseen = self._regression(self.table)
            if self.unseen.warning() is None:
                self.singles.curves = shrunk_to_descriptors(self.singles, single, self.unseen, self._fitted)
        mixed = np.flatnonzero([d in together and d not in self.wholes for d in shifts.drugs.tolist()])
        if len(mixed):
            rows = shifts.rows(mixed)
            given = [together[d] for d in rows.drugs.tolist()]
            types = len(shifts.marginals.rates) - 1
            self.joint = fit_interactions(rows, given, Alone(self.singles), noise_scale(shifts), types)

    def lfc(self, cell_type: int, drug: int, dose: float) -> Floats:
        return self.effect(cell_type, self._numbered(drug, dose))[0]

    def standard_error(self, cell_type: int, drug: int, dose: float) -> Floats:
        """Return the standard error (G,) of each predicted log-fold change."""
        return np.asarray(np.sqrt(self.effect(cell_type, self._numbered(drug, dose))[1]))

    def effect(self, cell_type: int, treatment: Treatment) -> tuple[Floats, Floats]:
        """Return the log-fold change (G,) of a drug or a combination, and its variance."""
        alone, whole = self.alone, self._whole(treatment)
        if whole is not None:
            return alone.mean(cell_type, *whole), np.square(alone.error(cell_type, *whole))
        if self.joint is None:
            zero = np.zeros((len(self.shifts.marginals.rates) - 1, self.shifts.y.shape[1]))
            return Interactions(1.0, 0.0, zero, zero, 0.0, {}).effect(alone, cell_type, treatment)
        return self.joint.effect(alone, cell_type, treatment)

    def dispersion_change(self, cell_type: int, drug: int, dose: float) -> Floats | None:
        return self.change_of_dispersions(cell_type, self._numbered(drug, dose))[0]

    def change_of_dispersions(self, cell_type: int, treatment: Treatment) -> tuple[Floats, Floats]:
        """Return the change (G,) of the logarithms of dispersions, and its variance; 0 where nothing was learned."""
        whole, known = self._whole(treatment), self.singles.dispersions
        parts = [whole] if whole is not None else list(treatment.parts)
        mean, variance = np.zeros((2, self.shifts.y.shape[1]))
        for d, x in parts:
            if d in known:
                mean = mean + known[d].lfc(cell_type, x)
                variance = variance + np.square(known[d].standard_error(cell_type, x))
        return mean, variance

    def beyond(self, cell_type: int, treatment: Treatment) -> tuple[Floats, Floats, Floats]:
        """Return the sum of what the parts of a combination do alone, and what the model adds to it with its error."""
        alone = self.alone
        parts = [np.square(alone.error(cell_type, d, x)) for d, x in treatment.parts]
        total = np.sum([alone.mean(cell_type, d, x) for d, x in treatment.parts], axis=0)
        mean, variance = self.effect(cell_type, treatment)
        return total, mean - total, np.sqrt(np.maximum(variance - np.sum(parts, axis=0), 0))

    def is_sum(self, drug: int) -> bool:
        """Return whether the number is that of a combination whose parts are known."""
        return drug in self.train.combinations and drug not in self.wholes

    def check_treatment(self, cell_type: int, treatment: Treatment) -> None:
        """Raise `UsageError` or `DataError` if this cannot be predicted."""
        e = self.train
        e.controls(cell_type)
        if self._whole(treatment) is not None and len(treatment.drugs) > 1:
            return
        missing = [e.name(d) for d in treatment.drugs if d not in self.singles.curves and d not in self.alone.rows]
        if missing:
            among = [e.name_of(t) for t in e.combinations.values() if set(t.drugs) & set(treatment.drugs)]
            raise UsageError(
                f"No cell had {missing[0]!r} alone, and its combinations ({_some(among)}) do not tell its effect from "
                f"those of the others. Add cells with {missing[0]!r} alone, or with the other drugs of one of these "
                "combinations alone; any type will do."
            )

    def warnings(self) -> list[str]:
        """Return what the fit says against itself, one sentence or two for each drug and matter."""
        e = self.train
        out = self.singles.warnings()
        for d, others in self.inferred.items():
            names = [e.name_of(treatment) for treatment in others]
            out.append(
                f"No cell had {e.drug_names[d]!r} alone. Its effect is what the other drugs leave of {_some(names)}, "
                "and what they do to each other is part of it."
            )
        if self.wholes:
            names = [e.drug_names[d] for d in self.wholes]
            out.append(
                f"{_some(names)}: at least two of the drugs were never given alone, nor with drugs that were. The "
                f"combination is known as a whole only, and its parts are not. If {e.sign!r} is part of a drug's name, "
                "choose another sign for combinations (`combine`, --combine)."
            )
        return [*out, *self._about_descriptors()]

    def outside(self, treatment: Treatment) -> list[str]:
        """Return what of a treatment lies outside what was tested: doses, and a combination that no cell had."""
        if self._whole(treatment) is not None and len(treatment.drugs) > 1:
            return []
        found = [
            self.singles.outside(d, x) if d in self.singles.curves else self._by_descriptors(d, x)
            for d, x in treatment.parts
        ]
        if len(treatment.drugs) > 1 and (self.joint is None or treatment.members not in self.joint.own):
            found.append(self._unseen(treatment))
        return [text for text in found if text]

    def _unseen(self, treatment: Treatment) -> str:
        name = self.train.name_of(treatment)
        if self.joint is None:
            return (
                f"No cell had a combination. The effect of {name!r} is taken to be the sum of what its parts do alone: "
                "where they enhance or weaken each other, this is wrong."
            )
        k = len(self.joint.own)
        return (
            f"No cell had {name!r}. It is taken to be {self.joint.scale:.2f} times the sum of what its parts do alone, "
            f"and what the {k} combination{'s' if k > 1 else ''} that cells had show beyond that sum."
        )

    def _by_descriptors(self, drug: int, dose: float) -> str:
        """Return what is to be said of a drug that no cell had."""
        alone, name = self.alone, self.train.name(drug)
        if alone.unseen is None:
            raise UsageError(f"Nothing is known of {name!r}.")
        own, _ = alone.unseen.quality()
        text = (
            f"No cell had {name!r} alone. Its effect is what its descriptors say; for drugs that were left out, this "
            f"correlated at {shown(own)} with their effects."
        )
        far, doses = alone.unseen.far(alone.rows[drug]), alone.doses(drug)
        if far > FAR:
            text += (
                f" Its descriptors are {far:.3g} times as far from the nearest known drug as such drugs usually are."
            )
        if self.train.dosed and not doses[0] * (1 - 1e-9) <= dose <= doses[-1] * (1 + 1e-9):
            side = f"{dose / doses[-1]:.3g} times the largest" if dose > doses[-1] else "smaller than the smallest"
            text += f" The dose {dose:g} is {side} tested dose of any drug ({doses[0]:g} to {doses[-1]:g})."
        return text

    def _regression(self, table: Descriptors) -> Unseen:
        """Return the regression of effects on descriptors, at the middle and the largest of all tested doses."""
        e, shape = self.train, (len(self.shifts.marginals.rates) - 1, self.shifts.y.shape[1])
        drugs = [d for d in e.singles if d in self.singles.curves and table.row(e.name(d)) is not None]
        if len(drugs) < LEAST_DRUGS:
            raise DataError(
                f"{len(drugs)} of the {len(e.singles)} drugs of the data have descriptors, and at least {LEAST_DRUGS} "
                f"must have some. The names must be the same: the data have {_some([e.name(d) for d in e.singles])}, "
                f"the descriptors {_some(list(table.names))}."
            )
        tested = np.unique(e.doses[np.isin(e.drugs, drugs)])
        doses = np.unique(np.quantile(tested, [0.5, 1.0], method="nearest")) if len(tested) else np.ones(1)
        effects = [[self.singles.lfc(c, d, x) for x in doses.tolist() for c in range(shape[0])] for d in drugs]
        rows = [table.names.index(e.name(d)) for d in drugs]
        return fit_unseen(table, drugs, rows, np.array(effects).reshape(len(drugs), -1), shape)

    def _about_descriptors(self) -> list[str]:
        """Return what there is to say against the descriptors."""
        if self.unseen is None:
            return []
        e, table = self.train, self.unseen.table
        out = [text for text in [self.unseen.warning()] if text]
        lacking = [e.name(d) for d in e.singles if d in self.singles.curves and table.row(e.name(d)) is None]
        if lacking:
            near = get_close_matches(lacking[0], e.described, n=1)
            hint = f" Perhaps {near[0]!r} there is {lacking[0]!r} here." if near else ""
            out.append(
                f"The descriptors have no row for {_some(lacking)}: nothing is learned from them of other drugs.{hint}"
            )
        return out

    def _numbered(self, drug: int, dose: float) -> Treatment:
        return self.train.combinations.get(drug) or Treatment((drug,), (dose,))

    def _whole(self, treatment: Treatment) -> tuple[int, float] | None:
        """Return the number and dose under which the single drugs have this treatment, or None."""
        if len(treatment.drugs) == 1:
            return treatment.drugs[0], treatment.doses[0]
        number = self.train.number_of(treatment)
        return (number, 1.0) if number is not None and number in self.wholes else None

    def _fitted(self, shifts: Shifts) -> DoseCurves:
        model = DoseCurves(self.interactions)
        model.train = self.train
        model.learn(shifts)
        return model

    def _left(self, shifts: Shifts, alone: set[int]) -> Shifts:
        """Return what combinations say of drugs that were never given alone, as observations of these drugs."""
        found: defaultdict[tuple[int, int, float], list[tuple[int, Floats, Floats]]] = defaultdict(list)
        for i, d in enumerate(shifts.drugs.tolist()):
            treatment = self.train.combinations.get(d)
            hidden = [part for part in treatment.parts if part[0] not in alone] if treatment else []
            if treatment is None or len(hidden) != 1:
                continue
            c, y, variance = int(shifts.types[i]), shifts.y[i], shifts.variance[i]
            for part in set(treatment.parts) - set(hidden):
                y = y - self.singles.lfc(c, *part)
                variance = variance + np.square(self.singles.standard_error(c, *part))
            found[c, *hidden[0]].append((i, y, variance))
        rows = []
        for (c, d, x), own in sorted(found.items()):
            weights = np.stack([1 / variance for _, _, variance in own])
            y = (weights * np.stack([y for _, y, _ in own])).sum(0) / weights.sum(0)
            rows.append((c, d, x, y, 1 / weights.sum(0), shifts.control_variance[own[0][0]]))
        columns: dict[str, Any] = {name: np.array([row[i] for row in rows]) for i, name in enumerate(COLUMNS)}
        return replace(shifts, **columns)


def _inferable(alone: set[int], combinations: list[Treatment]) -> dict[int, list[Treatment]]:
    """Return the drugs that were never given alone, with those of their combinations whose other parts were."""
    out: defaultdict[int, list[Treatment]] = defaultdict(list)
    for treatment in combinations:
        hidden = [d for d in treatment.drugs if d not in alone]
        if len(hidden) == 1:
            out[hidden[0]].append(treatment)
    return dict(out)


def _joined(one: Shifts, other: Shifts) -> Shifts:
    columns: dict[str, Any] = {name: np.concatenate([getattr(one, name), getattr(other, name)]) for name in COLUMNS}
    return replace(one, **columns)


def _some(names: list[str]) -> str:
    """Return the first names of a list, each once."""
    each = list(dict.fromkeys(names))
    more = f" and {len(each) - LISTED} others" if len(each) > LISTED else ""
    return ", ".join(map(repr, each[:LISTED])) + more
