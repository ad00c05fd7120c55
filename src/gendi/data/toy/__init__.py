"""The toy worlds: distributions of points in the plane with exact denoisers."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gendi.data.toy.worlds import WORLDS as WORLDS
    from gendi.data.toy.worlds import World as World
    from gendi.data.toy.worlds import world as world


def __getattr__(name: str) -> Any:
    """Import the worlds when they are asked for, since they need torch, and their kind does not."""
    if name not in ("WORLDS", "World", "world"):
        raise AttributeError(name)
    from gendi.data.toy import worlds

    return getattr(worlds, name)
