"""The scores of SDMetrics: its own figures for the same tables (version 0.32.0), and their limits."""

import numpy as np
import pandas as pd
import pytest

from gendi.data import open_data
from gendi.data.tables.evaluate import rows_of
from gendi.data.tables.shape_scores import column_shapes, pair_trends, scored


def table(n: int, seed: int) -> pd.DataFrame:
    """Two numbers, a word and a truth value, some of them missing."""
    rng = np.random.default_rng(seed)
    x = rng.normal(0, 1, n).round(2)
    y = (x * (0.5 + 0.3 * seed) + rng.normal(0, 1, n)).round(2)
    y[rng.random(n) < 0.1] = np.nan
    c = np.array(["a", "b", "c"], object)[rng.choice(3, n, p=[[0.5, 0.3, 0.2], [0.3, 0.3, 0.4]][seed])]
    c[rng.random(n) < 0.1] = None
    return pd.DataFrame({"x": x, "y": y, "c": c, "f": x > rng.normal(0, 1, n)})


def test_they_are_those_of_sdmetrics() -> None:
    """SDMetrics' ColumnShapes and ColumnPairTrends, with all rows, give these figures for these two tables."""
    schema = open_data(table(200, 0)).schema
    real, fake = (rows_of(frame, schema) for frame in (table(200, 0), table(150, 1)))
    assert column_shapes(real, fake, schema) == pytest.approx(0.864727318510635, abs=1e-6)
    assert pair_trends(real, fake, schema) == pytest.approx(0.7183954545017731, abs=1e-6)


def test_equal_tables_have_one_and_columns_that_are_shuffled_keep_their_shapes() -> None:
    schema = open_data(table(200, 0)).schema
    rows, rng = rows_of(table(200, 0), schema), np.random.default_rng(2)
    shuffled = np.column_stack([rng.permutation(column) for column in rows.T])
    for score in (column_shapes, pair_trends):
        assert score(rows, rows, schema) == pytest.approx(1, abs=1e-12)
    assert column_shapes(rows, shuffled, schema) == pytest.approx(1, abs=1e-12)
    assert pair_trends(rows, shuffled, schema) < 0.9


def test_columns_that_cannot_be_compared_are_left_out() -> None:
    """An empty column has no shape, and a constant one no correlation; what is left is compared."""
    schema = open_data(table(200, 0)).schema
    rows = rows_of(table(200, 0), schema)
    empty, constant = rows.copy(), rows.copy()
    empty[:, 1], constant[:, 0] = np.nan, 3.0
    assert column_shapes(empty, rows, schema) == pytest.approx(1, abs=1e-12)
    assert np.isfinite(pair_trends(rows, constant, schema))
    assert np.isnan(column_shapes(rows[:0], rows, schema))


def test_an_evaluation_has_them_beside_their_floors() -> None:
    """Real rows in the samples' place are as near as the floor, within four of their errors."""
    schema = open_data(table(200, 0)).schema
    samples, train, heldout = (rows_of(table(400, 0)[i::3], schema) for i in range(3))
    for metric in scored(samples, train, heldout, schema, 100, 0):
        assert metric.interval[0] < metric.value < metric.interval[1] and metric.gate is None
        assert abs(metric.value - metric.floor) < 4 * np.hypot(metric.standard_error, metric.floor_error)
