"""Log space: counts spread over their own intervals, zeros neither made nor lost."""

import numpy as np
import pytest
import torch

from gendi.data.cells.codec import DepthLaw, Header
from gendi.data.cells.log_space import EDGE, LogCodec, fit_log, spread
from gendi.data.cells.marginals import Marginals


def codec_for(genes: int, modelled: int, depth: float) -> LogCodec:
    marginals = Marginals(np.full((1, genes), 1 / genes), np.full((1, genes), 0.5))
    header, law = Header(genes, None, {}), DepthLaw(float(np.log(depth)), 1.0)
    return LogCodec(header, {}, law, marginals, np.arange(modelled), np.zeros(modelled), np.ones(modelled))


def test_a_count_fills_the_interval_that_is_its_own():
    """e^y - 1 = 1e4 (k + v) / L with v between 0.02 and 0.98, evenly: mean 1/2, variance 0.96^2 / 12."""
    k = np.tile([[0, 1, 5]], (3000, 1))
    share = np.expm1(spread(k, np.full(3000, 200.0), np.arange(3000))) * 200 / 1e4 - k
    assert share.min() >= EDGE - 1e-9 and share.max() <= 1 - EDGE + 1e-9
    np.testing.assert_allclose(share.mean(0), 0.5, atol=0.03)  # 0.29 / sqrt(3000) = 0.005
    np.testing.assert_allclose(share.var(0), 0.96**2 / 12, rtol=0.1)


def test_zeros_are_the_values_below_one_count():
    """y below ln(1 + 1e4 / L) is a zero and above it is none, whatever the network drew."""
    codec, depth = codec_for(2, 2, 400.0), 400.0
    edge = np.log1p(1e4 / depth)
    x = torch.tensor([[0.0, edge - 1e-3, edge + 1e-3], [0.0, -5.0, np.log1p(1e4 * 7.5 / depth)]])
    assert codec.decode(x, {}, 0, 0).tolist() == [[0, 1], [0, 7]]


def test_no_gene_has_more_counts_than_its_cell():
    codec = codec_for(1, 1, 50.0)
    assert codec.decode(torch.tensor([[0.0, 1e9]]), {}, 0, 0).tolist() == [[50]]


@pytest.mark.statistical
def test_genes_outside_the_mask_follow_their_own_laws():
    """Of 4000 cells of mean 40 / 4 = 10 and variance 10 + 50: the mean errs by 0.12, four of which are 0.5."""
    codec = codec_for(4, 1, 40.0)
    k = codec.decode(torch.zeros(4000, 2), {}, 3, 0).double()
    np.testing.assert_allclose(k[:, 1:].mean(0), 10, atol=0.5)
    np.testing.assert_allclose(k[:, 1:].var(0), 60, rtol=0.2)


def test_fit_standardises_in_one_pass():
    rng = np.random.default_rng(0)
    counts = rng.poisson(5.0, (500, 12))
    depth = DepthLaw.fit(counts.sum(1).astype(np.float64))
    codec = fit_log(Header(12, None, {}), {}, depth, np.arange(12), iter([counts[:123], counts[123:]]))
    x = codec.encode(torch.from_numpy(counts), {}, torch.arange(500))
    np.testing.assert_allclose(x.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(x.std(0, correction=0), 1, atol=1e-5)
