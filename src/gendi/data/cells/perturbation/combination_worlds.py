"""Invented experiments with combinations of two drugs, whose truth no model of this library assumes.

Single drugs are those of the world "hill" of `gendi.data.cells.perturbation.worlds`, and every cell is drawn afresh, as
there. With the log-fold changes a and b of two drugs at their doses, and the share h of its largest effect (by the root
mean square) that each has there, the drugs do together

    additive      a + b
    synergy       a + b + min(h_A, h_B) (v + v_AB):  40 genes v change in all pairs, and 15 genes v_AB in each
    saturation    2.2 tanh((a + b) / 2.2): no gene changes without limit
    masking       the larger of both changes of a gene, and 0.3 times the other, and 15 genes as in synergy

Every drug is given alone at all doses of `gendi.data.cells.perturbation.worlds.DOSES` in all types. Two of three pairs
are given at two doses, each in all types but one.
"""

from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from jaxtyping import Float64, Int64
from numpy.typing import NDArray

from gendi.data.cells.perturbation.experiment import Experiment
from gendi.data.cells.perturbation.treatment import Treatment, spelled
from gendi.data.cells.perturbation.worlds import DEPTH, Invented, invent
from gendi.diffusion.randomness import stream
from gendi.errors import unknown_name

WORLDS = ("additive", "synergy", "saturation", "masking")
SEEN_DOSES = ((3.0, 3.0), (10.0, 10.0))
OTHER_DOSES = (3.0, 10.0)
"""Doses at which no pair was given."""
MOST, MASKED = 2.2, 0.3
COMMON, OWN = 40, 15
"""Numbers of genes."""

Condition = tuple[int, Treatment]


@dataclass(frozen=True, eq=False)
class Together:
    """A world: its experiment, the conditions that it lacks, by kind, and the truth."""

    name: str
    alone: Invented
    common: Float64[np.ndarray, " g"]
    own: dict[tuple[int, ...], Float64[np.ndarray, " g"]]
    experiment: Experiment
    lacking: dict[str, list[Condition]]
    """Pairs that were seen, in a type ("type") or at doses ("dose") in which they were not, and others ("pair")."""

    def log_fold(self, cell_type: int, treatment: Treatment) -> Float64[np.ndarray, " g"]:
        """Return the true log-fold change (G,)."""
        parts = [self.alone.log_fold(cell_type, d, x) for d, x in treatment.parts]
        total = np.sum(parts, axis=0)
        if len(parts) == 1 or self.name == "additive":
            return np.asarray(total)
        if self.name == "saturation":
            return np.asarray(MOST * np.tanh(total / MOST))
        heights = [float(self.alone.curves[d](cell_type, x).mean()) for d, x in treatment.parts]
        more = min(heights) * (self.common + self.own[treatment.members])
        if self.name == "synergy":
            return np.asarray(total + more)
        first = np.abs(parts[0]) >= np.abs(parts[1])
        return np.asarray(np.where(first, parts[0] + MASKED * parts[1], parts[1] + MASKED * parts[0]) + more)

    def treated(
        self, cell_type: int, treatment: Treatment, n: int, rng: np.random.Generator
    ) -> Int64[np.ndarray, "n g"]:
        """Return the counts (n, G) of new cells."""
        lfc = np.tile(self.log_fold(cell_type, treatment), (n, 1))
        return self.alone.draw(cell_type, lfc, self.alone.dispersions, 0.0, 0, rng)


def invent_together(
    name: str, seed: int, *, types: int = 4, drugs: int = 6, genes: int = 400, cells: int = 50, controls: int = 100
) -> Together:
    """Make the world `name`, one of `WORLDS`; the arguments are those of `gendi.data.cells.perturbation.worlds.invent`.

    Raises `UsageError` for an unknown name.
    """
    if name not in WORLDS:
        raise unknown_name("world", name, WORLDS)
    rng = stream(seed, f"invented combinations {name}")
    alone = invent("hill", seed, types=types, drugs=drugs, genes=genes, cells=cells, controls=controls)
    expressed = np.flatnonzero(DEPTH * alone.rates.mean(0) > 0.5)
    common = _some(rng, genes, expressed, COMMON if name == "synergy" else 0)
    pairs = list(combinations(range(drugs), 2))
    own: dict[tuple[int, ...], NDArray[np.float64]] = {pair: _some(rng, genes, expressed, OWN) for pair in pairs}
    world = Together(name, alone, common, own, alone.experiment, {})
    lacking: dict[str, list[Condition]] = {"type": [], "dose": [], "pair": []}
    seen: list[Condition] = []
    for i, pair in enumerate(pairs):
        given, out = [Treatment(pair, doses) for doses in SEEN_DOSES], i % types
        if i % 3 == 2:
            lacking["pair"] += [(out, given[-1])]
            continue
        seen += [(c, treatment) for c in range(types) if c != out for treatment in given]
        lacking["type"] += [(out, given[-1])]
        lacking["dose"] += [((out + 1) % types, Treatment(pair, OTHER_DOSES))]
    return replace(world, experiment=_with(world, seen, cells, rng), lacking=lacking)


def _with(world: Together, seen: list[Condition], cells: int, rng: np.random.Generator) -> Experiment:
    """Return the experiment with cells under combinations."""
    e = world.alone.experiment
    together = list(dict.fromkeys(treatment for _, treatment in seen))
    number = {treatment: len(e.drug_names) + i for i, treatment in enumerate(together)}
    counts = [world.treated(c, treatment, cells, rng) for c, treatment in seen]
    names = ("+".join(e.drug_names[d] for d in t.drugs) + f" at {spelled(t.doses, '+')}" for t in together)
    return replace(
        e,
        counts=np.concatenate([e.counts, *counts]),
        types=np.concatenate([e.types, np.repeat([c for c, _ in seen], cells)]),
        drugs=np.concatenate([e.drugs, np.repeat([number[t] for _, t in seen], cells)]),
        doses=np.concatenate([e.doses, np.ones(len(seen) * cells)]),
        drug_names=(*e.drug_names, *names),
        batches=None,
        combinations={d: treatment for treatment, d in number.items()},
        sign="+",
    )


def _some(rng: np.random.Generator, genes: int, expressed: NDArray[np.int64], n: int) -> NDArray[np.float64]:
    """Return changes (G,) of n of the expressed genes."""
    out = np.zeros(genes)
    chosen = rng.permutation(expressed)[:n]
    out[chosen] = rng.choice([-1.0, 1.0], n) * rng.gamma(4.0, 0.25, n)
    return out
