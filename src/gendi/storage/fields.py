"""From plain dicts, lists, numbers and strings to a tree of dataclasses, checked field by field.

A field that is unknown, missing or of another type is refused by its name. So a file that a person edited, or that a
newer version wrote, is never half understood.
"""

import dataclasses
import types
import typing
from typing import Any, Literal

from gendi.errors import UsageError


def read_fields(kind: Any, data: object, path: str) -> Any:
    """Return `data` as `kind`, which is a dataclass, tuple, Literal, union or scalar type.

    Raises `UsageError` for data that do not fit; `path` is the name of the field in its message.
    """
    if dataclasses.is_dataclass(kind):
        return _read_dataclass(typing.cast(type, kind), data, path)
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin is Literal:
        if data not in args:
            raise UsageError(f"{path} = {data!r} is unknown. Known: {', '.join(map(repr, args))}.")
        return data
    if origin in (typing.Union, types.UnionType):
        if data is None and type(None) in args:
            return None
        members = [a for a in args if a is not type(None)]
        sequence = isinstance(data, list | tuple)
        if isinstance(data, str) and str in members:  # the name of a built-in or a registered entry
            return data
        fitting = [a for a in members if (typing.get_origin(a) is tuple) is sequence]
        return read_fields((fitting or members)[0], data, path)
    if origin is tuple:
        if not isinstance(data, list | tuple):
            raise UsageError(f"{path} = {data!r} must be a list.")
        if args[-1] is not Ellipsis and len(args) != len(data):
            raise UsageError(f"{path} has {len(data)} entries; it must have {len(args)}.")
        return tuple(read_fields(args[0], item, f"{path}[{i}]") for i, item in enumerate(data))
    if kind is float and isinstance(data, int) and not isinstance(data, bool):
        try:
            return float(data)
        except OverflowError:
            raise UsageError(f"{path} is a whole number of {len(str(abs(data)))} digits: it is out of range.") from None
    if not isinstance(data, kind) or (kind is int and isinstance(data, bool)):
        raise UsageError(f"{path} = {data!r} must be of type {kind.__name__}.")
    return data


def _read_dataclass(kind: type, data: object, path: str) -> Any:
    if not isinstance(data, dict):
        raise UsageError(f"{path} must be a table of fields, not {type(data).__name__}.")
    hints = typing.get_type_hints(kind)
    if unknown := sorted(set(map(str, data)) - set(hints)):
        raise UsageError(f"{path} has unknown field(s) {', '.join(unknown)}. Known: {', '.join(hints)}.")
    for f in dataclasses.fields(kind):
        if f.name not in data and f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING:
            raise UsageError(f"{path} lacks the field {f.name}.")
    return kind(**{name: read_fields(hints[name], value, f"{path}.{name}") for name, value in data.items()})
