"""How long each part of an evaluation takes."""

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Clock:
    """The seconds of every part that ran under it, by name, to a millisecond: `with clock("floors"): ...`."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        began = time.perf_counter()
        yield
        self.seconds[name] = round(time.perf_counter() - began, 3)
