"""Reading a CSV: its encoding, its separator, its header, and a list of texts for each column.

The encoding is UTF-8, or UTF-16 if the first two bytes say so. The separator is the first of comma, semicolon, tab and
bar that cuts each of the first fifty lines into the same number of parts, more than one. Both can be given:
`?encoding=cp1252&separator=;`.
"""

import csv
from dataclasses import dataclass
from pathlib import Path

from gendi.errors import DataError

SEPARATORS = (",", ";", "\t", "|")
LOOKED_AT = 50


@dataclass(frozen=True)
class Texts:
    """The texts in the columns of a CSV, and the line on which each row ends."""

    names: tuple[str, ...]
    columns: tuple[list[str], ...]
    lines: tuple[int, ...]
    separator: str
    encoding: str


def read_csv(path: Path, separator: str = "", encoding: str = "") -> Texts:
    """Return the texts of a CSV. Raises `DataError`, which names the line or the column, for a damaged table."""
    text, encoding = _decoded(path, encoding)
    if not text.strip():
        raise DataError(f"{path} is empty. A table has the names of its columns in the first line, then its rows.")
    separator = separator or sniffed(text)
    reader = csv.reader(text.splitlines(keepends=True), delimiter=separator, strict=True)
    try:
        head = [name.strip() for name in next(reader)]
        check_names(str(path), head)
        rows, lines = [], []
        for row in reader:
            if not row:
                continue
            if len(row) != len(head):
                raise DataError(_ragged(path, reader.line_num, row, head, separator))
            rows.append(row)
            lines.append(reader.line_num)
    except csv.Error as error:
        raise DataError(
            f"{path}, line {reader.line_num}: {error}. A quote inside a quoted cell is written twice, and every quote "
            "that opens a cell must close it."
        ) from None
    columns = tuple([row[j] for row in rows] for j in range(len(head)))
    return Texts(tuple(head), columns, tuple(lines), separator, encoding)


def sniffed(text: str) -> str:
    """Return the separator of cells; see the module's docstring."""
    lines = text.splitlines(keepends=True)[: LOOKED_AT + 1]
    fitting, most = [], (0, ",")
    for separator in SEPARATORS:
        try:
            widths = [len(row) for row in csv.reader(lines, delimiter=separator) if row][:LOOKED_AT]
        except csv.Error:
            continue
        if len(set(widths)) == 1 and widths[0] > 1:
            fitting.append(separator)
        most = max(most, (widths[0] if widths else 0, separator), key=lambda found: found[0])
    return fitting[0] if fitting else most[1]


def check_names(where: str, names: list[str]) -> None:
    """Raise `DataError` for the first column without a name, or with the name of another column."""
    for j, name in enumerate(names):
        if not name:
            index = " (with pandas: to_csv(index=False))" if j == 0 else ""
            raise DataError(
                f"{where}: column {j + 1} of {len(names)} has no name. Name it in the first line, or write the table "
                f"without it if it only numbers the rows{index}."
            )
        if name in names[:j]:
            raise DataError(
                f"{where}: columns {names.index(name) + 1} and {j + 1} are both called {name!r}. Give each a name of "
                "its own."
            )


def _decoded(path: Path, encoding: str) -> tuple[str, str]:
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} could not be read: {error.strerror}. Check the path and its permissions.") from None
    marked = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}.get(raw[:2]) or (
        "utf-8-sig" if raw[:3] == b"\xef\xbb\xbf" else "utf-8"
    )
    try:
        text = raw.decode(encoding or marked)
    except LookupError:
        raise DataError(f"{path}: there is no encoding {encoding!r}; utf-8, utf-16 and cp1252 are usual.") from None
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise DataError(
            f"{path}, line {line}: this is not {encoding or marked}. Save the table as UTF-8, or say how it is "
            f"written: {path}?encoding=cp1252 is usual for old files from Windows."
        ) from None
    if "\0" in text:
        raise DataError(f"{path}, line {text[: text.index(chr(0))].count(chr(10)) + 1} has a byte 0: this is no CSV.")
    return text, encoding or marked


def _ragged(path: Path, line: int, row: list[str], head: list[str], separator: str) -> str:
    less = len(row) < len(head)
    cells = "1 cell" if len(row) == 1 else f"{len(row)} cells"
    name = "tab" if separator == "\t" else repr(separator)
    if less:
        return (
            f"{path}, line {line}: {cells}, and {len(head)} columns: nothing stands for {head[len(row)]!r}. Fill in "
            f"the missing separators ({name}); an empty cell is a missing one."
        )
    return (
        f"{path}, line {line}: {cells}, and {len(head)} columns: {row[len(head)]!r} comes after the last, "
        f'{head[-1]!r}. A cell with a separator ({name}) in it must stand in quotes, "like{separator}this".'
    )
