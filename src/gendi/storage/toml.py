"""Nested dicts of plain values as TOML, and back, None included.

TOML has no null, and leaving a field out would bring back its default, which need not be None: None is written as the
string "none", and "none" is read as None.
"""

import json
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gendi.errors import UsageError
from gendi.storage.files import atomic_write

NONE = "none"


def write_toml(path: Path, data: Mapping[str, Any]) -> None:
    """Write `data` to `path` atomically; see `dump_toml`."""
    atomic_write(path, dump_toml(data))


def read_toml(path: Path) -> dict[str, Any]:
    """Return the tables of a TOML file. Raises `UsageError` naming the file, and the line where the text is no TOML."""
    try:
        raw = path.read_bytes()
        data: dict[str, Any] = _decode(tomllib.loads(raw.decode()))
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {(error.strerror or str(error)).lower()}.") from None
    except (ValueError, RecursionError) as error:  # TOMLDecodeError and UnicodeDecodeError are ValueErrors
        raise UsageError(f"{path} is not valid TOML: {error}.") from None
    return data


def dump_toml(data: Mapping[str, Any], prefix: str = "") -> str:
    """Return a nested dict of str, bool, int, float, None and lists of them or of dicts as TOML text.

    Raises `TypeError` for any other value and `ValueError` for the string "none", which stands for None.
    """
    plain = {key: value for key, value in data.items() if not isinstance(value, Mapping)}
    tables = {key: value for key, value in data.items() if isinstance(value, Mapping)}
    text = "".join(f"{_key(key)} = {_value(value)}\n" for key, value in plain.items())
    for key, table in tables.items():
        path = f"{prefix}{_key(key)}"
        text += f"{chr(10) if text else ''}[{path}]\n{dump_toml(table, path + '.')}"
    return text


def _key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else _string(key)


def _string(text: str) -> str:
    """JSON's escapes are TOML's; TOML also wants DEL escaped."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _value(value: Any) -> str:
    match value:
        case None:
            return f'"{NONE}"'
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case float():
            return repr(value)  # also inf and nan, which TOML spells so
        case str():
            if value == NONE:
                raise ValueError(f"the string {NONE!r} stands for None in gendi's TOML and cannot be written.")
            return _string(value)
        case list() | tuple():
            return f"[{', '.join(map(_value, value))}]"
        case Mapping():  # inside a list: an inline table
            return f"{{ {', '.join(f'{_key(key)} = {_value(item)}' for key, item in value.items())} }}"
    raise TypeError(f"TOML has no form for {type(value).__name__}.")


def _decode(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _decode(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_decode(item) for item in value]
    return None if value == NONE else value
