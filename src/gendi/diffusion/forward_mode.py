"""Forward-mode differentiation that several threads may use at once.

A dual tensor carries a value and its tangent, the derivative along one direction, through any function in one pass.
torch keeps one level of dual tensors for the whole process, and functions such as `torch.func.jvp` open and close it as
if no other thread did. Here the first thread opens the level, and the last one closes it.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor
from torch.autograd import forward_ad

_LOCK = threading.Lock()
_inside = 0


@contextmanager
def dual_level() -> Iterator[None]:
    """Let dual tensors be made and read within the block; they must not leave it."""
    global _inside
    with _LOCK:
        if _inside == 0:
            forward_ad.enter_dual_level()  # type: ignore[no-untyped-call]
        _inside += 1
    try:
        yield
    finally:
        with _LOCK:
            _inside -= 1
            if _inside == 0:
                forward_ad.exit_dual_level()  # type: ignore[no-untyped-call]


def dual(value: Tensor, tangent: Tensor) -> Tensor:
    """Return the dual tensor of a value and its tangent, of the same shape and dtype."""
    made: Tensor = forward_ad.make_dual(value, tangent)  # type: ignore[no-untyped-call]
    return made


def tangent_of(value: Tensor) -> Tensor | None:
    """Return the tangent of a tensor, or None if it has none."""
    found: Tensor | None = forward_ad.unpack_dual(value).tangent  # type: ignore[no-untyped-call]
    return found


def has_tangent(*values: Tensor) -> bool:
    """Return whether any tensor is dual, which none is while no thread is in a level."""
    return _inside > 0 and any(tangent_of(value) is not None for value in values)


def lacks_forward_mode(error: Exception) -> bool:
    """Return whether an error says that an operator has no forward-mode derivative."""
    text = str(error)
    return isinstance(error, NotImplementedError | RuntimeError) and any(
        sign in text for sign in ("forward AD", "forward mode AD", "jvp")
    )
