"""Recognising a folder of 10x without reading it. This module imports only the standard library."""

from pathlib import Path

MATRIX = "matrix.mtx"


def is_10x_folder(place: str | Path) -> bool:
    """Return whether a path, perhaps below ~, is a folder with a matrix of 10x; a text that is no path is none."""
    try:
        folder = Path(place).expanduser()
        return any((folder / f"{MATRIX}{zipped}").is_file() for zipped in ("", ".gz"))
    except (OSError, RuntimeError, ValueError):  # a name that is too long, has no home or holds a zero
        return False
