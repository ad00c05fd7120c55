"""Reading the files of a run that a person can edit, with type and depth checked.

Such a file may hold anything: it was edited, copied from elsewhere, or written by another program. Each reader returns
what its caller can use without further checks, or raises `BundleError` (exit code 4), which names the file.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gendi.errors import BundleError
from gendi.storage.files import MAX_JSON, parse_json, read_json

Fields = Mapping[str, tuple[type, ...]]
"""By name, the types that the value of a field may have."""


def read_table(path: Path, fields: Fields | None = None, max_bytes: int = MAX_JSON) -> dict[str, Any]:
    """Return the JSON object in a file.

    Args:
        path: the file.
        fields: the types of the fields that have a known one; other fields may hold anything.
        max_bytes: a larger file is not read.

    Raises:
        BundleError: the file is missing, too large, not JSON, not an object, or too deep; or a field has another type.
    """
    return _checked(read_json(path, max_bytes), path, fields or {})


def read_table_if_there(path: Path, fields: Fields | None = None, max_bytes: int = MAX_JSON) -> dict[str, Any] | None:
    """Return the JSON object in a file, None if there is nothing of that name. Raises as `read_table`."""
    return read_table(path, fields, max_bytes) if path.exists() else None


def table_of_line(line: bytes, path: Path, fields: Fields) -> dict[str, Any] | None:
    """Return the JSON object of a line of a file, or None if it is incomplete, or no object with such fields."""
    try:
        return _checked(parse_json(line.decode(), path), path, fields) if line.endswith(b"\n") else None
    except (BundleError, UnicodeDecodeError):
        return None


def _checked(data: object, path: Path, fields: Fields) -> dict[str, Any]:
    if not isinstance(data, dict):
        raise BundleError(f"{path} must hold a table of fields, and holds a {type(data).__name__}: it was edited.")
    for name, kinds in fields.items():
        if name in data and not _fits(data[name], kinds):
            raise BundleError(f"{path} has {name} = {str(data[name])[:80]!r}: it was edited.")
    return data


def _fits(value: object, kinds: tuple[type, ...]) -> bool:
    if isinstance(value, bool):
        return bool in kinds
    if isinstance(value, int | float) and not (abs(value) < 1e18 and math.isfinite(value)):
        return False
    if isinstance(value, list):
        return list in kinds and all(_fits(item, (int, float, type(None))) for item in value)
    return isinstance(value, kinds)
