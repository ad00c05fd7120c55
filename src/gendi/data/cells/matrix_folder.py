"""Recognising a folder of 10x without reading it. This module imports only the standard library."""

from pathlib import Path

MATRIX = "matrix.mtx"


def is_10x_folder(path: Path) -> bool:
    """Return whether a path is a folder with a matrix of 10x."""
    return path.is_dir() and any((path / f"{MATRIX}{zipped}").is_file() for zipped in ("", ".gz"))
