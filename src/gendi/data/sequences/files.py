"""Files of sequences: FASTA, a column of a CSV, or a text with a sequence on each line. Any of them may be gzipped.

FASTA       a line that begins with > and says what the sequence is, then its letters, on as many lines as it takes;
            words NAME=VALUE behind the name are conditions
CSV, TSV    the column of sequences: the only one, or the one called `sequence`, or `?column=NAME`; others are
            conditions
text        a sequence on each line; empty lines are passed over. With `?window=N` the whole text is one sequence,
            cut into pieces of N letters
"""

import csv
import gzip
import io
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from gendi.errors import DataError, UsageError

FASTA = (".fasta", ".fa", ".faa", ".fna", ".ffn", ".fas")
TEXT = (".txt", ".seq", ".smi", ".smiles")
CSV = (".csv", ".tsv")


@dataclass(frozen=True)
class Record:
    """A sequence as a file has it: its text, where it stands, and what else is said of it."""

    text: str
    where: str
    about: Mapping[str, str] = field(default_factory=dict)


def ending(place: str) -> str:
    """Return the ending of a file of sequences in small letters, without that of gzip."""
    path = Path(place)
    return (Path(path.stem) if path.suffix.lower() == ".gz" else path).suffix.lower()


def read_text(path: Path) -> str:
    """Return the text of a file in UTF-8, gzipped or not. Raises `DataError` for a file that is missing or bad."""
    if not path.is_file():
        raise DataError(f"There is no file {path} to read sequences from (looked in {Path.cwd()}). Check the path.")
    try:
        raw = path.read_bytes()
        if path.suffix.lower() == ".gz":
            raw = gzip.decompress(raw)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} could not be read: {error}. Check that the file is whole and may be read.") from None
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise DataError(f"{path}, line {line}: this is no text in UTF-8. Save it as UTF-8.") from None


def read_records(path: Path, column: str = "") -> list[Record]:
    """Return the sequences in a file, in order.

    Raises:
        DataError: a file that is missing, empty or not of its form; the text names the line.
        UsageError: a column that there is not.
    """
    text, kind = read_text(path), ending(str(path))
    if not text.strip():
        raise DataError(f"{path} is empty: there are no sequences in it.")
    if column and kind not in CSV:
        raise UsageError(f"{path} has no columns: ?column={column} is for a CSV.")
    if kind in CSV:
        return _csv(path, text, column, "\t" if kind == ".tsv" else ",")
    if kind in FASTA or text.lstrip().startswith(">"):
        return _fasta(path, text)
    lines = enumerate(text.splitlines(), start=1)
    return [Record(line.strip(), f"line {i}") for i, line in lines if line.strip()]


def _fasta(path: Path, text: str) -> list[Record]:
    found: list[Record] = []
    head: str | None = None
    where, parts = "", list[str]()

    def close() -> None:
        if head is not None:
            words = [word.partition("=") for word in head.split()[1:]]
            about = {name: value for name, equals, value in words if equals and name}
            found.append(Record("".join(parts).rstrip("*"), where, about))

    for i, line in enumerate(text.splitlines(), start=1):
        if line.startswith(">"):
            close()
            head, where, parts = line[1:].strip(), f"line {i}, >{line[1:].strip()[:40]}", []
        elif line.strip() and not line.startswith(";"):
            if head is None:
                raise DataError(
                    f"{path}, line {i}: in a FASTA file a line that begins with > comes before each sequence. Add one, "
                    "or name the file .txt if there is a sequence on each line."
                )
            parts.append("".join(line.split()))
    close()
    return found


def _csv(path: Path, text: str, column: str, separator: str) -> list[Record]:
    try:
        rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True))
    except csv.Error as error:
        raise DataError(f"{path} is no CSV: {error}. Every quote that opens a cell must close it.") from None
    head = [name.strip() for name in rows[0]]
    if not column:
        column = head[0] if len(head) == 1 else next((name for name in head if name.lower() == "sequence"), "")
    if column not in head:
        wanted = f"the column {column!r}" if column else "which column has the sequences"
        raise UsageError(f"{path}: say {wanted} of {', '.join(head)}: sequences:{path}?column={head[0]}.")
    found = []
    for i, row in enumerate(rows[1:], start=2):
        if not row:
            continue
        if len(row) != len(head):
            raise DataError(f"{path}, line {i}: {len(row)} cells, and {len(head)} columns.")
        cells = dict(zip(head, (cell.strip() for cell in row), strict=True))
        found.append(Record(cells.pop(column), f"line {i}", cells))
    return found
