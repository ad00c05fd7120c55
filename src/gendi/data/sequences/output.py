"""Files of drawn sequences: FASTA with numbers for names, a text with one on each line, a CSV with one column."""

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gendi.data.sequences.files import read_records
from gendi.errors import UsageError
from gendi.storage.files import atomic_write

SUFFIXES = (".fasta", ".txt", ".csv")


def write_sequences(path: Path, texts: NDArray[Any], first: int = 0) -> None:
    """Write texts (n,), whole or not at all; `first` is the number of the first one.

    Raises:
        UsageError: another ending, or sequences that such a file cannot hold.
        ResourceError: the disk is full, or refuses.
    """
    if path.suffix == ".csv":
        buffer = io.StringIO()
        csv.writer(buffer, lineterminator="\n").writerows([["sequence"], *([text] for text in texts.tolist())])
        atomic_write(path, buffer.getvalue().encode())
        return
    if path.suffix not in SUFFIXES:
        raise UsageError(f"{path}: sequences are written as {', '.join(f'NAME{suffix}' for suffix in SUFFIXES)}.")
    if any(text.split() not in ([], [text]) for text in texts.tolist()):
        raise UsageError(f"{path}: these sequences have spaces or line breaks in them. Write them as NAME.csv.")
    heads = (f">{i}\n" if path.suffix == ".fasta" else "" for i in range(first, first + len(texts)))
    atomic_write(path, "".join(f"{head}{text}\n" for head, text in zip(heads, texts.tolist(), strict=True)).encode())


def read_texts(path: Path) -> NDArray[Any]:
    """Return the texts (n,) in a file of sequences. Raises `DataError` for a file that is missing or bad."""
    return np.array([record.text for record in read_records(path)], dtype=np.str_)
