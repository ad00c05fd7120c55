"""The packages of the extra `cells`, imported when they are needed."""

import importlib
from typing import Any

from gendi.errors import UsageError


def require(name: str) -> Any:
    """Return the module `name`. Raises `UsageError`, which says how to install it, if it is missing."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UsageError(f'cells need {name}: pip install "gendi[cells]"') from error
