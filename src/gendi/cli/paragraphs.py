"""The help of a flag as one paragraph, which the width of the terminal alone breaks into lines.

tyro keeps the line breaks of a docstring whose lines are indented, so that help would have its breaks and those of the
terminal as well.
"""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

from tyro.constructors import ConstructorRegistry, StructConstructorSpec, StructTypeInfo

Help = str | Callable[[], str | None] | None


def one_paragraph(text: Help) -> str | None:
    """Return the help of a field without line breaks; `text` is the help, or returns it."""
    found = text() if callable(text) else text
    return None if found is None else " ".join(found.split())


def add_to(registry: ConstructorRegistry) -> None:
    """Have the help of all dataclasses that are read with `registry` be one paragraph for each field."""
    begun: list[Any] = []  # dataclasses that tyro's own rule reads at the moment

    @registry.struct_rule
    def _rule(info: StructTypeInfo) -> StructConstructorSpec | None:
        if not dataclasses.is_dataclass(info.type) or info.type in begun:
            return None
        begun.append(info.type)
        try:
            found = ConstructorRegistry.get_struct_spec(info)
        finally:
            begun.pop()
        if not isinstance(found, StructConstructorSpec):
            return None
        fields = [dataclasses.replace(f, helptext=partial(one_paragraph, f.helptext)) for f in found.fields]
        return dataclasses.replace(found, fields=tuple(fields))
