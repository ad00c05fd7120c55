"""The same columns, order, types and formats out as in: CSV, Parquet and DataFrames, and through a trained run."""

import datetime
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import gendi
from gendi.data.tables.example import mixed_table
from gendi.data.tables.kind import TABLES
from gendi.data.tables.output import to_frame
from gendi.errors import UsageError
from gendi.train.kept.bundle import load_bundle


def there_and_back(frame: pd.DataFrame) -> pd.DataFrame:
    loaded = TABLES.open_object(frame)
    return to_frame(loaded.schema, loaded.rows, {"seed": 1})


KINDS = pd.DataFrame(
    {
        "f32": np.array([1.5, np.nan, 2], np.float32),
        "f": [0.1, 0.2, -3.0],
        "Float": pd.array([1.5, None, 2], "Float64"),
        "i8": np.array([1, 2, -3], np.int8),
        "Int": pd.array([1, None, 2**52], "Int64"),
        "u": np.array([0, 7, 2**40], np.uint64),
        "b": [True, False, True],
        "B": pd.array([True, None, False], "boolean"),
        "ob": [True, None, False],
        "cat": pd.Categorical(["lo", None, "hi"], ["lo", "mid", "hi"], ordered=True),
        "icat": pd.Categorical([3, 1, None], [1, 2, 3]),
        "s": ["x", None, "y"],
        "string": pd.array(["x", None, "y"], "string"),
        "date": [datetime.date(2024, 2, 29), None, datetime.date(1900, 1, 1)],
        "t": pd.to_datetime(["2024-01-01 10:00:00.000001", None, "1999-12-31 00:00:00.0"]),
        "tz": pd.to_datetime(["2024-01-01", "2024-07-01", None]).tz_localize("Europe/Paris"),
        "arrow": pd.array([1, None, 3], "int64[pyarrow]"),
        "none": [None, None, None],
    }
)


def test_a_frame_comes_back_with_its_types() -> None:
    pd.testing.assert_frame_equal(there_and_back(KINDS), KINDS)


def test_a_parquet_file_comes_back_with_its_types(tmp_path: Path) -> None:
    KINDS.to_parquet(tmp_path / "in.parquet")
    loaded = TABLES.open_path(str(tmp_path / "in.parquet"), {})
    TABLES.write(tmp_path / "out.parquet", to_frame(loaded.schema, loaded.rows, {"seed": 1}))
    out = pd.read_parquet(tmp_path / "out.parquet")
    pd.testing.assert_frame_equal(out, pd.read_parquet(tmp_path / "in.parquet"))
    assert out.attrs["gendi"]["seed"] == 1


CSVS = {
    "plain": 'n,x,b,c,d\n1,1.50,True,red,2024-02-29\n,2.25,False,,1969-12-31\n-7,,True,"a, b",\n',
    "semicolons, commas, German dates": "n;x;t\n1;1,50;29.02.2024 10:30\n2;2,25;01.03.2024 00:00\n2;-7,00;\n",
    "words": "zip,b,when\n01234,true,2024-01-01T10:00:00Z\n00501,false,2024-01-01T10:00:01Z\n00501,true,\n",
    "numbers as they come": "x,y\n0.1,1e-07\n2.25,1e+20\n-3.0,0.5\n",
    "umlauts": "größe\nä\nö\nä\n",
}


@pytest.mark.parametrize("name", CSVS)
def test_a_csv_comes_back_to_the_letter(tmp_path: Path, name: str) -> None:
    (tmp_path / "in.csv").write_text(CSVS[name], encoding="utf-8")
    options = {"decimal": ","} if ";" in CSVS[name] else {}
    loaded = TABLES.open_path(str(tmp_path / "in.csv"), options)
    TABLES.write(tmp_path / "out.csv", to_frame(loaded.schema, loaded.rows, {}))
    assert (tmp_path / "out.csv").read_text(encoding="utf-8") == CSVS[name]


def test_the_encoding_comes_back(tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("größe,n\nä,1\nö,2\n", encoding="cp1252")
    loaded = TABLES.open_path(str(tmp_path / "in.csv"), {"encoding": "cp1252"})
    TABLES.write(tmp_path / "out.csv", to_frame(loaded.schema, loaded.rows, {}))
    assert (tmp_path / "out.csv").read_bytes() == (tmp_path / "in.csv").read_bytes()


def test_types_of_a_csv_are_those_that_pandas_would_give(tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("n,x,b,c,m\n1,0.5,True,u,1\n2,1.5,False,v,\n")
    loaded = TABLES.open_path(str(tmp_path / "in.csv"), {})
    theirs = pd.read_csv(tmp_path / "in.csv", dtype={"m": "Int64"})
    pd.testing.assert_frame_equal(to_frame(loaded.schema, loaded.rows, {}), theirs, check_column_type=False)


def test_other_endings_are_refused_and_other_frames_written(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="NAME.csv or NAME.parquet"):
        TABLES.write(tmp_path / "t.xlsx", KINDS)
    TABLES.write(tmp_path / "t.csv", KINDS[["f", "i8"]])
    assert (tmp_path / "t.csv").read_text() == "f,i8\n0.1,1\n0.2,2\n-3.0,-3\n"


def test_a_run_gives_samples_like_the_table(tmp_path: Path) -> None:
    frame = mixed_table(300)
    path = tmp_path / "mixed.csv"
    frame.to_csv(path, index=False)
    flags = [
        "--steps",
        "3",
        "--out",
        str(tmp_path / "run"),
        "--condition",
        "region",
        "income",
        "--network.channels",
        "16",
    ]
    assert _gendi("train", str(path), *flags).returncode == 0
    asked = ["--condition", "region=west", "--out", str(tmp_path / "fake.csv")]
    assert _gendi("sample", str(tmp_path / "run"), "--n", "40", "--steps", "3", *asked).returncode == 0
    ours, theirs = pd.read_csv(tmp_path / "fake.csv"), pd.read_csv(path)
    assert list(ours.columns) == list(theirs.columns) and len(ours) == 40
    assert (ours["region"] == "west").all()
    # income comes from training rows of the same region: what nobody asks for is as in training
    assert set(ours["income"]) <= set(theirs["income"][theirs["region"] == "west"])
    bundle = load_bundle(tmp_path / "run")
    samples = gendi.sample(bundle, 5, steps=3, seed=7, condition={"region": "west"})
    again = gendi.sample(bundle, 2, steps=3, seed=7, first_index=3, condition={"region": "west"})
    pd.testing.assert_frame_equal(samples.iloc[3:].reset_index(drop=True), again, rtol=1e-4)
    assert samples.attrs["gendi"]["seed"] == 7


def test_a_bad_table_ends_the_command_with_3(tmp_path: Path) -> None:
    (tmp_path / "bad.csv").write_text("x,age\n1,30\n2,abc\n3,28\n")
    ended = _gendi("train", str(tmp_path / "bad.csv"), "--out", str(tmp_path / "run"))
    assert ended.returncode == 3 and "'age'" in ended.stderr and "row 2 (line 3)" in ended.stderr
    assert "Traceback" not in ended.stderr


def _gendi(*args: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, "-m", "gendi", *args], capture_output=True, text=True, check=False)
