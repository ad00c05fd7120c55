"""Which of several conditions with classes has the distributions of its own: the one that tells most about counts.

Each class of this main condition has rates and dispersions of its own, and a rare one borrows from the class that it is
like. The classes of the others only multiply rates (`gendi.data.cells.levels`), as suits batches and donors. So that
the order in which somebody names the conditions decides nothing, the main one is found from the cells:

    gain = sum over classes c and genes g of S'_cg ln(p_cg / p_g)

S' are the counts of every second cell, drawn at random, and p the rates of the others, in the class and in all classes
together. So a gain is the logarithm of how much more likely the classes make the counts of new cells, as multinomials.
It does not grow with the number of classes if they say nothing: their noise makes it negative.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gendi.data.cells.marginals import LEAST_RATE, solve, sums_of
from gendi.data.cells.rows import sparse_rows
from gendi.data.split import Split
from gendi.diffusion.config import ConditionConfig

MOST_CELLS = 20_000
"""Most cells that are looked at."""
CHUNK = 1024


def main_condition(train: Split, specs: Sequence[ConditionConfig], rng: np.random.Generator) -> ConditionConfig | None:
    """Return the condition with classes that has the largest gain, the first one of equals; None if none has classes.

    Only one condition with classes is returned without a look at the cells.
    """
    known = [spec for spec in specs if spec.kind == "class"]
    if len(known) < 2:
        return known[0] if known else None
    chosen = rng.permutation(len(train))[:MOST_CELLS]
    halves = np.sort(chosen[::2]), np.sort(chosen[1::2])
    gains = [gain(train, spec, *halves) for spec in known]
    return known[int(np.argmax(gains))]


def gain(train: Split, spec: ConditionConfig, fitted: NDArray[np.int64], judged: NDArray[np.int64]) -> float:
    """Return the gain of a condition, in nats: rates come from the cells `fitted`, counts from the cells `judged`."""
    labels = np.asarray(train.conditions[spec.name], np.int64)
    genes = int(train.rows.shape[1])
    ours, theirs = (
        sums_of(((sparse_rows(train.rows, part), labels[part]) for part in _parts(rows)), spec.size, genes)
        for rows in (fitted, judged)
    )
    rates = np.maximum(solve(ours).rates, LEAST_RATE)
    return float((theirs.of_k * np.log(rates / rates[-1])).sum())


def _parts(rows: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    return np.array_split(rows, max(1, len(rows) // CHUNK))
