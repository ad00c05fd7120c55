"""The codec of tables: round trips, normal scores, gaps in a Gaussian world, fixed conditions, and bad parts."""

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from gendi.data import Data, open_data
from gendi.data.codec_files import codec_from_dict, codec_tensor_specs
from gendi.data.tables.codec import TableCodec
from gendi.data.tables.example import mixed_table
from gendi.data.tables.kind import TABLES
from gendi.data.tables.orders import in_order
from gendi.data.tables.read import read_frame
from gendi.data.vectors import training_conditions
from gendi.diffusion.config import ConditionConfig
from gendi.errors import BundleError, DataError, DivergedError
from gendi.storage.safe_tensors import specs
from gendi.train.config import RunConfig


def codec_of(frame: pd.DataFrame, *names: str) -> tuple[TableCodec, torch.Tensor, dict[str, torch.Tensor]]:
    loaded = read_frame(frame)
    cond = training_conditions([s for s in loaded.specs if s.name in names], loaded.conditions)
    return TableCodec.fit(loaded.schema, loaded.rows, cond), torch.from_numpy(loaded.rows), cond


def encoded(codec: TableCodec, rows: torch.Tensor) -> torch.Tensor:
    return codec.encode(rows, {}, torch.arange(len(rows)))


def from_scores(codec: TableCodec, z: np.ndarray) -> torch.Tensor:
    """Return the rows of scores z, whose correlations are still in them."""
    return codec.decode(torch.from_numpy(np.linalg.solve(codec.axes, z.T).T), {}, 0, 0)


def test_a_table_of_all_kinds_comes_back() -> None:
    frame = mixed_table(500)
    codec, rows, _ = codec_of(frame)
    back = codec.decode(encoded(codec, rows), {}, 0, 0)
    assert torch.equal(back.isnan(), rows.isnan())
    for j, column in enumerate(codec.schema.columns):
        a, b = rows[:, j].nan_to_num(), back[:, j].nan_to_num()
        if column.kind == "number":  # u moves by 1e-6 at most, 5e-4 of a rank of 500; then digits are rounded
            gap = float(np.diff(codec.marginals[j].x).max())
            assert (a - b).abs().max() <= 5e-4 * gap + 1e-9
        else:
            assert torch.equal(a, b), column.name


@pytest.mark.statistical
def test_every_score_is_standard_normal_and_every_coordinate_finite() -> None:
    codec, rows, _ = codec_of(mixed_table(2000))
    x = encoded(codec, rows).numpy()
    assert x.dtype == np.float32 and np.isfinite(x).all()
    z = (x @ codec.axes)[:, :15]  # 13 columns and two patterns of gaps; behind them are the points of seven columns
    # 15 scores; Kolmogorov's 1e-4 point is 2.23 / sqrt(n), and even ranks only bring it down
    assert max(stats.kstest(column, "norm").statistic for column in z.T) < 2.23 / np.sqrt(2000)


def test_encoding_does_not_depend_on_the_batch_nor_decoding() -> None:
    codec, rows, _ = codec_of(mixed_table(60))
    z = encoded(codec, rows)
    parts = [codec.encode(rows[i : i + 7], {}, torch.arange(i, min(i + 7, 60))) for i in range(0, 60, 7)]
    assert torch.equal(torch.cat(parts), z)
    whole, halves = codec.decode(z, {}, 3, 0), [codec.decode(z[:31], {}, 3, 0), codec.decode(z[31:], {}, 3, 31)]
    assert torch.equal(torch.cat(halves).nan_to_num(-1), whole.nan_to_num(-1))
    assert not torch.equal(codec.encode(rows, {}, torch.arange(60) + 1000), z)


def test_vectors_have_no_correlations_and_scores_those_of_scipy_ranks() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.multivariate_normal((0, 0), ((1, 0.8), (0.8, 1)), 400).T
    codec, rows, _ = codec_of(pd.DataFrame({"a": a, "b": np.exp(b), "c": rng.normal(size=400)}))
    x = encoded(codec, rows).double().numpy()
    np.testing.assert_allclose(x.T @ x / 400, np.eye(3), atol=1e-5)
    z = stats.norm.ppf((stats.rankdata(np.column_stack([a, b]), axis=0) - 0.5) / 400)
    assert (codec.axes @ codec.axes)[0, 1] == pytest.approx((z[:, 0] * z[:, 1]).mean(), abs=1e-9)


def test_twins_among_columns_stay_twins() -> None:
    x = np.random.default_rng(0).normal(size=200)
    codec, _, _ = codec_of(pd.DataFrame({"a": x, "b": np.exp(x)}))
    rows = codec.decode(torch.randn(300, 2, generator=torch.Generator().manual_seed(0)), {}, 0, 0).numpy()
    # what is left of their difference has standard deviation sqrt(2 LEAST) = 0.014 in z: 0.06 is four of them
    assert abs(stats.norm.ppf(stats.rankdata(rows, axis=0) / 301) @ [1, -1]).max() < 0.2
    assert stats.spearmanr(rows).statistic > 0.999


@pytest.mark.statistical
def test_gaps_of_a_gaussian_world_have_their_shares_alone_and_together() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 400))
    a[:120], b[60:260] = np.nan, np.nan
    codec, _, _ = codec_of(pd.DataFrame({"a": a, "b": b}))
    rho, n = 0.7, 40_000
    covariance = np.eye(4)
    covariance[2, 3] = covariance[3, 2] = rho
    z = rng.multivariate_normal(np.zeros(4), covariance, n)
    gone = from_scores(codec, z).isnan().numpy()
    p, q = 0.3, 0.5
    both = stats.multivariate_normal([0, 0], covariance[2:, 2:]).cdf([stats.norm.ppf(p), stats.norm.ppf(q)])
    for found, share in ((gone[:, 0], p), (gone[:, 1], q), (gone.all(1), both)):
        assert abs(found.mean() - share) < 4 * np.sqrt(share * (1 - share) / n)  # four standard errors: 6e-5 each


def test_columns_that_are_missing_together_stay_together() -> None:
    x = np.arange(40) % 7.0
    gone = np.arange(40) % 5 == 0
    frame = pd.DataFrame({"a": np.where(gone, np.nan, x), "b": np.where(gone, np.nan, x**2 % 11), "c": x})
    codec, _, _ = codec_of(frame)
    assert codec.gaps == (((0, 1), 0.2),) and codec.shape == (4,)
    z = np.random.default_rng(0).normal(size=(500, 4))
    missing = from_scores(codec, z).isnan()
    assert torch.equal(missing[:, 0], missing[:, 1]) and not missing[:, 2].any()
    assert np.array_equal(missing[:, 0], z[:, 3] > stats.norm.ppf(0.8))


def test_a_constant_and_an_empty_column_take_no_coordinate() -> None:
    codec, rows, _ = codec_of(pd.DataFrame({"x": [1.5, 2.5, 4.0], "same": [7, 7, 7], "none": [np.nan] * 3}))
    assert codec.shape == (1,)
    np.testing.assert_array_equal(codec.decode(encoded(codec, rows), {}, 0, 0), rows)


def test_like_categories_are_neighbours_on_the_score() -> None:
    code = np.arange(300) % 5
    level = np.array([2.0, -1.0, 0.5, 3.0, -4.0])  # of each category, in another column
    rows = np.column_stack([code.astype(float), level[code], -2 * level[code]])
    assert in_order(rows, 0) in ([4, 1, 2, 0, 3], [3, 0, 2, 1, 4])


def test_what_was_told_is_written_down_and_null_is_not() -> None:
    frame = mixed_table(300)
    codec, rows, known = codec_of(frame, "region", "children", "income", "smoker", "signal")
    z = torch.randn(6, codec.shape[0], generator=torch.Generator().manual_seed(0))
    free = codec.decode(z, {}, 0, 0)
    cond = {name: value[:6].clone() for name, value in known.items()}
    for value in cond.values():
        value[5] = torch.nan if value.is_floating_point() else -1
    out = codec.decode(z, cond, 0, 0)
    names = [column.name for column in codec.schema.columns]
    for name in known:
        assert torch.equal(out[:5, names.index(name)], rows[:5, names.index(name)]), name
    assert torch.equal(out[5].nan_to_num(), free[5].nan_to_num())
    asked = codec.decode(z, {"income": torch.full((6,), 12345.678)}, 0, 0)
    assert (asked[:, names.index("income")] == 12346).all()  # a number that nobody has, in the column's digits


def test_it_is_kept_in_parts() -> None:
    codec, _, _ = codec_of(mixed_table(200), "region", "income")
    text = json.loads(json.dumps(codec.to_dict()))
    assert codec_tensor_specs(text) == specs(codec.tensors())
    assert codec_from_dict(text, codec.tensors()) == codec


BAD: dict[str, Any] = {
    "knots": [1],
    "gaps": [{"columns": [99], "share": 0.5}],
    "orders": {"0": [7]},
    "told": {"region": "image"},
    "rows": -1,
    "schema": {},
}


@pytest.mark.parametrize("name", BAD)
def test_bad_parts_are_refused_by_name(name: str) -> None:
    codec, _, _ = codec_of(mixed_table(200))
    with pytest.raises(BundleError, match=name if name != "schema" else "separator"):
        codec_from_dict({**codec.to_dict(), name: BAD[name]}, codec.tensors())
    lacking = codec.to_dict()
    del lacking[name]
    with pytest.raises(BundleError, match=name):
        codec_tensor_specs(lacking)


def test_a_bad_column_and_knots_that_fall_are_refused() -> None:
    codec, _, _ = codec_of(mixed_table(200))
    for field, value in (("kind", "colour"), ("labels", 3), ("decimals", "2"), ("unit", "century")):
        data = json.loads(json.dumps(codec.to_dict()))
        data["schema"]["columns"][0][field] = value
        with pytest.raises(BundleError, match="region"):
            codec_from_dict(data, codec.tensors())
    tensors = codec.tensors()
    tensors["knots.x"] = tensors["knots.x"].flip(0)
    with pytest.raises(BundleError, match="do not rise"):
        codec_from_dict(codec.to_dict(), tensors)


def test_nan_is_no_row_and_a_table_without_variety_no_table() -> None:
    codec, _, _ = codec_of(mixed_table(50))
    with pytest.raises(DivergedError, match="NaN"):
        codec.decode(torch.full((1, *codec.shape), torch.nan), {}, 0, 0)
    loaded = read_frame(pd.DataFrame({"x": [1, 1, 2]}))
    with pytest.raises(DataError, match="same value in all rows"):
        TableCodec.fit(loaded.schema, loaded.rows[:2], {})


def test_held_out_rows_that_training_did_not_see_are_encoded() -> None:
    frame = pd.DataFrame({"c": ["a", "b", "a", "c", "d"], "x": [1.0, 2.0, 3.0, 4.0, np.nan], "n": [1, 2, 2, 9, 0]})
    loaded = read_frame(frame)
    codec = TableCodec.fit(loaded.schema, loaded.rows[:3], {})
    assert torch.isfinite(codec.encode(torch.from_numpy(loaded.rows), {}, torch.arange(5))).all()


CELLS = st.one_of(st.none(), st.integers(-1000, 1000))
WORDS = st.one_of(st.none(), st.sampled_from(["a", "b", "c", "déjà vu", "x,y"]))


@given(st.lists(st.tuples(CELLS, WORDS, st.booleans(), st.floats(-1e6, 1e6)), min_size=2, max_size=30))
def test_any_table_comes_back(rows: list[tuple[int | None, str | None, bool, float]]) -> None:
    n, c, b, x = zip(*rows, strict=True)
    frame = pd.DataFrame({"n": pd.array(n, "Int64"), "c": pd.Categorical(c), "b": b, "x": x})
    if frame.nunique(dropna=False).max() == 1:
        with pytest.raises(DataError, match="no column varies"):
            codec_of(frame)
        return
    codec, raw, _ = codec_of(frame)
    back = codec.decode(encoded(codec, raw), {}, 0, 0)
    assert torch.equal(back.isnan(), raw.isnan())
    discrete = [j for j, column in enumerate(codec.schema.columns) if column.kind != "number"]
    if codec.schema.columns[0].kind == "integer" and frame["n"].nunique() > 20:
        discrete.remove(0)
        assert (back[:, 0] - raw[:, 0]).nan_to_num().abs().max() <= 1
    assert torch.equal(back[:, discrete].nan_to_num(), raw[:, discrete].nan_to_num())


def test_fit_takes_training_rows_and_what_is_told_of_them() -> None:
    data: Data = open_data(mixed_table(100))
    config = RunConfig(conditions=(ConditionConfig("kind", "class", 4, names=("a", "b", "c", "d")),))
    codec = TABLES.fit(data, config.conditions, 0, None)
    assert isinstance(codec, TableCodec)
    np.testing.assert_array_equal(codec.training_conditions["kind"], data.train.conditions["kind"])
    drawn = codec.draw_conditions(config.conditions, None, 50, 0)
    assert set(drawn["kind"].tolist()) <= set(data.train.conditions["kind"].tolist())
