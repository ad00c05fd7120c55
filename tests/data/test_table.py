"""A table beside a folder of images."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from gendi.data import open_data
from gendi.data.images.folder import load_folder
from gendi.errors import DataError

Save = Callable[..., Path]


@pytest.fixture
def four(folder: Path, save: Save) -> Path:
    """Images b.png, c.png, d.png and sub/a.png, in this order."""
    for name in ("c.png", "b.png", "d.png", "sub/a.png"):
        save(name)
    return folder


def write(folder: Path, text: str, name: str = "conditions.csv") -> None:
    (folder / name).write_text(text, "utf-8")


def test_kinds_and_rows(four: Path) -> None:
    write(
        four,
        "age,file_name,hair,wears,label,pose:vector,code:class\n"
        "31.5,c.png,brown,glasses|hat,7,0 1.5,8\n"
        '4,sub/a.png,"black, dyed",hat,10,2 -1,9\n'
        ",./b.png,,,,,\n"
        "1e2,d.png,brown,|,7,3 4,8\n",
    )
    loaded = load_folder(four)
    found = {spec.name: (spec.kind, spec.size, spec.names) for spec in loaded.specs}
    assert found == {
        "age": ("value", 1, ()),
        "hair": ("class", 2, ("black, dyed", "brown")),
        "wears": ("tags", 2, ("glasses", "hat")),
        "label": ("class", 2, ("7", "10")),
        "pose": ("vector", 2, ()),
        "code": ("class", 2, ("8", "9")),
    }
    rows, nan = loaded.conditions, np.nan
    np.testing.assert_array_equal(rows["age"], np.float32([nan, 31.5, 100, 4]))
    np.testing.assert_array_equal(rows["hair"], [-1, 1, 1, 0])
    np.testing.assert_array_equal(rows["wears"], np.float32([[nan, nan], [1, 1], [0, 0], [0, 1]]))
    np.testing.assert_array_equal(rows["label"], [-1, 0, 0, 1])
    np.testing.assert_array_equal(rows["pose"], np.float32([[nan, nan], [0, 1.5], [3, 4], [2, -1]]))
    np.testing.assert_array_equal(rows["code"], [-1, 0, 0, 1])
    assert not any("do not have the name of an image" in note for note in loaded.notes), "the table is no stray file"


def test_images_without_a_row_are_not_told(four: Path) -> None:
    write(four, "file_name,age\nb.png,3\ngone.png,4\n", "metadata.csv")
    loaded = load_folder(four)
    np.testing.assert_array_equal(loaded.conditions["age"], np.float32([3, np.nan, np.nan, np.nan]))
    assert any("1 row(s) name no image, such as 'gone.png'" in note for note in loaded.notes)
    assert any("3 of 4 images have no row" in note for note in loaded.notes)


def test_subfolders_stay_the_class(folder: Path, save: Save) -> None:
    for name in ("cat/1.png", "dog/2.png"):
        save(name)
    write(folder, "file_name,age\ncat/1.png,3\ndog/2.png,4\n")
    loaded = load_folder(folder)
    assert [spec.name for spec in loaded.specs] == ["class", "age"]
    write(folder, "file_name,class\ncat/1.png,b\ndog/2.png,a\n")
    loaded = load_folder(folder)
    assert (loaded.class_names, loaded.conditions["class"].tolist()) == (("a", "b"), [1, 0])
    assert any("not that of the subfolders" in note for note in loaded.notes)


def test_a_bad_image_takes_its_row_along(four: Path) -> None:
    (four / "c.png").write_bytes(b"")
    write(four, "file_name,age\nb.png,1\nc.png,2\nd.png,3\nsub/a.png,4\n")
    loaded = load_folder(four)
    assert loaded.conditions["age"].tolist() == [1, 3, 4]
    assert not any("name no image" in note for note in loaded.notes)


def test_a_spreadsheet_s_mark_and_line_ends_are_read(four: Path) -> None:
    (four / "conditions.csv").write_bytes("\ufefffile_name,Größe\r\nb.png,1\r\n\r\nc.png,2\r\n".encode())
    assert load_folder(four).conditions["Größe"][:2].tolist() == [1, 2]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", r"no column file_name; its first line has: nothing"),
        ("file,age\nb.png,3\n", "no column file_name; its first line has: file, age"),
        ("file_name;age\nb.png;3\n", "separated by commas"),
        ("file_name,age\nb.png,3,4\n", "line 2: 3 cells, and 2 columns"),
        ("file_name,age\nb.png,3\nb.png,4\n", "line 3: there is a row for 'b.png' already"),
        ("file_name,age\nimages/b.png,3\n", "names no image that is there.*'images/b.png'.*'b.png'"),
    ],
)
def test_a_table_that_cannot_be_is_refused(four: Path, text: str, reason: str) -> None:
    write(four, text)
    with pytest.raises(DataError, match=reason):
        load_folder(four)


def test_a_table_that_is_no_text_is_refused(four: Path) -> None:
    (four / "conditions.csv").write_bytes(b"file_name,name\nb.png,caf\xe9\n")
    with pytest.raises(DataError, match="could not be read as a table.*UTF-8"):
        load_folder(four)


@pytest.mark.parametrize(
    ("head", "cells", "reason"),
    [
        ("a:value", ["1", "x", "", ""], "'x', which is no number"),
        ("a:value", ["1", "1 2", "", ""], "'1 2', which is no value"),
        ("a:vector", ["1 2", "1 2 3", "", ""], "'1 2', which is no vector of 3 numbers"),
        ("a:colour", ["1", "2", "", ""], "no kind 'colour'; known: class, value, tags, vector"),
        ("a", ["", "", "", ""], "empty in every row"),
        ("a", ["inf", "1", "2", "3"], "infinite"),
        ("a", ["|", "", "", ""], "names no tag"),
        ("", ["1", "1", "1", "1"], "made into a word"),
    ],
)
def test_a_column_that_is_no_condition_says_why(four: Path, head: str, cells: list[str], reason: str) -> None:
    names = ("b.png", "c.png", "d.png", "sub/a.png")
    write(four, f"file_name,{head}\n" + "".join(f"{n},{c}\n" for n, c in zip(names, cells, strict=True)))
    loaded = load_folder(four)
    assert loaded.specs == ()
    (said,) = loaded.left_out.values()
    assert reason in said


def test_open_data_knows_them(four: Path) -> None:
    write(four, "file_name,age\nb.png,1\nc.png,2\nd.png,3\nsub/a.png,4\n")
    data = open_data(str(four))
    (age,) = data.conditions
    assert (age.name, age.kind) == ("age", "value")
    assert age.mean == pytest.approx(float(data.train.conditions["age"].mean()))
