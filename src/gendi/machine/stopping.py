"""How long work is stopped: it calls one function between its pieces, which raises to stop it."""

from collections.abc import Callable
from typing import TypeAlias

Poll: TypeAlias = Callable[[], object]
"""Called between pieces of work (network calls, blocks of rows); it raises to stop, and what it returns is ignored."""


def may_stop(poll: Poll | None) -> None:
    """Call `poll`, if there is one; it raises to stop."""
    if poll is not None:
        poll()
