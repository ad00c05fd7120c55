"""Deals of real rows for floors and gates: a set x in the samples' place, a reference y, and a rest t.

Usually rows are dealt at random. Where whole groups, such as donors, were held out of training, groups are dealt: no
group is in two of the three sets, and x and y each have at least as many groups as were held out, so the floor says how
far cells of new donors are from those of other donors. There are not more deals than groups, since the gate's interval
counts deals as if they were independent.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gendi.diffusion.randomness import stream
from gendi.evaluate.vectors.space import Indices, RowSet

FEWEST = 3
"""Groups that a deal needs, one for each set."""
TRIES = 20

Deal = tuple[Indices, Indices, Indices]


@dataclass(frozen=True, eq=False)
class Deals:
    """Deals with n rows in each of x and y."""

    deals: Sequence[Deal]
    n: int
    share: float
    """The share of all rows, or of all groups, that x and y take together."""
    notes: tuple[str, ...] = ()


def deals_of(real: RowSet, heldout: RowSet, n: int, splits: int, seed: int) -> Deals:
    """Return deals of real rows: `splits` of them, or one for each group if there are fewer groups.

    Args:
        real: training and held-out rows together.
        heldout: the held-out rows.
        n: number of rows of x and y; it is smaller in the result where groups have too few rows.
        splits: number of deals.
        seed: the seed of the draws.
    """
    rest = len(real) - 2 * n
    if real.groups is None or heldout.groups is None:
        rng, rest = stream(seed, "evaluation deals"), min(len(real) - len(heldout), rest)
        orders = [rng.permutation(len(real)).astype(np.int64) for _ in range(splits)]
        ends = (0, n, 2 * n, 2 * n + rest)
        deals = [(o[: ends[1]], o[ends[1] : ends[2]], o[ends[2] : ends[3]]) for o in orders]
        return Deals(deals, n, 2 * n / (2 * n + rest))
    groups = len(np.unique(real.groups))
    if groups < FEWEST:
        note = f"There are {groups} groups, and floors and gates that deal whole groups need {FEWEST}: there are none."
        return Deals((), n, 0.5, (note,))
    held = max(1, min(len(np.unique(heldout.groups)), (groups - 1) // 2))
    wanted, splits = n, max(FEWEST, min(splits, groups))
    while n > 1:
        rng = stream(seed, "evaluation deals of groups")
        found = [_deal(real.groups, n, held, rng) for _ in range(splits)]
        if all(deal is not None for deal in found):
            break
        n = int(0.8 * n)
    kept = [deal for deal in found if deal is not None] if n > 1 else []
    notes = [f"Floors and gates deal whole groups: {len(kept)} deals of {groups} groups."] if kept else []
    if n < wanted:
        notes.append(f"n = {n}, as groups must fill three sets; {wanted} rows could be compared otherwise.")
    return Deals(kept, max(n, 2), min(0.9, 2 * held / groups), tuple(notes))


def _deal(groups: Indices, n: int, held: int, rng: np.random.Generator) -> Deal | None:
    """Return a deal of whole groups, of which x and y keep n rows; None if every order that is tried leaves too few."""
    names = np.unique(groups)
    for _ in range(TRIES):
        order, place, sets = rng.permutation(names), 0, list[Indices]()
        for _ in range(2):
            taken, rows = 0, np.zeros(0, np.int64)
            while place < len(order) and (taken < held or len(rows) < n):
                rows = np.concatenate([rows, np.flatnonzero(groups == order[place])])
                place, taken = place + 1, taken + 1
            sets.append(rng.permutation(rows)[:n])
        rest = np.flatnonzero(np.isin(groups, order[place:]))
        if min(map(len, sets)) == n and len(rest) >= n:
            return sets[0], sets[1], rng.permutation(rest)
    return None
