"""What columns are taken for, and every bad table: exit code 3 and a text that names column, row and mend."""

import datetime
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from gendi.data import open_data
from gendi.data.split import Loaded
from gendi.data.tables.kind import TABLES
from gendi.errors import DataError, UsageError


def opened(tmp_path: Path, text: str, options: dict[str, str] | None = None, encoding: str = "utf-8") -> Loaded:
    path = tmp_path / "t.csv"
    path.write_bytes(text.encode(encoding))
    return TABLES.open_path(str(path), options or {})


def column(text: str, *cells: str) -> str:
    return "\n".join([text, *(f"{i % 3},{cell}" for i, cell in enumerate(cells))]) + "\n"


def kinds(loaded: Loaded) -> dict[str, str]:
    return {column.name: column.kind for column in loaded.schema.columns}


def test_each_kind_is_told_from_its_cells(tmp_path: Path) -> None:
    loaded = opened(
        tmp_path,
        "i,x,e,b,c,d,t,zip\n"
        "1,1.50,1e3,True,red,2024-02-29,2024-01-01 10:00,01234\n"
        ",2.25,2e-3,False,,1969-12-31,2024-01-01 10:30,00501\n"
        "-7,NA,5,True,blue,,2024-01-02 00:00,01234\n",
    )
    expected = ("integer", "number", "number", "boolean", "category", "date", "date", "category")
    assert tuple(kinds(loaded).values()) == expected
    nan = np.nan
    rows = [
        [1, 1.5, 1000, 1, 1, 19782, nan, 1],
        [nan, 2.25, 0.002, 0, nan, -1, nan, 0],
        [-7, nan, 5, 1, 0, nan, nan, 1],
    ]
    minutes = [28401720.0, 28401750.0, 28402560.0]  # since 1970: 19723 days of 1440 minutes, and 600
    np.testing.assert_array_equal(np.delete(loaded.rows, 6, axis=1), np.delete(np.array(rows), 6, axis=1))
    np.testing.assert_array_equal(loaded.rows[:, 6], minutes)
    assert loaded.schema.columns[1].digits == 2 and loaded.schema.columns[2].digits is None
    assert loaded.schema.columns[5].unit == "D" and loaded.schema.columns[6].unit == "m"


def test_types_of_a_frame_decide() -> None:
    frame = pd.DataFrame(
        {
            "f": np.array([1.5, np.nan, 2, 3], np.float32),
            "i": pd.array([1, None, 3, 9], "Int16"),
            "b": pd.array([True, None, False, True], "boolean"),
            "c": pd.Categorical(["lo", "hi", None, "lo"], ["lo", "mid", "hi"], ordered=True),
            "d": [datetime.date(2024, 1, 1), None, datetime.date(2024, 1, 3), datetime.date(2020, 1, 1)],
            "z": pd.to_datetime(["2024-01-01", "2024-01-02", "2024-06-01", None]).tz_localize("Europe/Paris"),
            "s": ["x", "y", None, "x"],
            "o": [True, None, False, True],
        }
    )
    loaded = TABLES.open_object(frame)
    assert "".join(kind[0] for kind in kinds(loaded).values()) == "nibcddcb"
    assert loaded.schema.columns[3].labels == ("lo", "mid", "hi")
    np.testing.assert_array_equal(loaded.rows[:, 3], [0, 2, np.nan, 0])
    np.testing.assert_array_equal(loaded.rows[:, 4], [19723, np.nan, 19725, 18262])
    assert loaded.schema.columns[5].unit == "h" and loaded.rows[0, 5] == 19723 * 24 - 1  # Paris is an hour ahead


def test_columns_are_conditions_of_their_kind(tmp_path: Path) -> None:
    text = "dose,city,n,when\n" + "".join(f"{i / 7},{'ab'[i % 2]},{i % 4 * 10},2024-01-{i + 1:02}\n" for i in range(20))
    loaded = opened(tmp_path, text)
    specs = {spec.name: (spec.kind, spec.size, spec.names) for spec in loaded.specs}
    assert specs == {
        "dose": ("value", 1, ()),
        "city": ("class", 2, ("a", "b")),
        "n": ("class", 4, ("0", "10", "20", "30")),
    }
    assert "dates" in loaded.left_out["when"]
    np.testing.assert_array_equal(loaded.conditions["n"], np.arange(20) % 4)
    loaded = opened(tmp_path, text, {"n": "number"})
    assert {spec.name: spec.kind for spec in loaded.specs}["n"] == "value" and kinds(loaded)["n"] == "integer"


@pytest.mark.parametrize(("heads", "separator", "decimal"), [("x;y", ";", ","), ("x\ty", "\t", "."), ("x|y", "|", ".")])
def test_the_separator_is_found(tmp_path: Path, heads: str, separator: str, decimal: str) -> None:
    text = heads + "\n" + "".join(f"1{decimal}{i}{separator}u, v{i % 2}\n" for i in range(9))
    options = {"decimal": ","} if decimal == "," else {}
    loaded = opened(tmp_path, text, options)
    assert loaded.schema.separator == separator
    np.testing.assert_allclose(loaded.rows[:, 0], 1 + np.arange(9) / 10)


@pytest.mark.parametrize(("encoding", "said"), [("utf-8-sig", ""), ("utf-16", ""), ("cp1252", "cp1252")])
def test_the_encoding_is_seen_or_said(tmp_path: Path, encoding: str, said: str) -> None:
    loaded = opened(tmp_path, "größe,n\nä,1\nö,2\n", {"encoding": said} if said else {}, encoding)
    assert loaded.schema.columns[0].name == "größe" and loaded.schema.columns[0].labels == ("ä", "ö")


def test_what_cannot_be_modelled_is_left_out_with_the_reason(tmp_path: Path) -> None:
    rows = [
        f"{i},{i * 2.5 % 7},words {'x' * i},{9 + i * 7919 % 101},{10**17 + i},{i % 12 + 1:02}/{i % 11 + 1:02}/2024"
        for i in range(40)
    ]
    loaded = opened(tmp_path, "row,x,note,user_id,key,day\n" + "\n".join(rows))
    assert list(kinds(loaded)) == ["x"]
    for name, word in {"note": "40 different", "user_id": "id"}.items():
        assert word in loaded.left_out[name] and f"'{name}'" in loaded.notes[0]
    assert [each.name for each in loaded.schema.ids] == ["row", "key"]  # these have a pattern
    assert "?day=%d/%m/%Y or ?day=%m/%d/%Y" in loaded.left_out["day"]
    asked = {"row": "integer", "note": "category", "day": "%m/%d/%Y", "x": "drop"}
    loaded = opened(tmp_path, "row,x,note,user_id,key,day\n" + "\n".join(rows), asked)
    assert kinds(loaded) == {"row": "integer", "note": "category", "day": "date"}


def test_a_constant_and_an_empty_column_are_kept_and_noted(tmp_path: Path) -> None:
    loaded = opened(tmp_path, "x,same,none\n1,7,\n2,7,\n3,7,\n")
    assert list(kinds(loaded)) == ["x", "same", "none"]
    assert any("'same' has one value" in note for note in loaded.notes)
    assert any("'none' is empty" in note for note in loaded.notes)


BAD = {
    "mixed types": ("x,age\n1,30\n2,abc\n3,28\n", ["'age'", "'abc'", "row 2 (line 3)", "?age=category", "1 such"]),
    "mixed dates": ("x,d\n1,2024-01-01\n2,soon\n3,2024-01-03\n", ["'d'", "'soon'", "row 2 (line 3)"]),
    "an unnamed column": (",x\n0,1\n1,2\n", ["column 1 of 2", "no name", "index=False"]),
    "a later unnamed column": ("x,,y\n0,1,2\n1,2,3\n", ["column 2 of 3", "no name"]),
    "duplicate names": ("x,y,x\n0,1,2\n1,2,3\n", ["columns 1 and 3", "'x'"]),
    "an empty file": ("", ["is empty"]),
    "blank lines only": ("\n\n", ["is empty"]),
    "header only": ("x,y\n", ["no rows"]),
    "one row": ("x,y\n1,2\n", ["one row"]),
    "all missing": ("x\nNA\nNA\nNA\n", ["'x'", "empty in every row", "rows 1 to 3"]),
    "all constant": ("x,y\n5,a\n5,a\n", ["'x'", "same value", "rows 1 to 2"]),
    "infinite": ("x,y\n1,2\ninf,3\n-inf,4\n", ["'x'", "infinite", "row 2 (line 3)", "2 in all"]),
    "a short row": ("x,y,z\n1,2,3\n4,5\n", ["line 3", "2 cells", "'z'"]),
    "a long row": ("x,y\n1,2\n4,5,six\n", ["line 3", "3 cells", "'six'", '"like,this"']),
    "an open quote": ('x,y\n1,"2\n4,5\n', ["line 3", "quote"]),
    "a decimal comma": ("x;y\n1,5;2\n2,5;3\n", ["'x'", "'1,5'", "decimal=,"]),
    "nothing but text": ("x\n" + "\n".join(f"word {i}" for i in range(20)), ["no column", "'x'", "20 different"]),
}


@pytest.mark.parametrize("fault", BAD)
def test_a_bad_csv_is_refused(tmp_path: Path, fault: str) -> None:
    text, words = BAD[fault]
    with pytest.raises(DataError) as error:
        opened(tmp_path, text)
    assert error.value.exit_code == 3 and str(tmp_path / "t.csv") in str(error.value)
    assert [word for word in words if word not in str(error.value)] == []
    assert "\n" not in str(error.value)


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"line 2.*not utf-8.*encoding=cp1252"):
        opened(tmp_path, "x,y\nä,1\nb,2\n", encoding="cp1252")
    with pytest.raises(DataError, match="line 2 has a byte 0"):
        opened(tmp_path, "x,y\n\0,1\nb,2\n")
    (tmp_path / "p.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(DataError, match="could not be read as Parquet"):
        TABLES.open_path(str(tmp_path / "p.parquet"), {})
    with pytest.raises(DataError, match="no file"):
        TABLES.open_path(str(tmp_path / "gone.csv"), {})


def test_options_that_cannot_be_are_refused(tmp_path: Path) -> None:
    text = "age,city\n1,a\n2,b\n"
    for options, words in (
        ({"agee": "number"}, "Perhaps you meant 'age'"),
        ({"age": "numbre"}, "a column is integer, number"),
        ({"decimal": ";"}, "decimal is"),
        ({"separator": "ab"}, "one character"),
    ):
        with pytest.raises(UsageError, match=words):
            opened(tmp_path, text, options)
    with pytest.raises(DataError, match="'city'.*'a' in row 1"):
        opened(tmp_path, text, {"city": "number"})
    with pytest.raises(DataError, match="'city'.*boolean"):
        opened(tmp_path, text, {"city": "boolean"})
    with pytest.raises(DataError, match="encoding 'klingon'"):
        opened(tmp_path, text, {"encoding": "klingon"})


def test_a_bad_frame_is_refused() -> None:
    for frame, words in (
        (pd.DataFrame({"a": [1, "x", 3], "b": [1, 2, 3]}), "'a' mixes types.*'x' in row 2 is str, most cells are int"),
        (pd.DataFrame({"a": [1.0, np.inf, 2.0]}), "'a' has an infinite number in row 2"),
        (pd.DataFrame([[1, 2], [3, 4]]), "names of columns are texts"),
        (pd.DataFrame([[1, 2], [3, 4]], columns=["a", "a"]), "both called 'a'"),
        (pd.DataFrame({"a": []}), "no rows"),
        (pd.DataFrame({"": [1, 2]}), "no name"),
        (pd.DataFrame({"a": [pd.Timedelta(1), pd.Timedelta(2)]}), "no column that can be modelled"),
    ):
        with pytest.raises(DataError, match=words) as error:
            TABLES.open_object(frame)
        assert error.value.exit_code == 3


def test_open_data_holds_out_a_fifth(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("x,y\n" + "".join(f"{i / 3},{i * i / 7}\n" for i in range(100)))
    data = open_data(str(path))
    assert data.kind == "table" and (len(data.train), len(data.heldout)) == (80, 20)


def test_without_pandas_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(UsageError, match=r'tables need pandas: pip install "gendi\[tables\]"'):
        TABLES.open_path(str(tmp_path / "t.csv"), {})
