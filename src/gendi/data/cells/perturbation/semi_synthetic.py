"""A benchmark with a known truth: real control cells, treated with invented drugs.

    lfc_g(type c, drug d, dose x) = h_d(x) (b_dg + r_cdg)

- b is the drug's programme: `programme` genes, drawn among the expressed ones, change by +-|N(strength, strength / 3)|.
- r is 0 except for planted pairs. In such a pair the type resists half of the programme (r = -b) and responds with as
  many other genes. Its nearest type (by the correlation of log means) does the same with `shared` of the size, as
  related types do.
- h is a Hill curve with an EC50 within the range of doses and a slope of 1 or 2 (`gendi.data.cells.perturbation.hill`).

`gendi.data.cells.perturbation.transport` applies these changes to counts. Half of the real cells of each type are the
controls, and treated cells are made from cells drawn from them with replacement. The other half is kept aside for the
comparison with the truth, so no real cell is on both sides.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float64, Int64
from numpy.typing import NDArray

from gendi.data.cells.extra import require
from gendi.data.cells.perturbation.experiment import CONTROL, Experiment
from gendi.data.cells.perturbation.hill import hill
from gendi.data.cells.perturbation.transport import transport
from gendi.diffusion.randomness import stream
from gendi.errors import DataError, UsageError

LEAST_MEAN = 0.1
"""Mean count from which a gene counts as expressed."""
LEAST_CELLS = 8
"""Fewest cells of a type, so that each half has a spread."""


@dataclass(frozen=True, eq=False)
class Truth:
    """The effects of every drug; the module's docstring explains them."""

    programmes: Float64[np.ndarray, "d g"]
    """b."""
    interactions: Float64[np.ndarray, "c d g"]
    """r."""
    ec50: Float64[np.ndarray, " d"]
    slopes: Float64[np.ndarray, " d"]

    def log_fold(self, cell_type: int, drug: int, dose: float) -> Float64[np.ndarray, " g"]:
        """Return the expected log-fold change (G,) of each gene."""
        height = hill(dose, float(self.ec50[drug]), float(self.slopes[drug]))
        return np.asarray(height * (self.programmes[drug] + self.interactions[cell_type, drug]))

    def interacts(self, cell_type: int, drug: int) -> bool:
        """Return whether this pair of type and drug has a planted interaction."""
        return bool(self.interactions[cell_type, drug].any())


@dataclass(frozen=True, eq=False)
class World:
    """The experiment with all its conditions, the truth behind it, and the real cells that were kept aside."""

    experiment: Experiment
    truth: Truth
    kept: Int64[np.ndarray, "n g"]
    kept_types: Int64[np.ndarray, " n"]

    def treated(self, cells: NDArray[np.int64], cell_type: int, drug: int, dose: float, seed: int) -> NDArray[np.int64]:
        """Return the counts (n, G) that the true treatment gives cells (n, G) of a type."""
        rng = stream(seed, "true treatment")
        return transport(cells, self.truth.log_fold(cell_type, drug, dose), rates_of(cells), rng)

    def aside(self, cell_type: int) -> NDArray[np.int64]:
        """Return the real cells of a type that were kept aside, untreated."""
        return np.asarray(self.kept[self.kept_types == cell_type])

    def to_anndata(self) -> Any:
        """Return the experiment as an AnnData with the columns cell_type, drug, dose and control in obs."""
        anndata, pandas = require("anndata"), require("pandas")
        e = self.experiment
        drugs = np.array([*e.drug_names, "control"])[e.drugs]
        obs = pandas.DataFrame(
            {
                "cell_type": pandas.Categorical(np.array(e.type_names)[e.types]),
                "drug": pandas.Categorical(drugs),
                "dose": e.doses,
                "control": e.control,
            },
            index=[f"cell{i}" for i in range(len(e))],
        )
        return anndata.AnnData(e.counts.astype(np.int32), obs=obs, var=pandas.DataFrame(index=list(e.genes)))


def rates_of(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the rate of each gene (G,): its counts as a share of all counts."""
    total = counts.sum(0).astype(np.float64)
    return np.asarray(total / max(total.sum(), 1.0))


def semi_synthetic(
    counts: NDArray[Any],
    labels: NDArray[Any],
    seed: int,
    *,
    drugs: int = 4,
    doses: Sequence[float] = (0.1, 0.3, 1.0, 3.0, 10.0),
    cells: int = 50,
    programme: int = 40,
    strength: float = 1.0,
    interacting: int = 2,
    shared: float = 0.8,
    genes: Sequence[str] | None = None,
) -> World:
    """Make an experiment from real counts (n, G) with types `labels` (n,): every type has every drug at every dose.

    Args:
        counts: counts (n, G) of real cells.
        labels: the type of each cell (n,).
        seed: the seed of everything that is drawn.
        drugs: number of drugs.
        doses: the doses of every drug.
        cells: number of treated cells of each condition.
        programme: number of genes that a drug changes.
        strength: mean absolute log-fold change of these genes at a full dose.
        interacting: number of drugs, counted from the first, that interact with one type and its nearest type.
        shared: the share of an interaction that the nearest type has, in [0, 1].
        genes: names of the genes; gene0, gene1, ... by default.

    Raises:
        UsageError: numbers out of range.
        DataError: a type of fewer than 8 cells, a single type, or too few expressed genes.
    """
    if not (drugs >= 1 and cells >= 1 and programme >= 2 and 0 <= interacting <= drugs and 0 <= shared <= 1):
        raise UsageError(
            f"One of these is out of range: drugs = {drugs}, cells = {cells}, programme = {programme}, "
            f"{interacting = }, {shared = }."
        )
    if not len(doses) or not (np.isfinite(doses).all() and min(doses) > 0):
        raise UsageError(f"doses = {tuple(doses)} must be finite numbers above 0, at least one.")
    counts = np.asarray(counts, np.int64)
    names, types = np.unique(labels, return_inverse=True)
    if np.bincount(types).min() < LEAST_CELLS or len(names) < 2:
        raise DataError(f"The benchmark needs two or more types of at least {LEAST_CELLS} cells each.")
    truth = draw_truth(counts, types, seed, drugs, doses, programme, strength, interacting, shared)
    rng = stream(seed, "halves of types")
    kept = np.zeros(len(counts), bool)
    for c in range(len(names)):
        own = rng.permutation(np.flatnonzero(types == c))
        kept[own[len(own) // 2 :]] = True
    base, base_types = counts[~kept], types[~kept]
    parts = [(base, base_types, np.full(len(base), CONTROL), np.zeros(len(base)))]
    rng = stream(seed, "treated cells")
    for c in range(len(names)):
        own = base[base_types == c]
        for d in range(drugs):
            for x in doses:
                drawn = own[rng.integers(len(own), size=cells)]
                moved = transport(drawn, truth.log_fold(c, d, x), rates_of(own), rng)
                parts.append((moved, np.full(cells, c), np.full(cells, d), np.full(cells, float(x))))
    all_counts, all_types, given, at = (np.concatenate(column) for column in zip(*parts, strict=True))
    gene_names = tuple(genes) if genes is not None else tuple(f"gene{i}" for i in range(counts.shape[1]))
    drug_names = tuple(f"drug{d}" for d in range(drugs))
    experiment = Experiment(all_counts, all_types, given, at, tuple(map(str, names)), drug_names, gene_names)
    return World(experiment, truth, counts[kept], types[kept])


def draw_truth(
    counts: NDArray[np.int64],
    types: NDArray[np.int64],
    seed: int,
    drugs: int,
    doses: Sequence[float],
    programme: int,
    strength: float,
    interacting: int,
    shared: float,
) -> Truth:
    """Draw the effects of the drugs. Raises `DataError` for fewer expressed genes than two programmes have."""
    rng = stream(seed, "drugs")
    means = np.stack([counts[types == c].mean(0) for c in range(types.max() + 1)])
    expressed = np.flatnonzero(means.mean(0) >= LEAST_MEAN)
    if len(expressed) < 2 * programme:
        raise DataError(
            f"{len(expressed)} genes have a mean of at least {LEAST_MEAN}, but programmes of {programme} genes need "
            f"{2 * programme}."
        )
    near = np.corrcoef(np.log(means + LEAST_MEAN))
    np.fill_diagonal(near, -np.inf)
    b, r = np.zeros((drugs, counts.shape[1])), np.zeros((len(means), drugs, counts.shape[1]))
    for d in range(drugs):
        chosen = rng.permutation(expressed)
        b[d, chosen[:programme]] = _effects(rng, programme, strength)
        if d < interacting:
            c = int(rng.integers(len(means)))
            r[c, d, chosen[: programme // 2]] = -b[d, chosen[: programme // 2]]
            own = chosen[programme : programme + programme // 2]
            r[c, d, own] = _effects(rng, len(own), strength)
            r[int(near[c].argmax()), d] = shared * r[c, d]
    low, high = np.log(min(doses)), np.log(max(doses))
    ec50 = np.exp(rng.uniform(low + 0.3 * (high - low), low + 0.7 * (high - low), drugs))
    return Truth(b, r, ec50, rng.integers(1, 3, drugs).astype(np.float64))


def _effects(rng: np.random.Generator, n: int, strength: float) -> NDArray[np.float64]:
    return rng.choice([-1.0, 1.0], n) * np.abs(rng.normal(strength, strength / 3, n))
