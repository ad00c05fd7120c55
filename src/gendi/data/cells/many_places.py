"""The files that a spec of cells names: one, several, or those that a wildcard fits. This module imports only the
standard library, and reads no file."""

from collections.abc import Sequence
from pathlib import Path

from gendi.data.cells.matrix_folder import is_10x_folder
from gendi.errors import UsageError

SEPARATOR = ","


def places_of(place: str) -> list[str]:
    """Return the places that the text of a spec names: one, or several with commas between them, with wildcards, or as
    a folder of .h5ad files.

    A wildcard that no file fits is returned as it is. Raises `UsageError` if a place is named twice.
    """
    if _is_one(place):
        return [place]
    found = list[str]()
    for text in place.split(SEPARATOR):
        found += [text] if _is_one(text) else _fitting(Path(text).expanduser()) or [text]
    if twice := next((text for text in found if found.count(text) > 1), None):
        raise UsageError(f"{twice} is named twice, so its cells would count twice. Name it once.")
    return found


def _fitting(path: Path) -> list[str]:
    """Return the .h5ad files in a folder, or the files that a path with wildcards fits, in order."""
    if path.is_dir():
        return [str(each) for each in sorted(path.glob("*.h5ad"))]
    if not any(sign in str(path) for sign in "*["):
        return []
    return [str(each) for each in sorted(Path(path.anchor).glob(str(path.relative_to(path.anchor))))]


def _is_one(place: str) -> bool:
    """Return whether a text is the path of a file, or of a folder that is read as one."""
    try:
        return Path(place).expanduser().is_file() or is_10x_folder(place)
    except (OSError, RuntimeError, ValueError):  # a name that is too long, has no home or holds a zero
        return False


def file_names(places: Sequence[str]) -> list[str]:
    """Return what files are called: their names without ending, with as many of their folders as tell them apart."""
    parts = [Path(place).with_suffix("").parts for place in places]
    for length in range(1, max(map(len, parts)) + 1):
        names = ["/".join(each[-length:]) for each in parts]
        if len(set(names)) == len(names):
            return names
    return list(places)
