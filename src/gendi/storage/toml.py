"""Nested dicts of plain values as TOML, and back, None included.

TOML has no null, and leaving a field out would bring back its default, which need not be None: None is written as the
string "none", and "none" is read as None. Two sorts of strings therefore stand in a table of their own:

    { text = "none" }        the string "none", such as the name of a class
    { percent = "p%FF" }     a string that no UTF-8 can hold, such as the path of a file whose name is no UTF-8

The bytes of such a path are written as in a URL. gendi 0.1.0 wrote no such tables, so its files are read as they were.
"""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote_from_bytes, unquote_to_bytes

import tomli_w

from gendi.errors import BundleError
from gendi.storage.files import atomic_write
from gendi.storage.plain import check_depth, is_unicode

NONE = "none"
TEXT, PERCENT = "text", "percent"
MAX_TOML = 64 * 2**20
PLAIN = " /:.,;=?&+-_~()[]{}@!$'*#"
"""The characters of a path that stand as they are, besides letters and digits, where the others are percent-encoded."""


def write_toml(path: Path, data: Mapping[str, Any]) -> None:
    """Write `data` to `path` atomically; see `dump_toml`."""
    atomic_write(path, dump_toml(data))


def read_toml(path: Path) -> dict[str, Any]:
    """Return the tables of a TOML file, which a person may have edited.

    Raises `BundleError` naming the file, and the line where the text is no TOML.
    """
    try:
        if path.stat().st_size > MAX_TOML:
            raise BundleError(f"{path} is larger than {MAX_TOML} bytes: gendi did not write it, and it was not read.")
        found = tomllib.loads(path.read_bytes().decode())
        check_depth(found, path)
    except OSError as error:
        raise BundleError(f"{path} cannot be read: {(error.strerror or str(error)).lower()}.") from None
    except (ValueError, RecursionError) as error:  # TOMLDecodeError and UnicodeDecodeError are ValueErrors
        raise BundleError(f"{path} is not valid TOML: {error}.") from None
    data: dict[str, Any] = _decode(found)
    return data


def dump_toml(data: Mapping[str, Any]) -> str:
    """Return a nested dict of str, bool, int, float, None and lists of them or of dicts as TOML text.

    Raises `TypeError` for any other value.
    """
    return tomli_w.dumps(_encode(data), indent=2)


def _encode(value: Any) -> Any:
    """Return a value with None as the string that stands for it."""
    match value:
        case None:
            return NONE
        case str() if value == NONE:
            return {TEXT: value}
        case str() if not is_unicode(value):
            return {PERCENT: quote_from_bytes(value.encode("utf-8", "surrogateescape"), PLAIN)}
        case bool() | int() | float() | str():
            return value
        case Mapping():
            return {key: _encode(item) for key, item in value.items()}
        case list() | tuple():
            return [_encode(item) for item in value]
    raise TypeError(f"TOML has no form for {type(value).__name__}.")


def _decode(value: Any) -> Any:
    """Return a value with None in the place of the string that stands for it, and strings in place of their tables."""
    match value:
        case {"text": str(text)} if len(value) == 1:
            return text
        case {"percent": str(text)} if len(value) == 1:
            return unquote_to_bytes(text).decode("utf-8", "surrogateescape")
    if isinstance(value, dict):
        return {key: _decode(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_decode(item) for item in value]
    return None if value == NONE else value
