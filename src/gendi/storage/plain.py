"""Values in the types of JSON, and texts in the bytes of UTF-8."""

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from gendi.errors import BundleError

DEEPEST = 64
"""How many tables and lists may lie in one another in a file; gendi itself needs about ten."""


def plain(value: Any) -> Any:
    """Return `value` in JSON's types: sequences become lists, keys and paths strings, NaN and infinity None."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set):
        return [plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def is_unicode(text: str) -> bool:
    """Return whether UTF-8 can hold `text`. It cannot hold the names of files whose bytes are no UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def as_unicode(text: str) -> str:
    """Return `text` with the bytes that a locale did not decode read as UTF-8; what is none is replaced by a sign."""
    if is_unicode(text):
        return text
    try:
        return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    except UnicodeEncodeError:  # halves of pairs, which stand for no bytes
        return in_utf8(text).decode()


def in_utf8(text: str) -> bytes:
    r"""Return `text` in UTF-8; what that cannot hold is escaped as \udcff, which JSON reads back unchanged."""
    return text.encode("utf-8", "backslashreplace")


def check_depth(value: object, path: Path) -> None:
    """Raise `BundleError` if tables and lists in the content of the file `path` are nested deeper than `DEEPEST`."""
    level = [value]
    for _ in range(DEEPEST + 1):
        level = [item for each in level for item in _inside(each)]
        if not level:
            return
    raise BundleError(f"{path} has tables or lists that are nested more than {DEEPEST} deep, which gendi never writes.")


def _inside(value: object) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()
