"""The table of conditions beside a folder of images: `conditions.csv`, or `metadata.csv` as other tools write it.

    file_name,hair,age,wears                 one row per image, by its path below the folder
    a/0001.png,brown,31.5,glasses|hat        text: class; numbers: value; words separated by |: tags
    a/0002.png,,28,                          an empty cell is missing

A column called class or label is always a class. The head NAME:KIND gives the kind of a column: class, value, tags, or
vector (numbers separated by spaces).
"""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from gendi.data.columns import Column, LeftOut, NoConditionError, Notes, condition_name, from_words, left_out_note
from gendi.errors import DataError

TABLES = ("conditions.csv", "metadata.csv")
FILE_NAME = "file_name"
Kind = Literal["class", "value", "tags", "vector"]
KINDS: dict[str, Kind] = {"class": "class", "value": "value", "tags": "tags", "vector": "vector"}
ALWAYS_CLASSES = ("class", "label")


def read_table(path: Path, files: Sequence[Path], skipped: Sequence[Path]) -> tuple[list[Column], LeftOut, Notes]:
    """Return the conditions of `files` in a table, the reasons why other columns are not conditions, and notes.

    The table may also have rows for the `skipped` files, images that could not be read.

    Raises:
        DataError: the table is no CSV with a column file_name, names an image twice, or names none of `files`.
    """
    head, rows = _read(path)
    names = [file.as_posix() for file in files]
    absent = sorted(set(rows) - set(names) - {file.as_posix() for file in skipped})
    if rows and len(absent) == len(rows):
        raise DataError(
            f"{path} names no image that is there: it has {absent[0]!r}, and the first image is {names[0]!r}. A "
            f"{FILE_NAME} is the path of an image below the folder."
        )
    columns: dict[str, Column] = {}
    left_out = {}
    for i, title in enumerate(head):
        try:
            spec, values = _column(title, [rows[name][i] if name in rows else "" for name in names])
            if spec.name in columns:
                raise NoConditionError(f"another column is called {spec.name}")
            columns[spec.name] = spec, values
        except NoConditionError as error:
            left_out[title or f"column {i + 1}, which has no name"] = str(error)
    notes = left_out_note(path.name, left_out)
    if absent:
        notes += (f"{path.name}: {len(absent)} row(s) name no image, such as {absent[0]!r}",)
    if missing := sum(name not in rows for name in names):
        notes += (f"{path.name}: {missing} of {len(names)} images have no row, so their conditions are missing",)
    return list(columns.values()), left_out, notes


def _read(path: Path) -> tuple[list[str], dict[str, list[str]]]:
    """Return the heads of all columns except file_name, and the stripped cells of each row by its file_name."""
    found: dict[str, list[str]] = {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file)
            head = [title.strip() for title in next(reader, [])]
            if FILE_NAME not in head:
                raise DataError(
                    f"{path} has no column {FILE_NAME}; its first line has: {', '.join(head)[:200] or 'nothing'}. It "
                    "must be a table whose cells are separated by commas, with the names of the columns first."
                )
            key = head.index(FILE_NAME)
            for line in reader:
                if not any(line):
                    continue
                if len(line) != len(head):
                    raise DataError(
                        f"{path}, line {reader.line_num}: {len(line)} cells, and {len(head)} columns. A cell with a "
                        'comma in it must stand in quotes: "a, b".'
                    )
                cells = [cell.strip() for cell in line]
                name = cells.pop(key).replace("\\", "/").removeprefix("./")
                if name in found:
                    raise DataError(f"{path}, line {reader.line_num}: there is a row for {name!r} already.")
                found[name] = cells
    except (csv.Error, UnicodeDecodeError, OSError) as error:
        raise DataError(f"{path} could not be read as a table: {error}. Save it as CSV in UTF-8.") from error
    return [title for i, title in enumerate(head) if i != key], found


def _column(title: str, cells: list[str]) -> Column:
    text, _, kind = title.rpartition(":") if ":" in title else (title, "", "")
    name = condition_name(text)
    if kind and kind not in KINDS:
        raise NoConditionError(f"there is no kind {kind!r}; known: {', '.join(KINDS)}")
    return from_words(name, cells, KINDS[kind] if kind else kind_of_cells(name, cells))


def kind_of_cells(name: str, cells: Sequence[str]) -> Kind:
    """Return the kind of a column whose head does not give it."""
    if name in ALWAYS_CLASSES:
        return "class"
    if any("|" in cell for cell in cells):
        return "tags"
    return "value" if all(_is_number(cell) for cell in cells if cell) else "class"


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
