"""The count-exact codec in worlds whose laws are known: zeros, means, variances, correlations, keyed draws."""

import json

import numpy as np
import pytest
import torch
from scipy import stats

from gendi.data.cells import autoencoder
from gendi.data.cells.codec import CellsCodec, DepthLaw
from gendi.data.cells.config import CellsConfig
from gendi.data.cells.copula import CopulaCodec
from gendi.data.cells.fit import CODECS, fit, variable_genes
from gendi.data.dataset import Data
from gendi.data.split import Split
from gendi.diffusion.config import ConditionConfig
from gendi.errors import BundleError, DataError, DivergedError, UsageError

GENES = 30
KINDS = pytest.mark.parametrize("model", ["copula", "log", "latent"])


def world(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Counts (n, 30) of two classes, one factor behind the first ten genes."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, n)
    rates = np.stack([np.linspace(1, 6, GENES), np.linspace(6, 1, GENES)])
    rates /= rates.sum(1, keepdims=True)
    depth = rng.lognormal(4.5, 0.3, n)
    z = rng.standard_normal((n, GENES))
    z[:, :10] = 0.8 * rng.standard_normal((n, 1)) + 0.6 * z[:, :10]
    mu = rates[labels] * depth[:, None]
    return stats.nbinom(4, 4 / (4 + mu)).ppf(stats.norm.cdf(z)).astype(np.int64), labels


def data_of(counts: np.ndarray, labels: np.ndarray | None = None) -> Data:
    told = {} if labels is None else {"class": labels}
    specs = () if labels is None else (ConditionConfig("class", "class", 3, names=("a", "b", "c")),)
    split = Split(counts, told)
    return Data("world", "world", split, split, specs, "", None, (), (), kind="cells", schema={"genes": ["g"]})  # type: ignore[arg-type]


def fitted(data: Data, model: str = "copula", factors: int = 2, genes: int = 0) -> CellsCodec:
    return fit(data, data.conditions, 0, CellsConfig(model, factors, genes))  # type: ignore[arg-type]


@pytest.fixture
def quick(monkeypatch):
    """An autoencoder that hardly trains, for tests that ask nothing of it but shapes and keys."""
    monkeypatch.setattr(autoencoder, "STEPS", 20)


def told(labels: np.ndarray) -> dict[str, torch.Tensor]:
    return {"class": torch.from_numpy(labels)}


@pytest.fixture(scope="module")
def known():
    counts, labels = world(1500)
    data = data_of(counts, labels)
    return counts, labels, {model: fitted(data, model) for model in ("copula", "log", "latent")}


@pytest.mark.statistical
def test_model_space_is_standard(known):
    """Of 1500 cells a mean has an error of 0.026 and a variance one of 0.037: four of each."""
    counts, labels, codecs = known
    x = codecs["copula"].encode(torch.from_numpy(counts), told(labels), torch.arange(len(counts)))
    assert x.dtype == torch.float32 and tuple(x.shape) == (1500, 3)
    np.testing.assert_allclose(x.mean(0), 0, atol=0.11)
    np.testing.assert_allclose(x.var(0), 1, atol=0.15)


@pytest.mark.statistical
def test_zeros_means_and_variances_are_the_formulas(known):
    """Standard normal factors at depth 100: every gene's zeros (1 + a mu)^(-1/a), mean mu and variance mu + a mu^2.

    Of n = 20,000 draws: zeros err by 0.5 / sqrt(n) = 0.0035 at most; the mean by sqrt(var / n); the variance by about
    var sqrt((2 + k) / n), with an excess kurtosis k below 10 here: 0.025 var. Four to five of each.
    """
    _, _, codecs = known
    codec, n = codecs["copula"], 20_000
    assert isinstance(codec, CopulaCodec)
    x = torch.from_numpy(np.random.default_rng(5).standard_normal((n, 3)))
    cond = told(np.ones(n, np.int64)) | {"depth": torch.full((n,), 100.0)}
    counts = codec.decode(x, cond, 3, 0).numpy()
    mu, a = codec.marginals.rates[1] * 100, codec.marginals.dispersions[1]
    variance = mu + a * mu**2
    np.testing.assert_allclose((counts == 0).mean(0), (1 + a * mu) ** (-1 / a), atol=0.016)
    assert (np.abs(counts.mean(0) - mu) < 5 * np.sqrt(variance / n)).all()
    np.testing.assert_allclose(counts.var(0), variance, rtol=0.12)


@pytest.mark.statistical
def test_genes_correlate_as_they_did(known):
    """Encoded and decoded cells correlate like the cells: the mean over 45 pairs of correlated genes, whose own error
    over 1500 cells is about 0.026 / sqrt(10) on either side, agrees to 0.04.
    """
    counts, labels, codecs = known
    codec, cond = codecs["copula"], told(labels)
    again = codec.decode(codec.encode(torch.from_numpy(counts), cond, torch.arange(1500)), cond, 7, 0).numpy()
    pairs = np.triu_indices(10, 1)
    before, after = (np.corrcoef(np.log1p(k[:, :10]).T)[pairs].mean() for k in (counts, again))
    assert before > 0.4
    assert after == pytest.approx(before, abs=0.04)


def test_counts_come_back_exactly_with_their_own_residual():
    """Where a gene's whole score is kept (here in place of the residual), the quantile gives its count back."""
    from gendi.data.cells.copula import bounds
    from gendi.data.cells.marginals import fit_marginals
    from gendi.data.cells.negative_binomial import quantile

    counts, labels = world(200)
    marginals, depth = fit_marginals([(counts, labels)], 2, GENES), counts.sum(1).astype(np.float64)
    lower, upper = bounds(marginals, counts, labels, depth, np.arange(GENES))
    for share in (0.01, 0.5, 0.99):
        z = lower + share * (upper - lower)
        assert np.array_equal(quantile(z, *marginals.of(labels, depth)), counts)


def test_log_space_gives_counts_back_exactly(known):
    counts, _, codecs = known
    x = codecs["log"].encode(torch.from_numpy(counts), {}, torch.arange(1500))
    assert np.array_equal(codecs["log"].decode(x, {}, 0, 0).numpy(), counts)


@KINDS
def test_cells_do_not_depend_on_their_batch(known, model):
    counts, labels, codecs = known
    codec, rows, cond = codecs[model], torch.from_numpy(counts[:300]), told(labels[:300])
    x = codec.encode(rows, cond, torch.arange(300))
    k = codec.decode(x, cond, 11, 40)
    few = slice(270, 280)
    alone = codec.encode(rows[few], told(labels[few]), torch.arange(270, 280))
    torch.testing.assert_close(alone, x[few], rtol=1e-5, atol=1e-5)
    assert torch.equal(codec.decode(x[few], told(labels[few]), 11, 310), k[few])
    assert torch.equal(codec.encode(rows, cond, torch.arange(300)), x)
    if model != "log":  # whose way back draws nothing
        assert not torch.equal(codec.decode(x, cond, 12, 40), k)


@KINDS
def test_parts_make_the_same_codec(known, model):
    _, labels, codecs = known
    codec = codecs[model]
    data = json.loads(json.dumps(codec.to_dict()))
    tensors = codec.tensors()
    assert {n: (tuple(t.shape), t.dtype) for n, t in tensors.items()} == type(codec).expected(data)
    again = CODECS[data["kind"]].from_parts(data, tensors)
    assert again == codec
    x = torch.randn(9, *codec.shape, generator=torch.Generator().manual_seed(0))
    assert torch.equal(again.decode(x, told(labels[:9]), 0, 0), codec.decode(x, told(labels[:9]), 0, 0))


@KINDS
def test_fits_are_deterministic(quick, model):
    counts, labels = world(60)
    assert fitted(data_of(counts, labels), model) == fitted(data_of(counts, labels), model)


@pytest.mark.parametrize("model", ["copula", "latent"])  # in log space a cell has the depth that its genes make
def test_depth_asked_for(known, model):
    """Means over 200 cells of depth d: sums of 30 counts whose variance is at most d + d^2 / 4, so 5% of error at most
    from chance (0.5 / sqrt(200), 3.5%), and what an autoencoder's genes miss none, as its rates sum to 1.
    """
    _, labels, codecs = known
    codec = codecs[model]
    x = torch.zeros(200, *codec.shape) + 0.0
    depth = torch.full((200,), 50.0)
    depth[100:] = torch.nan  # of these nobody asked
    k = codec.decode(x, told(labels[:200]) | {"depth": depth}, 0, 0).sum(1).double()
    assert float(k[:100].mean()) == pytest.approx(50, rel=0.12)
    assert float(k[100:].mean()) == pytest.approx(float(np.exp(codec.depth.mean)), rel=0.12)


def test_only_the_mask_has_factors():
    counts, labels = world(200)
    counts[:, :5] = np.random.default_rng(0).poisson(40 * (1 + 3 * labels[:, None] * np.arange(1, 6)))
    data = data_of(counts)
    codec = fitted(data, genes=5)
    assert isinstance(codec, CopulaCodec)
    assert np.array_equal(codec.modelled, variable_genes(data.train, 5)) and len(codec.modelled) == 5
    assert set(codec.modelled) <= set(range(5)) | set(range(5, GENES))
    assert codec.decode(torch.zeros(4, 3), {}, 0, 0).shape == (4, GENES)


def test_the_most_variable_genes_are_those_that_differ_between_classes():
    """Poisson genes of many means, of which three differ nineteenfold between two halves of the cells."""
    rng = np.random.default_rng(0)
    mu = np.tile(np.geomspace(0.5, 20, 50), (400, 1))
    mu[:200, [3, 17, 31]] *= 1.9
    mu[200:, [3, 17, 31]] *= 0.1
    assert set(variable_genes(data_of(rng.poisson(mu)).train, 3)) == {3, 17, 31}


@KINDS
@pytest.mark.parametrize("n", [1, 2])
def test_hardly_any_cells(quick, model, n):
    counts = world(n)[0]
    codec = fitted(data_of(counts), model)
    x = codec.encode(torch.from_numpy(counts), {}, torch.arange(n))
    assert torch.isfinite(x).all()
    assert codec.decode(x, {}, 0, 0).shape == (n, GENES)


@KINDS
def test_genes_of_zeros_stay_zero_and_others_may_appear(quick, model):
    counts, labels = world(200)
    counts[:, 4] = 0
    codec = fitted(data_of(counts, labels), model)
    x = codec.encode(torch.from_numpy(counts), told(labels), torch.arange(200))
    assert not codec.decode(x, told(labels), 0, 0)[:, 4].sum() > (2 if model == "latent" else 0)
    held_out = counts.copy()
    held_out[:, 4] = 3
    assert torch.isfinite(codec.encode(torch.from_numpy(held_out), told(labels), torch.arange(200))).all()


@KINDS
def test_a_class_of_one_cell_and_one_unseen(quick, model):
    counts, labels = world(50)
    labels[:], labels[7] = 0, 1
    codec = fitted(data_of(counts, labels), model)
    k = codec.decode(torch.zeros(4, *codec.shape), told(np.array([0, 1, 2, -1])), 0, 0)
    assert k.shape == (4, GENES) and int(k.min()) >= 0


@KINDS
def test_empty_cells_and_huge_counts(quick, model):
    counts, _ = world(40)
    counts[3] = 0
    counts[5] *= 100_000
    codec = fitted(data_of(counts), model)
    x = codec.encode(torch.from_numpy(counts), {}, torch.arange(40))
    assert torch.isfinite(x).all()
    assert int(codec.decode(x, {}, 0, 0)[5].sum()) > 10_000


def test_depth_law():
    law = DepthLaw.fit(np.array([100.0, 200.0, 400.0]))
    assert law.mean == pytest.approx(np.log(200))
    np.testing.assert_allclose(law.depth(law.score(np.array([50.0, 300.0]))), [50, 300])
    same = DepthLaw.fit(np.array([70.0, 70.0]))
    np.testing.assert_allclose(same.score(np.array([70.0])), 0, atol=1e-12)
    assert np.isfinite(same.depth(np.array([1e9]))).all()


@KINDS
def test_bad_rows_are_refused(known, model):
    counts, labels, codecs = known
    codec, index = codecs[model], torch.arange(5)
    for bad, message in (
        (torch.from_numpy(counts[:5, :7]), "same genes"),
        (torch.from_numpy(counts[:5] + 0.5), "whole numbers"),
        (torch.from_numpy(counts[:5] * np.nan), "whole numbers"),
        (torch.from_numpy(-counts[:5] - 1), "negative"),
    ):
        with pytest.raises(DataError, match=message):
            codec.encode(bad, told(labels[:5]), index)
    with pytest.raises(DivergedError, match="NaN"):
        codec.decode(torch.full((2, *codec.shape), torch.nan), {}, 0, 0)
    with pytest.raises(DataError, match="shape"):
        codec.decode(torch.zeros(2, 1), {}, 0, 0)
    with pytest.raises(UsageError, match="must be positive"):
        codec.decode(torch.zeros(2, *codec.shape), {"depth": torch.tensor([0.0, 5.0])}, 0, 0)


def test_nothing_to_fit():
    with pytest.raises(DataError, match="no cells"):
        fitted(data_of(np.zeros((0, 4), np.int64)))
    with pytest.raises(DataError, match="is empty"):
        fitted(data_of(np.zeros((3, 4), np.int64)))


@KINDS
def test_damaged_parts_are_refused(known, model):
    _, _, codecs = known
    codec = codecs[model]
    data, tensors = codec.to_dict(), codec.tensors()
    name = "modelled"
    for field, value in (("genes", -1), ("label", 3), ("schema", None), ("depth", [0.0, 0.0]), ("told", [])):
        with pytest.raises(BundleError, match=field):
            type(codec).from_parts(data | {field: value}, tensors)
    with pytest.raises(BundleError, match=name):
        type(codec).from_parts(data, tensors | {name: torch.zeros_like(tensors[name])})
    broken = next(n for n, t in tensors.items() if t.is_floating_point() and not n.startswith("told"))
    with pytest.raises(BundleError, match="NaN"):
        type(codec).from_parts(data, tensors | {broken: torch.full_like(tensors[broken], torch.nan)})
