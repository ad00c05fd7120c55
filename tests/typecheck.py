"""The type checker behind the import hook of conftest.py: beartype, told two things.

An int is a float, as everywhere in Python. `Self` is not checked: the hook decorates methods one by one, and a method
on its own does not know the class it will belong to.
"""

from collections.abc import Callable
from typing import Any, Self

from beartype import BeartypeConf, FrozenDict, beartype

_check = beartype(conf=BeartypeConf(is_pep484_tower=True, hint_overrides=FrozenDict({Self: object})))


def check(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return `function` with its arguments and its result checked against their annotations at every call."""
    return _check(function)
