"""What a run says to whoever listens: nothing, unless a console is given. `gendi.train.console` has two."""

from typing import Any, Protocol, runtime_checkable


@runtime_checkable
class Console(Protocol):
    """Where the loop tells a person how it goes; `gendi.train.console` has one for terminals and one for logs."""

    def say(self, line: str) -> None:
        """Print a line."""

    def progress(self, done: float, **fields: Any) -> None:
        """Show that the share `done` of the budget is spent."""


class Silent:
    """A console that says nothing."""

    def say(self, line: str) -> None:
        """Ignore the line."""

    def progress(self, done: float, **fields: Any) -> None:
        """Ignore the progress."""
