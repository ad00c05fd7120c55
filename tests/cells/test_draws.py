"""Several draws of each cell's factors: their law where it is known, and training that goes through all of them."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch

import gendi
from gendi.data.cells.config import CellsConfig
from gendi.data.cells.copula import DRAWS, CopulaCodec, most_draws, posterior_factors
from gendi.data.cells.factors import Factors
from gendi.data.cells.fit import CODECS, fit
from gendi.data.dataset import Data
from gendi.data.prepare import prepare
from gendi.data.split import Split
from gendi.diffusion.config import ConditionConfig
from gendi.train.presets import get_preset

TYPE = ConditionConfig("type", "class", 2, names=("a", "b"))


def cells(n: int = 60) -> tuple[np.ndarray, np.ndarray]:
    """Counts (n, 12) of two types."""
    rng = np.random.default_rng(0)
    types = rng.integers(0, 2, n)
    return rng.poisson(np.where(types[:, None] == 1, 6.0, 2.0) * rng.gamma(4, 0.25, (n, 12))), types


def data_of(counts: np.ndarray, types: np.ndarray) -> Data:
    split = Split(counts, {"type": types})
    return Data("world", "world", split, split, (TYPE,), "", None, (), (), kind="cells", schema={"genes": ["g"]})


def fitted(data: Data) -> CopulaCodec:
    codec = fit(data, (TYPE,), 0, CellsConfig("copula", 2))
    assert isinstance(codec, CopulaCodec)
    return codec


@pytest.mark.statistical
def test_draws_have_the_posterior_of_known_scores() -> None:
    """Where a cell's scores are known, its factors are N(z W, V), and draws are independent: over 1500 draws, a mean
    errs by sqrt(V / 1500) and a covariance by about V sqrt(2 / 1500); five of each are allowed."""
    rng, n, draws = np.random.default_rng(1), 4, 1500
    factors = Factors(rng.uniform(-0.5, 0.5, (6, 2)))
    z = rng.standard_normal((n, 6)).astype(np.float32)
    f = posterior_factors(factors, z - 1e-6, z + 1e-6, np.arange(n), draws)
    assert f.shape == (draws, n, 2)
    weights, covariance = factors.posterior()
    spread = np.sqrt(covariance.diagonal() / draws)
    assert (np.abs(f.mean(0) - z @ weights) < 5 * spread).all()
    for i in range(n):
        assert np.abs(np.cov(f[:, i].T) - covariance).max() < 5 * covariance.max() * np.sqrt(2 / draws)
    neighbours = np.corrcoef(f[:-1, 0, 0], f[1:, 0, 0])[0, 1]
    assert abs(neighbours) < 5 / np.sqrt(draws)


def test_the_first_draw_is_the_cell_as_it_is_encoded() -> None:
    counts, types = cells()
    codec, rows, cond = fitted(data_of(counts, types)), torch.from_numpy(counts), {"type": torch.from_numpy(types)}
    x = codec.encode_draws(rows, cond, torch.arange(60), 3)
    assert torch.equal(x[0], codec.encode(rows, cond, torch.arange(60)))
    assert torch.equal(x[:, :, 0], x[:1, :, 0].expand(3, -1))  # the depth is known
    assert not torch.isclose(x[0, :, 1:], x[1, :, 1:]).any()
    few = codec.encode_draws(rows[20:25], {"type": cond["type"][20:25]}, torch.arange(20, 25), 3)
    torch.testing.assert_close(few, x[:, 20:25], rtol=1e-5, atol=1e-5)


def test_few_cells_are_there_several_times_and_many_once() -> None:
    assert [most_draws(n) for n in (1, 500, 625, 2000, 5001, 10**6)] == [16, 16, 16, 5, 1, 1]
    counts, types = cells()
    data = data_of(counts, types)
    ready = prepare(data, (TYPE,), options=CellsConfig("copula", 2))
    assert len(ready.train) == DRAWS * 60 and ready.forms == DRAWS and len(ready.heldout) == 60
    assert np.array_equal(ready.train.conditions["type"], np.tile(types, DRAWS))
    assert np.array_equal(ready.train.rows[60:120], ready.codec.encode_draws(
        torch.from_numpy(counts), {"type": torch.from_numpy(types)}, torch.arange(60), 2)[1].numpy())  # fmt: skip
    assert len(ready.fitted.training_conditions["type"]) == 60


def test_codecs_of_earlier_versions_draw_once() -> None:
    counts, types = cells()
    codec = fitted(data_of(counts, types))
    data = json.loads(json.dumps(codec.to_dict()))
    assert data["draws"] == DRAWS and CODECS[codec.kind].from_parts(data, codec.tensors()) == codec
    older = CODECS[codec.kind].from_parts({k: v for k, v in data.items() if k != "draws"}, codec.tensors())
    ready = prepare(dataclasses.replace(data_of(counts, types), codec=older), (TYPE,))
    assert older.draws_of(60) == 1 and len(ready.train) == 60 and ready.forms == 1


def test_a_run_goes_on_exactly(tmp_path: Path) -> None:
    """Ten steps of 16 cells see rows of several draws; stopped after five, they end with the same weights."""
    import anndata
    import pandas as pd

    counts, types = cells()
    obs = pd.DataFrame({"type": pd.Categorical(np.array(["a", "b"])[types])}, index=[f"c{i}" for i in range(60)])
    adata = anndata.AnnData(counts.astype(np.float32), obs=obs)
    config = get_preset("cells").config
    config = dataclasses.replace(
        config,
        conditions=(ConditionConfig("type"),),
        optim=dataclasses.replace(config.optim, warmup=0.0, decay=0.0),
        train=dataclasses.replace(
            config.train, batch_size=16, precision="fp32", layout="contiguous", preview_every=0, evaluate_every=0
        ),
    )
    whole = gendi.fit(adata, out=tmp_path / "whole", config=config, steps=10, quiet=True)
    half = gendi.fit(adata, out=tmp_path / "parts", config=config, steps=5, quiet=True)
    parts = gendi.fit(adata, out=tmp_path / "parts", config=config, steps=10, quiet=True)
    assert isinstance(parts.codec, CopulaCodec) and parts.codec.draws == DRAWS
    assert all(torch.equal(parts.state[name], value) for name, value in whole.state.items())
    assert not all(torch.equal(half.state[name], value) for name, value in whole.state.items())
