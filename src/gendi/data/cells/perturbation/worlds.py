"""Invented experiments whose truth no model of this library assumes, for a comparison of models.

Nothing here moves the counts of control cells: every cell, control or treated, is drawn afresh, and once. Cell i of
type c under dose x of drug d has the count of gene g

    k_ig ~ NB(mean L_i p_cg exp(lfc_g(c, d, x) + w_g z_i - |w_g|^2 / 2), dispersion a_g)

with its depth L_i and the state z_i ~ N(0, I), through which genes vary together. A drug changes `PROGRAMME` genes
strongly and as many weakly. Every type scales every effect by a factor of its own, and one type of each drug has other
genes in place of half of the strong ones. What the worlds differ in is how effects depend on the dose:

    hill             u = x^n / (x^n + EC50^n), one curve of each drug for all genes and types
    biphasic         4 u (1 - u): the effect comes and goes
    threshold        0 below a dose that lies between two tested ones, and 1 above it
    two programmes   half of the genes by a curve of low doses that is gone at high ones, half by a curve of high doses
    potency          the Hill curve of each type is shifted in dose
    responders       60% of the cells respond, and the others are like controls
    variance         beside the Hill world's effects, 40 more genes change in dispersion (a factor of 5, up or down) and
                     30 more in what they have in common (a state of its own), without a change in their means
    batch            as hill; drugs 0, 1, ... were given in two batches in turn, whose genes differ, and controls are
                     half of each. `Invented.experiment` says which cell is of which batch.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float64, Int64
from numpy.typing import NDArray
from scipy.special import expit

from gendi.data.cells.perturbation.experiment import CONTROL, Experiment
from gendi.diffusion.randomness import stream
from gendi.errors import unknown_name

WORLDS = ("hill", "biphasic", "threshold", "two programmes", "potency", "responders", "variance", "batch")
DOSES = (0.1, 0.3, 1.0, 3.0, 10.0)
PROGRAMME = 30
RESPONDERS = 0.6
STATES = 4
"""Directions in which cells vary; the last one is there in treated cells of the world "variance" only."""
DEPTH = 1500.0

Curve = Callable[[int, float], Float64[np.ndarray, " g"]]
"""Type and dose to the height (G,) of each gene's effect."""


@dataclass(frozen=True, eq=False)
class Invented:
    """A world: its experiment, and the truth from which any number of further cells can be drawn."""

    name: str
    experiment: Experiment
    rates: Float64[np.ndarray, "c g"]
    """p."""
    dispersions: Float64[np.ndarray, " g"]
    """a."""
    loadings: Float64[np.ndarray, "g k"]
    """w, with the loadings on the state that only treated cells of the world "variance" have in the last column."""
    effects: Float64[np.ndarray, "d c g"]
    """Log-fold changes at the height 1."""
    curves: tuple[Curve, ...]
    """The height of each drug's effects."""
    spread: Float64[np.ndarray, " g"]
    """The logarithm of the factor of the dispersions at the height 1."""
    batch: Float64[np.ndarray, "b g"]
    """Log-fold changes of the batches."""

    def batch_of(self, drug: int) -> int:
        """Return the batch in which a drug was given."""
        return drug % len(self.batch)

    def log_fold(self, cell_type: int, drug: int, dose: float) -> Float64[np.ndarray, " g"]:
        """Return the log-fold change (G,) of the mean of each gene, against controls of the same batch."""
        full = self.effects[drug, cell_type] * self.curves[drug](cell_type, dose)
        return np.asarray(np.log(RESPONDERS * np.exp(full) + 1 - RESPONDERS) if self.name == "responders" else full)

    def controls(self, cell_type: int, n: int, rng: np.random.Generator, batch: int = 0) -> Int64[np.ndarray, "n g"]:
        """Return the counts (n, G) of new control cells."""
        genes = self.rates.shape[1]
        return self.draw(cell_type, np.zeros((n, genes)), self.dispersions, 0.0, batch, rng)

    def treated(
        self, cell_type: int, drug: int, dose: float, n: int, rng: np.random.Generator
    ) -> Int64[np.ndarray, "n g"]:
        """Return the counts (n, G) of new treated cells."""
        height = self.curves[drug](cell_type, dose)
        responds = rng.random(n) < (RESPONDERS if self.name == "responders" else 1.0)
        moved = responds[:, None] * (self.effects[drug, cell_type] * height)
        varies = float(height.max()) if self.name == "variance" else 0.0
        dispersions = self.dispersions * np.exp(self.spread * varies)
        return self.draw(cell_type, moved, dispersions, varies, self.batch_of(drug), rng)

    def draw(
        self,
        cell_type: int,
        lfc: NDArray[np.float64],
        dispersions: NDArray[np.float64],
        varies: float,
        batch: int,
        rng: np.random.Generator,
    ) -> NDArray[np.int64]:
        """Return the counts (n, G) of new cells, with log-fold changes (n, G) and a state of the size `varies`."""
        n = len(lfc)
        loadings = self.loadings * np.array([1.0] * (STATES - 1) + [varies])
        state = rng.normal(size=(n, STATES)) @ loadings.T - np.square(loadings).sum(1) / 2
        depth = DEPTH * np.exp(0.35 * rng.normal(size=(n, 1)))
        mean = depth * self.rates[cell_type] * np.exp(lfc + state + self.batch[batch])
        return np.asarray(rng.poisson(mean * rng.gamma(1 / dispersions, dispersions, mean.shape)), np.int64)


def invent(
    name: str, seed: int, *, types: int = 4, drugs: int = 4, genes: int = 400, cells: int = 50, controls: int = 100
) -> Invented:
    """Make the world `name`, one of `WORLDS`: every type has every drug at every dose of `DOSES`.

    Args:
        name: which world.
        seed: the seed of everything that is drawn.
        types, drugs, genes: their numbers; two types are alike.
        cells: number of cells of each condition.
        controls: number of control cells of each type.

    Raises `UsageError` for an unknown name.
    """
    if name not in WORLDS:
        raise unknown_name("world", name, WORLDS)
    rng = stream(seed, f"invented world {name}")
    base = rng.normal(size=genes) * 1.2
    own = rng.normal(size=(types, genes)) * 0.7 * (rng.random((types, genes)) < 0.4)
    if types > 1:
        own[1] = own[0] + 0.3 * own[1]
    rates = np.exp(base + own)
    rates /= rates.sum(1, keepdims=True)
    expressed = rng.permutation(np.flatnonzero(DEPTH * rates.mean(0) > 0.5))
    effects = np.stack([_effects(rng, types, genes, rng.permutation(expressed)) for _ in range(drugs)])
    loadings = 0.25 * rng.normal(size=(genes, STATES)) * (rng.random((genes, STATES)) < 0.3)
    spread, batch = np.zeros(genes), np.zeros((1, genes))
    loadings[:, -1] = 0
    if name == "variance":
        spread[expressed[:40]] = np.log(5) * rng.choice([-1.0, 1.0], 40)
        loadings[expressed[40:70], -1] = 0.6
        effects[:, :, expressed[:70]] = 0
    if name == "batch":
        batch = np.stack([np.zeros(genes), 0.5 * rng.normal(size=genes) * (rng.random(genes) < 0.3)])
    curves = tuple(_curve(name, rng, types, genes) for _ in range(drugs))
    dispersions = 0.3 * np.exp(0.5 * rng.normal(size=genes))
    empty = _experiment(np.zeros((0, genes), np.int64), [[]] * 4, types, drugs)
    world = Invented(name, empty, rates, dispersions, loadings, effects, curves, spread, batch)
    parts: list[tuple[Any, ...]] = []
    for c in range(types):
        for b in range(len(batch)):
            share = controls // len(batch)
            parts.append((world.controls(c, share, rng, b), c, CONTROL, 0.0, b))
        for d in range(drugs):
            parts += [(world.treated(c, d, x, cells, rng), c, d, x, world.batch_of(d)) for x in DOSES]
    sizes = [len(part[0]) for part in parts]
    columns = [np.repeat([part[i] for part in parts], sizes) for i in (1, 2, 3, 4)]
    filled = _experiment(np.concatenate([part[0] for part in parts]), columns, types, drugs)
    return Invented(name, filled, rates, dispersions, loadings, effects, curves, spread, batch)


def _experiment(counts: NDArray[np.int64], columns: Sequence[Any], types: int, drugs: int) -> Experiment:
    """Return an experiment of cells whose `columns` are their types, drugs, doses and batches."""
    of_type, drug, dose, batch = columns
    return Experiment(
        counts,
        np.asarray(of_type, np.int64),
        np.asarray(drug, np.int64),
        np.asarray(dose, np.float64),
        tuple(f"type{c}" for c in range(types)),
        tuple(f"drug{d}" for d in range(drugs)),
        tuple(f"gene{g}" for g in range(counts.shape[1])),
        np.asarray(batch, np.int64),
    )


def _effects(rng: np.random.Generator, types: int, genes: int, order: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the full effects (T, G) of one drug on genes in the order in which they are chosen."""
    strong, weak, other = order[:PROGRAMME], order[PROGRAMME : 2 * PROGRAMME], order[2 * PROGRAMME :][: PROGRAMME // 2]
    out = np.zeros((types, genes))
    out[:, strong] = _sizes(rng, len(strong))
    out[:, weak] = 0.2 * rng.normal(size=len(weak))
    out *= np.exp(0.3 * rng.normal(size=out.shape))
    odd = int(rng.integers(types))
    out[odd, strong[: len(other)]] = 0
    out[odd, other] = _sizes(rng, len(other))
    return out


def _sizes(rng: np.random.Generator, n: int) -> NDArray[np.float64]:
    return rng.choice([-1.0, 1.0], n) * rng.gamma(4.0, 0.25, n)


def _curve(name: str, rng: np.random.Generator, types: int, genes: int) -> Curve:
    """Return the height of one drug's effects by type and dose."""
    low, high = np.log(DOSES[0]), np.log(DOSES[-1])
    middle = rng.uniform(low + 0.3 * (high - low), low + 0.7 * (high - low))
    slope = float(rng.integers(1, 3))
    at = np.full(types, middle) + (rng.uniform(-1, 1, types) * np.log(4) if name == "potency" else 0)
    first = rng.random(genes) < 0.5
    between = float(np.sqrt(DOSES[(i := int(rng.integers(1, len(DOSES) - 1)))] * DOSES[i - 1]))

    def u(dose: float, log_ec50: float, n: float) -> float:
        return float(expit(n * (np.log(dose) - log_ec50)))

    def height(cell_type: int, dose: float) -> NDArray[np.float64]:
        if name == "two programmes":
            late = u(dose, middle + 1.2, 2.0)
            return np.where(first, u(dose, middle - 1.7, 2.0) * (1 - late), late)
        h = u(dose, float(at[cell_type]), slope)
        if name == "biphasic":
            h = 4 * h * (1 - h)
        if name == "threshold":
            h = float(dose > between)
        return np.full(genes, h)

    return height
