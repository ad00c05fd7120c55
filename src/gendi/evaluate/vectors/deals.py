"""Deals of real rows for floors and gates: a set x in the samples' place, a reference y, and a rest t.

Usually rows are dealt at random. Where whole groups, such as donors, were held out of training, groups are dealt: no
group is in two of the three sets. y has as many groups as were held out, and x and t share the others. So the floor
says how far cells of new donors are from those of other donors. There are not more deals than groups, since the gate's
interval counts deals as if they were independent.
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
    return Deals(kept, max(n, 2), min(0.9, held / groups + 0.5 * (1 - held / groups)), tuple(notes))


def _deal(groups: Indices, n: int, held: int, rng: np.random.Generator) -> Deal | None:
    """Return a deal of whole groups, of which x and y keep n rows; None if every order that is tried leaves too few."""
    names = np.unique(groups)
    for _ in range(TRIES):
        order = rng.permutation(names)
        y, order = _filled(groups, order, held, n)
        x, order = _filled(groups, order, max(1, len(order) // 2), n)
        rest = np.flatnonzero(np.isin(groups, order))
        if min(len(x), len(y), len(rest)) >= n:
            return rng.permutation(x)[:n], rng.permutation(y)[:n], rng.permutation(rest)
    return None


def _filled(groups: Indices, order: Indices, least: int, n: int) -> tuple[Indices, Indices]:
    """Return the rows of the first groups, at least `least` groups and n rows, and the groups that are left."""
    taken, rows = 0, 0
    while taken < len(order) and (taken < least or rows < n):
        rows += int((groups == order[taken]).sum())
        taken += 1
    return np.flatnonzero(np.isin(groups, order[:taken])), order[taken:]
