"""The way to interrupt long computations: between batches they call a function that the caller gives."""

from collections.abc import Callable

from gendi.errors import PreemptedError

Stop = Callable[[], object]
"""Called between batches. It stops the computation by raising an error, which can say why, or by returning true."""


def poll(stop: Stop | None) -> None:
    """Call `stop`. Raise `PreemptedError` if it returns true; an error that it raises passes through."""
    if stop is not None and stop():
        raise PreemptedError("The evaluation was stopped; nothing was written. Run the same command again.")
