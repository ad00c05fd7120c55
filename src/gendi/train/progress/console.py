"""Consoles: how a training run talks to a person, on a terminal or in a log."""

import math
import sys
import time
from types import TracebackType
from typing import Any, Self

from rich.console import Console as RichConsole
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

from gendi.machine.streams import tell
from gendi.machine.units import clock

PLAIN_EVERY = 10.0  # seconds


def _fields(fields: dict[str, Any]) -> str:
    rate, left, verdict = (fields.get(name) for name in ("images_per_second", "seconds_left", "verdict"))
    return (
        f"step {fields.get('step', 0):,}  loss {fields.get('loss', math.nan):.4f}  "
        f"{'?' if rate is None else f'{rate:.0f}' if rate >= 10 else f'{rate:.2g}'} images/s  "
        f"{'?' if left is None else clock(left)} left{f'  {verdict}' if verdict else ''}"
    )


class PlainConsole:
    """Lines to stderr: everything said, and the progress every ten seconds."""

    def __init__(self) -> None:
        self._last = -math.inf

    def say(self, line: str) -> None:
        """Print the line."""
        tell(line)

    def progress(self, done: float, **fields: Any) -> None:
        """Print where the run is, if ten seconds have passed since the last time."""
        if time.monotonic() - self._last >= PLAIN_EVERY:
            self._last = time.monotonic()
            self.say(f"{done:6.1%}  {_fields(fields)}")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass


class TerminalConsole:
    """A progress bar on stderr, lines above it. Use it as a context manager."""

    def __init__(self) -> None:
        console = RichConsole(stderr=True, highlight=False)
        columns = (BarColumn(bar_width=30), TaskProgressColumn(), TextColumn("{task.fields[text]}"))
        self._bar = Progress(*columns, console=console, transient=True)
        self._task = self._bar.add_task("train", total=1.0, text="")

    def say(self, line: str) -> None:
        """Print the line above the bar."""
        self._bar.console.print(line, markup=False)

    def progress(self, done: float, **fields: Any) -> None:
        """Move the bar."""
        self._bar.update(self._task, completed=done, text=_fields(fields))

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()


def make_console() -> PlainConsole | TerminalConsole:
    """Return a bar where stderr is a terminal, lines elsewhere."""
    return TerminalConsole() if sys.stderr is not None and sys.stderr.isatty() else PlainConsole()
