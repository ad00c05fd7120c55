"""The console of a run: the protocol, and a silent one. `gendi.train.progress.console` has two that print."""

from typing import Any, Protocol, runtime_checkable


@runtime_checkable
class Console(Protocol):
    """Shows a person how training goes; `gendi.train.progress.console` has one for terminals and one for logs."""

    def say(self, line: str) -> None:
        """Print a line."""

    def progress(self, done: float, **fields: Any) -> None:
        """Show that the share `done` of the budget is spent."""


class Silent:
    """A console that prints nothing."""

    def say(self, line: str) -> None:
        """Ignore the line."""

    def progress(self, done: float, **fields: Any) -> None:
        """Ignore the progress."""
