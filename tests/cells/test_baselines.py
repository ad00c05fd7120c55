"""The baselines: what each keeps of the data, and what it loses."""

import numpy as np
import pytest
from scipy import stats

from gendi.data.cells.baselines import BASELINES
from gendi.errors import DataError

LABELS = np.repeat([0, 2], 400)


@pytest.fixture(scope="module")
def counts():
    """Two classes of 400 cells and 12 genes, the first six driven together, at depths that vary."""
    rng = np.random.default_rng(0)
    rates = np.stack([np.linspace(1, 4, 12), np.linspace(4, 1, 12)])[(LABELS > 0).astype(int)]
    mu = rates / rates.sum(1, keepdims=True) * rng.lognormal(5, 0.3, 800)[:, None]
    z = rng.standard_normal((800, 12))
    z[:, :6] = 0.8 * rng.standard_normal((800, 1)) + 0.6 * z[:, :6]
    return stats.nbinom(3, 3 / (3 + mu)).ppf(stats.norm.cdf(z)).astype(np.int64)


def correlation(k: np.ndarray) -> float:
    """Mean correlation of the six genes within class 0, depths divided out."""
    own = k[LABELS == 0]
    y = np.log1p(own / own.sum(1, keepdims=True) * 150)[:, :6]
    return float(np.corrcoef(y.T)[np.triu_indices(6, 1)].mean())


@pytest.mark.parametrize("name", BASELINES)
def test_whole_counts_keyed_by_the_seed(counts, name):
    model = BASELINES[name].fit(counts, LABELS)
    asked = np.array([2, 0, 2])
    k = model.sample(3, asked, 1)
    assert k.shape == (3, 12) and k.dtype == np.int64 and k.min() >= 0
    assert np.array_equal(k, model.sample(3, asked, 1))
    assert not np.array_equal(model.sample(800, LABELS, 1), model.sample(800, LABELS, 2))


@pytest.mark.statistical
@pytest.mark.parametrize("name", ["resampling", "nb", "nb-copula"])
def test_class_profiles(counts, name):
    """Shares of genes in each class: of 400 cells with 150 counts and dispersion 1/3 a share errs by 3% of itself, on
    either side. Of cells that are smooth in logarithms nobody promises it.
    """
    k = BASELINES[name].fit(counts, LABELS).sample(800, LABELS, 0)
    for rows in (LABELS == 0, LABELS == 2):
        expected, found = (m[rows].sum(0) / m[rows].sum() for m in (counts, k))
        np.testing.assert_allclose(found, expected, rtol=0.16)


@pytest.mark.statistical
def test_only_the_copula_has_correlations(counts):
    """A mean over 15 pairs of 400 cells errs by about 0.05 / sqrt(15) and the pairs share cells: below 0.05."""
    nb, copula = (
        correlation(BASELINES[name].fit(counts, LABELS).sample(800, LABELS, 0)) for name in ("nb", "nb-copula")
    )
    real = correlation(counts)
    assert copula - nb > 0.6 * (real - nb) > 0.15


def test_resampling_copies(counts):
    k = BASELINES["resampling"].fit(counts, LABELS).sample(50, np.full(50, 2), 0)
    known = {row.tobytes() for row in counts[LABELS == 2]}
    assert all(row.tobytes() in known for row in k)


def test_a_class_of_one_cell(counts):
    labels = LABELS.copy()
    labels[5] = 1
    for name, baseline in BASELINES.items():
        assert baseline.fit(counts, labels).sample(2, np.array([1, 1]), 0).shape == (2, 12), name


@pytest.mark.parametrize("name", ["resampling", "nb", "nb-copula", "pca-mixture"])
def test_a_class_without_cells_is_refused(counts, name):
    with pytest.raises(DataError, match="class 1"):
        BASELINES[name].fit(counts, LABELS).sample(1, np.array([1]), 0)
