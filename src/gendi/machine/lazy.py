"""Packages whose names are loaded when they are first used, so that importing a package takes little time."""

import importlib
import sys
from collections.abc import Callable, Mapping
from typing import Any


def lazy_names(package: str, homes: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return the `__getattr__` and the `__dir__` of a package whose public names are defined elsewhere.  [PEP 562]

    `homes` maps each name to the module that defines it or, if the name is that of a module, to the package that holds
    the module. A name is kept once it is loaded. `dir` lists these names and those with double underscores, and
    neither the modules that happen to be loaded nor what the package imports for itself.
    """

    def __getattr__(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        home = importlib.import_module(homes[name])
        value = getattr(home, name) if hasattr(home, name) else importlib.import_module(f"{homes[name]}.{name}")
        setattr(sys.modules[package], name, value)
        return value

    def __dir__() -> list[str]:
        return sorted({*(name for name in vars(sys.modules[package]) if name.startswith("__")), *homes})

    return __getattr__, __dir__
