"""Four fakes that every honest set of metrics must catch, drawn from the training rows.

- **class means**: every row is the mean of its class. Profiles are perfect, there are no single cells.
- **mixture**: a Gaussian mixture in the first principal components, one Gaussian per class. Shape is right; noise,
  zeros and depth are not.
- **shuffled**: each column is permuted within its class. All marginals are exact, nothing belongs together.
- **copies**: training rows themselves. No distance can tell; only looking for copies can.

They take and give rows in the data's own units (counts, or numbers); what is whole there is rounded to be so again.
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
    """Return for each of the chosen rows the mean of its class, rounded where rows are whole numbers."""
    out = np.zeros((len(chosen), rows.shape[1]))
    for c in np.unique(labels[chosen]):
        out[labels[chosen] == c] = rows[labels == c].mean(axis=0, dtype=np.float64)
    return _as_before(out, rows)


def shuffled_within_class(
    rows: Raw, labels: Labels, chosen: Labels, rng: np.random.Generator, blocks: Sequence[slice] | None = None
) -> Raw:
    """Return the chosen rows with every column permuted within its class.

    `blocks` are columns that stay together (the codes of one category); each column by itself by default.
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
    """Return draws of a Gaussian in the first principal components of `forward(rows)` for the class of each chosen row.

    So the mixture has a component per class. `forward` brings rows to the space of the metrics and `backward` brings
    draws back (for counts at random depths).
    """
    from sklearn.decomposition import PCA

    x, rng = forward(rows), stream(seed, "mixture control")
    k = min(COMPONENTS, x.shape[1], len(x))
    pca = PCA(k, svd_solver="full" if min(x.shape) <= 1000 else "randomized", random_state=seed).fit(x)
    z, drawn = pca.transform(x).astype(np.float64), np.zeros((len(chosen), k))
    for c in np.unique(labels[chosen]):
        members, wanted = z[labels == c], labels[chosen] == c
        centred = members - members.mean(axis=0)
        # A mean plus a normal combination of centred rows has their mean and covariance, whatever the rank.
        normal = rng.standard_normal((int(wanted.sum()), len(members))) / np.sqrt(max(len(members) - 1, 1))
        drawn[wanted] = members.mean(axis=0) + normal @ centred
    return _as_before(backward(pca.inverse_transform(drawn), rng), rows)


def _as_before(out: np.ndarray, rows: Raw) -> Raw:
    if np.issubdtype(rows.dtype, np.integer):
        return np.asarray(np.rint(np.maximum(out, 0)), rows.dtype)
    return np.asarray(out, rows.dtype)
