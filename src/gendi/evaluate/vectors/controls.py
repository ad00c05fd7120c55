"""Four fakes that every honest set of metrics must catch, drawn from the training rows.

- **class means**: every row is the mean of its class. The profiles are perfect, but no row is like a single cell.
- **mixture**: a Gaussian mixture in the first principal components, one Gaussian per class. The shape is right, but
  noise, zeros and depth are not.
- **shuffled**: each column is permuted within its class. All marginals are exact, but the columns are unrelated.
- **copies**: training rows themselves. No distance notices them; only a search for copies does.

The functions take and return rows in the data's own units (counts or numbers), and round to whole numbers where the
rows are whole.
"""

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Int64, Num

from gendi.diffusion.randomness import stream

Raw = Num[np.ndarray, "_ _"]
Labels = Int64[np.ndarray, " _"]
COMPONENTS = 20


def copy_rows(rows: Raw, chosen: Labels) -> Raw:
    """Return the training rows `chosen` themselves."""
    return np.asarray(rows[chosen])


def class_means(rows: Raw, labels: Labels, chosen: Labels) -> Raw:
    """Return the class mean for each of the chosen rows, rounded if the rows are whole numbers."""
    out = np.zeros((len(chosen), rows.shape[1]))
    for c in np.unique(labels[chosen]):
        out[labels[chosen] == c] = rows[labels == c].mean(axis=0, dtype=np.float64)
    return _rounded(out, rows)


def shuffled_within_class(
    rows: Raw, labels: Labels, chosen: Labels, rng: np.random.Generator, blocks: Sequence[slice] | None = None
) -> Raw:
    """Return the chosen rows with every column permuted within its class.

    `blocks` are columns that stay together (the codes of one category); by default each column is permuted by itself.
    """
    out = np.array(rows[chosen])
    blocks = blocks if blocks is not None else [slice(j, j + 1) for j in range(rows.shape[1])]
    for c in np.unique(labels[chosen]):
        members = np.flatnonzero(labels[chosen] == c)
        for block in blocks:
            out[members, block] = out[rng.permutation(members), block]
    return out


def principal_mixture(
    rows: Raw,
    labels: Labels,
    chosen: Labels,
    seed: int,
    forward: Callable[[np.ndarray], np.ndarray],
    backward: Callable[[np.ndarray, np.random.Generator], np.ndarray],
) -> Raw:
    """Return draws from a mixture with one Gaussian per class, as many of each class as there are chosen rows of it.

    The Gaussians are fitted to the first principal components of `forward(rows)`, the features of the metrics.
    `backward` turns the draws into rows again (counts get random depths).
    """
    from sklearn.decomposition import PCA

    x, rng = forward(rows), stream(seed, "mixture control")
    k = min(COMPONENTS, x.shape[1], len(x))
    pca = PCA(k, svd_solver="full" if min(x.shape) <= 1000 else "randomized", random_state=seed).fit(x)
    z, drawn = pca.transform(x).astype(np.float64), np.zeros((len(chosen), k))
    for c in np.unique(labels[chosen]):
        members, of_class = z[labels == c], labels[chosen] == c
        centred = members - members.mean(axis=0)
        # A mean plus a normal combination of centred rows has their mean and covariance, whatever the rank.
        normal = rng.standard_normal((int(of_class.sum()), len(members))) / np.sqrt(max(len(members) - 1, 1))
        drawn[of_class] = members.mean(axis=0) + normal @ centred
    return _rounded(backward(pca.inverse_transform(drawn), rng), rows)


def _rounded(out: np.ndarray, rows: Raw) -> Raw:
    """Return `out` in the dtype of `rows`; for integers, rounded and at least 0."""
    if np.issubdtype(rows.dtype, np.integer):
        return np.asarray(np.rint(np.maximum(out, 0)), rows.dtype)
    return np.asarray(out, rows.dtype)
