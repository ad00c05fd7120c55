"""Values in the types of JSON, and texts in the bytes of UTF-8."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any


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


def in_utf8(text: str) -> bytes:
    r"""Return `text` in UTF-8; what that cannot hold is escaped as \udcff, which JSON reads back unchanged."""
    return text.encode("utf-8", "backslashreplace")
