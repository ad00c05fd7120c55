"""How long computations here are interrupted: between batches, by a callable of the caller's."""

from collections.abc import Callable

from gendi.errors import PreemptedError

Stop = Callable[[], object]
"""Called between batches. It stops the computation by raising (best: it knows why), or by returning true."""


def poll(stop: Stop | None) -> None:
    """Call `stop`; raise `PreemptedError` if it returns true, and let pass whatever it raises itself."""
    if stop is not None and stop():
        raise PreemptedError("Stopped while measuring; nothing was written. Run the same command again.")
