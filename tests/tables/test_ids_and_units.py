"""Names of rows are made anew in their pattern, and texts such as `80,9 kg` and `08:22` are numbers and times."""

import datetime
import re
from pathlib import Path

import numpy as np
import pytest
from copula_model import copula_model

import gendi
from gendi.data import open_data
from gendi.data.tables.evaluate import read_samples, rows_of
from gendi.data.tables.ids import Ids, ids_of
from gendi.data.tables.output import write_table
from gendi.data.tables.schema import Schema
from gendi.data.tables.units import affixes_of
from gendi.errors import BundleError

pd = pytest.importorskip("pandas")


def pattern(cells: list[str], dtype: str = "object") -> Ids:
    found = ids_of("id", 0, cells, dtype)
    assert found is not None
    assert Ids.from_dict(found.to_dict()) == found
    return found


def test_numbers_that_follow_one_another_go_on() -> None:
    ids = pattern([f"C-{i:04d}/x" for i in np.random.default_rng(0).permutation(30) + 5])
    assert ids.made(7, 0, 3) == ["C-0035/x", "C-0036/x", "C-0037/x"]
    assert ids.made(7, 2, 1) == ["C-0037/x"]
    assert pattern([str(i) for i in range(90, 120)], "int64").made(0, 0, 2) == ["120", "121"]


def test_names_that_are_drawn_keep_the_pattern_and_never_repeat() -> None:
    """Every name of a pattern comes exactly once: 26 * 10 * 10 = 2600 of them."""
    rng = np.random.default_rng(1)
    cells = sorted({f"K-{rng.choice(list('QXZABJM'))}{rng.integers(0, 100):02d}" for _ in range(150)})
    ids = pattern(cells)
    made = ids.made(3, 0, 2600)
    assert len(set(made)) == 2600 and all(re.fullmatch(r"K-[A-Z]\d\d", name) for name in made)
    assert ids.made(3, 100, 5) == made[100:105] and ids.made(4, 0, 5) != made[:5]
    numbers = pattern([str(x) for x in np.unique(rng.integers(10**8, 10**9, 40))], "int64")
    assert all(re.fullmatch(r"[1-9]\d{8}", name) for name in numbers.made(0, 0, 200))


@pytest.mark.parametrize(
    "cells",
    [
        [f"word {'x' * i}" for i in range(20)],  # free text of many lengths
        [f"a{i % 10}" for i in range(20)],  # repeats
        [chr(97 + i) for i in range(20)],  # hardly more names than rows
        [f"c{i}" for i in range(5)],  # few rows
        [f"{'é' if i % 2 else ','}{i * 977:06d}" for i in range(20)],  # characters of no class
    ],
)
def test_what_has_no_pattern_has_none(cells: list[str]) -> None:
    assert ids_of("id", 0, cells, "object") is None


def people(n: int = 60) -> str:
    rng = np.random.default_rng(0)
    lines = ["nr;weight;code;at;price;share;plan"]
    for i in range(n):
        at = f"{rng.integers(6, 20):02d}:{rng.integers(0, 60):02d}"
        kg, price = f"{rng.normal(80, 9):.1f}".replace(".", ","), f"${rng.integers(100, 999) / 4:.2f}"
        lines.append(
            f"{i + 1};{kg} kg;AB{rng.integers(10**5, 10**6)}Z;{at};{price};{rng.integers(0, 101)}%;Q{i % 4 + 1}"
        )
    lines[5] = lines[5].replace(lines[5].split(";")[1], "")
    return "\n".join(lines) + "\n"


def test_a_csv_with_units_times_and_names_comes_back_in_its_form(tmp_path: Path) -> None:
    (tmp_path / "people.csv").write_text(people(), encoding="utf-8")
    data = open_data(str(tmp_path / "people.csv"))
    found = {column.name: column.kind for column in data.schema.columns}
    assert found == {"weight": "number", "at": "date", "price": "number", "share": "number", "plan": "category"}
    first = people().splitlines()[1].split(";")
    rows = np.concatenate([np.asarray(part.batch(range(len(part)))) for part in (data.train, data.heldout)])
    kilos = float(first[1].removesuffix(" kg").replace(",", "."))
    assert kilos in rows[:, 0] and 24 * 60 * (-70 * 365 - 17) + int(first[3][:2]) * 60 + int(first[3][3:]) in rows[:, 1]
    assert any("'weight' is read as numbers in ... kg" in note for note in data.notes)
    assert any("new names of rows in 'nr' (the first 61), 'code'" in note for note in data.notes)
    drawn = gendi.sample(copula_model(str(tmp_path / "people.csv")), 40, steps=5)
    assert drawn["nr"].tolist() == list(range(61, 101)) and drawn["code"].nunique() == 40
    assert drawn["weight"].dtype == float and isinstance(drawn["at"][0], datetime.time)
    write_table(tmp_path / "fake.csv", drawn)
    lines = (tmp_path / "fake.csv").read_text(encoding="utf-8").splitlines()
    form = r"\d+;(\d+,\d kg)?;AB\d{6}Z;\d\d:\d\d;\$\d+\.\d\d;\d+%;Q[1-4]"
    assert lines[0] == "nr;weight;code;at;price;share;plan" and all(re.fullmatch(form, line) for line in lines[1:])
    again = rows_of(read_samples(tmp_path / "fake.csv", data.schema), data.schema)
    np.testing.assert_allclose(again, rows_of(drawn, data.schema), atol=0.051, equal_nan=True)


def test_given_cells_with_units_are_read(tmp_path: Path) -> None:
    (tmp_path / "people.csv").write_text(people(), encoding="utf-8")
    model = copula_model(str(tmp_path / "people.csv"))
    drawn = gendi.sample(model, 5, where={"weight": "80,5 kg", "at": "08:22", "price": 50.25}, steps=3)
    assert (drawn["weight"] == 80.5).all() and (drawn["price"] == 50.25).all()
    assert set(drawn["at"]) == {datetime.time(8, 22)}


def test_objects_keep_their_types() -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "at": [
                datetime.time(int(h), int(m))
                for h, m in zip(rng.integers(0, 24, 50), rng.integers(0, 60, 50), strict=True)
            ],
            "mass": [f"{x:.2f} t" for x in rng.normal(5, 1, 50)],
            "key": rng.choice(10**9, 50, replace=False) + 10**16,
        }
    )
    drawn = gendi.sample(copula_model(frame), 12, steps=3)
    assert list(drawn.columns) == ["at", "mass", "key"] and (drawn.dtypes == frame.dtypes).all()
    assert all(isinstance(time, datetime.time) for time in drawn["at"])
    assert drawn["mass"].str.fullmatch(r"\d+\.\d\d t").all() and drawn["key"].between(10**16, 10**17).all()


@pytest.mark.parametrize(
    ("texts", "wanted"),
    [
        (["80,9 kg", "7 kg"], ("", " kg", ",")),
        (["$1.50", "$-2.25"], ("$", "", ".")),
        (["EUR 5", "EUR 7.5"], ("EUR ", "", ".")),
        (["room 5", "room 7"], None),
        (["5 kg", "5 lb"], None),
        (["C12", "C13"], None),
        (["5", "6"], None),
        (["1.5 m", "1,5 m"], None),
        (["12 of 13", "1 of 2"], None),
    ],
)
def test_what_stands_around_numbers(texts: list[str], wanted: tuple[str, str, str] | None) -> None:
    assert affixes_of(texts) == wanted


def test_damaged_ids_are_refused_and_older_schemas_are_read() -> None:
    data = open_data(pd.DataFrame({"id": [f"x{i:03d}" for i in range(20)], "y": np.arange(20) % 3})).schema.to_dict()
    assert Schema.from_dict(data).ids[0].made(0, 0, 1) == ["x020"]
    for wrong in ({"name": 3}, {"characters": "ab"}, {"next": -1}, {"digits": 1000}):
        with pytest.raises(BundleError, match="names of rows"):
            Schema.from_dict({**data, "ids": [{**data["ids"][0], **wrong}]})
    old = {**data, "columns": [{k: v for k, v in c.items() if k != "affixes"} for c in data["columns"]]}
    del old["ids"]
    assert Schema.from_dict(old).ids == ()
