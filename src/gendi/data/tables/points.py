"""The points that stand for the words of a column: K words become K points in K - 1 dimensions.

    e_k = U^T d_k / sqrt(p_k)

p_k is the share of word k, d_k the k-th unit vector, and the columns of U (K, K - 1) an orthonormal basis of all that
is orthogonal to the vector of sqrt(p_k). Over rows with these shares the points have mean 0, variance 1 in each
dimension and no correlations, and |e_k - e_l|^2 = 1 / p_k + 1 / p_l for k != l: so no two words are near each other,
and rare ones are far out. This is the chi-squared distance of correspondence analysis. Two words are two points on a
line.
[Greenacre 2007, "Correspondence Analysis in Practice"]

A vector stands for the nearest point.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64, Int64

from gendi.data.tables.marginals import Marginal
from gendi.data.tables.schema import Schema

WORDS_MOST = 60
"""A column of more words has them side by side on one score, so that the vector stays short."""
Shares = Float64[np.ndarray, " k"]
Points = Float64[np.ndarray, "k d"]


def with_points(schema: Schema, marginals: Sequence[Marginal], valued: Sequence[int]) -> list[int]:
    """Return the columns among `valued` whose words are points: categories and booleans of at most `WORDS_MOST`."""
    words = {j: len(marginals[j].x) // 2 for j in valued if schema.columns[j].kind in ("category", "boolean")}
    return [j for j, many in words.items() if 2 <= many <= WORDS_MOST]


def points_of(shares: Shares) -> Points:
    """Return the points (K, K - 1) of words with these shares, which are positive and sum to 1.

    U is what a Householder reflection that turns sqrt(p) into a unit vector does to the other unit vectors.
    """
    root = np.sqrt(shares / shares.sum())
    normal = root.copy()
    normal[0] += 1.0  # of the mirror between root and the first unit vector's opposite
    mirror = np.eye(len(root)) - 2 * np.outer(normal, normal) / (normal @ normal)
    return np.asarray(mirror[:, 1:] / root[:, None])


def nearest(points: Points, x: Float64[np.ndarray, "n d"]) -> Int64[np.ndarray, " n"]:
    """Return the number of the nearest point for each of the vectors x (n, d)."""
    return np.asarray((x @ points.T - 0.5 * np.square(points).sum(axis=1)).argmax(axis=1), np.int64)


def drawn(shares: Shares, u: Float64[np.ndarray, " n"]) -> Int64[np.ndarray, " n"]:
    """Return the number of a word for each of the uniform draws u (n,) in [0, 1)."""
    ends = np.cumsum(shares)
    return np.asarray(np.searchsorted(ends / ends[-1], u, side="right").clip(max=len(shares) - 1), np.int64)
