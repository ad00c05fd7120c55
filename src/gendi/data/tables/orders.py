"""The order in which words lie on a score, where they have one: similar words side by side."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

Grid = NDArray[np.float64]


def in_order(rows: Grid, j: int) -> list[int]:
    """Return the codes of column j, a category, in their order along a principal axis.

    It is the first principal axis of the means of other columns over the rows of each code, so categories with similar
    rows are neighbours on the score. Codes that no row has are left out.
    """
    codes = rows[:, j]
    others = np.delete(rows, j, axis=1)
    mean, std = np.zeros(others.shape[1]), np.ones(others.shape[1])
    for k, values in enumerate(others.T):
        known = values[~np.isnan(values)]
        if len(known) and known.std() > 0:
            mean[k], std[k] = known.mean(), known.std()
    z = np.nan_to_num((others - mean) / std)
    found = np.unique(codes[~np.isnan(codes)])
    if not len(found) or not z.shape[1]:
        return [int(code) for code in found]
    weights = np.array([np.sqrt((codes == code).sum()) for code in found])
    means = np.stack([z[codes == code].mean(axis=0) for code in found])
    axis = np.linalg.svd(means * weights[:, None], full_matrices=False)[2][0]
    along = means @ axis * np.sign(axis[np.argmax(abs(axis))])
    return [int(code) for code in found[np.argsort(along, kind="stable")]]


def ranked(rows: Grid, orders: Mapping[int, Sequence[int]]) -> Grid:
    """Return rows with the codes of categories replaced by their places in `orders`; unseen codes get the middle."""
    out = rows.copy()
    for j, order in orders.items():
        place = {code: float(i) for i, code in enumerate(order)}
        middle = (len(order) - 1) / 2
        out[:, j] = [np.nan if np.isnan(code) else place.get(int(code), middle) for code in rows[:, j]]
    return out


def in_codes(order: Sequence[int], places: Grid) -> Grid:
    """Return the codes at the `places` of an order."""
    return np.asarray(order, np.float64)[np.clip(places, 0, len(order) - 1).astype(np.int64)]
