"""The points that stand for words: their geometry, the way back, missing and unseen words, and bundles without them."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from scipy.spatial.distance import cdist

from gendi.data.codec_files import codec_from_dict, codec_tensor_specs
from gendi.data.tables.codec import TableCodec
from gendi.data.tables.example import mixed_table
from gendi.data.tables.points import WORDS_MOST, drawn, nearest, points_of
from gendi.data.tables.read import read_frame
from gendi.errors import BundleError
from gendi.storage.safe_tensors import specs

SHARES = st.lists(st.integers(1, 50), min_size=2, max_size=8).map(lambda counts: np.array(counts) / sum(counts))


@given(SHARES)
def test_points_have_mean_zero_covariance_one_and_chi_squared_distances(p: np.ndarray) -> None:
    points = points_of(p)
    assert points.shape == (len(p), len(p) - 1)
    np.testing.assert_allclose(p @ points, 0, atol=1e-12)
    np.testing.assert_allclose((points.T * p) @ points, np.eye(len(p) - 1), atol=1e-12)
    apart = 1 / p[:, None] + 1 / p
    np.testing.assert_allclose(cdist(points, points, "sqeuclidean"), apart - np.diag(np.diag(apart)), rtol=1e-9)


def test_two_words_are_two_points_of_a_standardised_coin() -> None:
    p = np.array([0.9, 0.1])
    found = points_of(p)[:, 0]
    np.testing.assert_allclose(abs(found), [np.sqrt(1 / 9), 3.0])  # (x - p) / sqrt(p (1 - p)) for x = 0 and 1
    assert found[0] * found[1] < 0


@given(SHARES, st.integers(0, 1000))
def test_the_nearest_point_is_that_of_the_least_distance(p: np.ndarray, seed: int) -> None:
    x = np.random.default_rng(seed).normal(size=(20, len(p) - 1)) * 3
    np.testing.assert_array_equal(nearest(points_of(p), x), cdist(x, points_of(p)).argmin(axis=1))


def test_draws_have_the_shares() -> None:
    p = np.array([0.5, 0.2, 0.3])
    u = (np.arange(1000) + 0.5) / 1000
    np.testing.assert_array_equal(np.bincount(drawn(p, u)), [500, 200, 300])


def codec_of(frame: pd.DataFrame, points: bool = True) -> tuple[TableCodec, torch.Tensor]:
    loaded = read_frame(frame)
    return TableCodec.fit(loaded.schema, loaded.rows, {}, points=points), torch.from_numpy(loaded.rows)


def table(n: int = 300) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    words = pd.Series(rng.choice(["a", "b", "c", "d"], n, p=[0.5, 0.3, 0.15, 0.05]), dtype=object)
    return pd.DataFrame({"word": words, "yes": rng.random(n) < 0.1, "x": rng.normal(size=n)})


def test_words_and_booleans_are_points_and_numbers_are_scores() -> None:
    codec, rows = codec_of(table())
    assert codec.shape == (3 + 1 + 1,) and list(codec.points) == [0, 1]
    z = codec.encode(rows, {}, torch.arange(300)).double().numpy() @ codec.axes
    for j in (0, 1):
        order = list(codec.orders.get(j, (0, 1)))
        expected = points_of(np.array([(rows[:, j] == word).sum() for word in order]) / 300)
        place = np.array([order.index(int(word)) for word in rows[:, j]])
        np.testing.assert_allclose(z[:, codec.coordinates[j]], expected[place], atol=2e-5)
    assert stats.kstest(z[:, 0], "norm").statistic < 2.23 / np.sqrt(300)  # Kolmogorov's 1e-4 point


def test_a_vector_between_words_becomes_one_of_them() -> None:
    codec, rows = codec_of(table())
    x = codec.encode(rows, {}, torch.arange(300))
    moved = x.double().numpy() @ codec.axes
    moved[:, :4] += np.random.default_rng(0).normal(size=(300, 4)) * 0.2  # the nearest words are 1 / sqrt(p) / 2 away
    back = codec.decode(torch.from_numpy(np.linalg.solve(codec.axes, moved.T).T), {}, 0, 0)
    assert torch.equal(back[:, :2], rows[:, :2])


@pytest.mark.statistical
def test_a_missing_word_is_drawn_by_the_shares_of_the_others() -> None:
    frame = table(4000)
    frame.loc[::2, "word"] = None
    codec, rows = codec_of(frame)
    z = codec.encode(rows, {}, torch.arange(4000)).double().numpy() @ codec.axes
    word = nearest(codec.points[0], z[:, codec.coordinates[0]])
    seen = np.bincount(rows[1::2, 0].long(), minlength=4)
    order = np.array([0, 1, 2, 3]) if 0 not in codec.orders else np.array(codec.orders[0])
    found = np.bincount(word[::2], minlength=4)[np.argsort(order)]
    assert stats.chisquare(found, 2000 * seen / seen.sum()).pvalue > 1e-3


def test_a_word_that_training_did_not_see_is_encoded_as_one_it_saw() -> None:
    loaded = read_frame(table())
    seen = loaded.rows[loaded.rows[:, 0] != 3]
    codec = TableCodec.fit(loaded.schema, seen, {})
    x = codec.encode(torch.from_numpy(loaded.rows), {}, torch.arange(300))
    assert torch.isfinite(x).all() and codec.shape == (2 + 1 + 1,)


def test_a_column_of_very_many_words_keeps_one_score() -> None:
    many = pd.Series([f"w{i % (WORDS_MOST + 1):03d}" for i in range(400)], dtype=object)
    codec, rows = codec_of(pd.DataFrame({"many": many, "x": np.arange(400) % 7.5}))
    assert not codec.points and codec.shape == (2,)
    assert torch.equal(codec.decode(codec.encode(rows, {}, torch.arange(400)), {}, 0, 0)[:, 0], rows[:, 0])


def test_a_codec_that_was_kept_before_words_were_points_is_read_as_it_was() -> None:
    codec, rows = codec_of(mixed_table(200), points=False)
    data = json.loads(json.dumps(codec.to_dict()))
    assert data.pop("points") == []
    old = codec_from_dict(data, codec.tensors())
    assert codec_tensor_specs(data) == specs(codec.tensors())
    assert isinstance(old, TableCodec) and not old.points and old.shape == (22,)  # 20 columns, two patterns of gaps
    assert torch.equal(old.encode(rows, {}, torch.arange(200)), codec.encode(rows, {}, torch.arange(200)))


@pytest.mark.parametrize("points", [[99], [2], ["0"], [0, 0], 0])
def test_points_of_columns_that_have_none_are_refused(points: object) -> None:
    codec, _ = codec_of(mixed_table(200))
    with pytest.raises(BundleError, match="points"):
        codec_from_dict({**codec.to_dict(), "points": points}, codec.tensors())
