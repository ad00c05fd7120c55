"""What metrics see of a table, and a measurement whose answer is known."""

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from gendi.data import open_data
from gendi.data.tables.evaluate import Features, evaluate, rows_of
from gendi.data.tables.example import mixed_table
from gendi.data.tables.kind import TABLES
from gendi.errors import DataError

SMALL = pd.DataFrame(
    {
        "x": [1.0, np.nan, 4.0, 7.0],
        "c": ["a", "b", None, "a"],
        "b": [True, False, True, True],
        "d": pd.to_datetime(["2024-01-01", "2024-01-03", "2024-01-04", None]),
    }
)


def test_features_are_numbers_words_and_gaps() -> None:
    data = open_data(SMALL)
    rows = rows_of(SMALL, data.schema)
    features = Features.fit(data.schema, rows)
    expected = [
        [1, 0, 1, 0, 0, 1, 19723, 0],
        [4, 1, 0, 1, 0, 0, 19725, 0],
        [4, 0, 0, 0, 1, 1, 19726, 0],
        [7, 0, 1, 0, 0, 1, 19725, 1],
    ]  # x with the median 4 and its gap, c as two words and its gap, b, d with the median 19725 and its gap
    np.testing.assert_array_equal(features(rows), expected)
    assert features.blocks == [slice(0, 2), slice(2, 5), slice(5, 6), slice(6, 8)]
    np.testing.assert_array_equal(features(rows, without=(1, 3)), np.array(expected)[:, [0, 1, 5]])


def test_rows_of_samples_are_those_of_the_data_whatever_read_them(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("n,x,b,c,d\n1,1.5,true,u,29.02.2024\n,2.5,false,,01.03.2024\n3,,true,v,\n")
    loaded = TABLES.open_path(str(path), {})
    np.testing.assert_array_equal(rows_of(pd.read_csv(path)[["d", "c", "b", "x", "n"]], loaded.schema), loaded.rows)


def test_samples_that_do_not_fit_are_refused() -> None:
    schema = open_data(SMALL).schema
    for frame, words in (
        (SMALL.drop(columns="x"), "no column 'x'"),
        (SMALL.assign(c="z"), "'z' in the column 'c'"),
        (SMALL.assign(x="much"), "column 'x' is not of the kind number"),
    ):
        with pytest.raises(DataError, match=words):
            rows_of(frame, schema)


@pytest.mark.slow
@pytest.mark.statistical
def test_real_rows_pass_and_shuffled_columns_do_not() -> None:
    data = open_data(mixed_table(600))
    real = mixed_table(300, seed=1)  # the law of the data, but none of its rows
    rng = np.random.default_rng(0)
    shuffled = real.apply(lambda column: column.sample(frac=1, random_state=rng).to_numpy())
    good, bad = (evaluate(each, data, n=100, splits=3, replicates=2) for each in (real, shuffled.astype(real.dtypes)))
    assert good["copies"].value == 0 and good.data == "table"
    # 105 pairs of 30 features are dependent: shuffling must cost far more than 100 rows' noise, of 1 / sqrt(100)
    assert good["correlation-error"].value < bad["correlation-error"].value
    assert good["auc-forest"].value < bad["auc-forest"].value
    copied = evaluate(data.train.batch(range(150)), data, n=100, splits=3, replicates=2)
    assert copied["copies"].value == 1


def test_the_example_has_the_law_it_says() -> None:
    frame = mixed_table(20_000, seed=3)
    shares = frame["region"].value_counts(normalize=True)
    # standard error of a share of 20,000 rows: at most 0.0035
    assert shares["north"] == pytest.approx(0.3, abs=0.014) and shares["islands"] == pytest.approx(0.1, abs=0.01)
    assert frame["score"][frame["region"] == "islands"].isna().all()
    assert (frame["pressure"].isna() == frame["rhythm"].isna()).all()
    pulse = frame.groupby("smoker")["pulse"].mean()
    assert pulse[True] - pulse[False] == pytest.approx(9, abs=0.5)  # standard error 6 / sqrt(4000) = 0.1
    radius = np.hypot(frame["signal"], frame["echo"])
    assert radius.mean() == pytest.approx(1 + 0.08**2 / 2, abs=0.003)  # E|r + noise| to second order
    assert dataclasses.astuple(open_data(frame.head(50)).schema.columns[13])[:2] == ("grade", "category")
