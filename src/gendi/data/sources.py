"""How a path or an object names data that are not pictures. This module imports nothing but Python.

    cells:data.h5ad       data.h5ad       cells:pbmc68k       an AnnData        kind `cells`
    table.csv             table.parquet                       a DataFrame       kind `table`

`shards:PLACE` are pictures in shards, whatever PLACE ends with; `hf:OWNER/NAME` are those of a hub;
`mix:ONE,TWO` are those of several sources.

Options follow a question mark: `cells:data.h5ad?layer=counts`.
"""

from pathlib import Path
from typing import Any

from gendi.errors import UsageError

KINDS = ("cells", "table")
SHARDS = "shards:"
HUB = "hf:"
MIX = "mix:"
_ENDINGS = {".h5ad": "cells", ".csv": "table", ".parquet": "table"}
PRESETS = {"cells": "cells", "table": "table"}
"""The preset of each kind, where nobody names one."""


def named_kind(spec: Any) -> tuple[str, str, dict[str, str]] | None:
    """Return (kind, place, options) of data that are not pictures, or None: `spec` names a folder, MNIST, ....

    Raises:
        UsageError: an option is not written NAME=VALUE.
    """
    if not isinstance(spec, str) or spec.startswith((SHARDS, HUB, MIX)):
        return None
    place, question, text = spec.partition("?")
    head, colon, tail = place.partition(":")
    kind = head if colon and head in KINDS else _ENDINGS.get(Path(place).suffix.lower())
    if kind is None:
        return None
    return kind, tail if colon and head in KINDS else place, options_of(spec, text) if question else {}


def options_of(spec: str, text: str) -> dict[str, str]:
    """Return the options of `text`, what stands behind the question mark of `spec`.

    Raises `UsageError` if one is not written NAME=VALUE.
    """
    options = {}
    for word in text.split("&"):
        name, equals, value = word.partition("=")
        if not (name and equals and value):
            raise UsageError(f"{spec}: options of data are written ?NAME=VALUE, with & between them; got {word!r}.")
        options[name] = value
    return options


def kind_of_object(thing: object) -> str:
    """Return the kind of an object in memory. Raises `UsageError` for one that is no AnnData and no DataFrame."""
    name = type(thing).__name__
    if hasattr(thing, "obs") and hasattr(thing, "var_names"):
        return "cells"
    if hasattr(thing, "columns") and hasattr(thing, "dtypes"):
        return "table"
    raise UsageError(f"data are a name, a path, an AnnData or a DataFrame; this is a {name}.")


def default_preset(spec: Any) -> str | None:
    """Return the preset for data that are not pictures, or None."""
    found = named_kind(spec) if isinstance(spec, str) else (kind_of_object(spec),)
    return PRESETS[found[0]] if found else None
