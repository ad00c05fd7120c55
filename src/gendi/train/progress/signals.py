"""Signals set a flag that every loop polls, so that a run stops between steps and saves.

After SIGTERM or SIGUSR1, which schedulers send before they take a machine away, a run saves and exits with 75. After
the first Ctrl-C it finishes the step, saves and exits with 130; the second Ctrl-C stops it at once.
"""

import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Literal

from gendi.errors import InterruptedRunError, PreemptedError

Reason = Literal["preempted", "interrupted"]


class StopFlag:
    """Catches signals while the `with` block runs. Only the main thread can, so elsewhere no signal sets the flag.

        with StopFlag() as stop:
            for step in steps:
                ...
                if stop.requested:
                    save()
                    stop.raise_if_requested()

    With several processes, agree on `reason` at a step boundary and `request` the agreed one everywhere.
    """

    reason: Reason | None = None
    """Why to stop (also the status to write), or None."""

    def __init__(self) -> None:
        self._previous: dict[int, Any] = {}
        self._interrupts = 0

    @property
    def requested(self) -> bool:
        """Whether to stop at the next opportunity."""
        return self.reason is not None

    def request(self, reason: Reason) -> None:
        """Request a stop; the first reason stays."""
        self.reason = self.reason or reason

    def raise_if_requested(self, saved: str = "What was done so far is saved.") -> None:
        """Raise `PreemptedError` (75) or `InterruptedRunError` (130) if a stop was requested.

        `saved` is the sentence of the message that says what is safe.
        """
        if self.reason == "preempted":
            raise PreemptedError(f"The system asked to stop. {saved} Run the same command again to go on.")
        if self.reason == "interrupted":
            raise InterruptedRunError(f"Stopped by Ctrl-C. {saved} Run the same command again to go on.")

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if number != signal.SIGINT:
            self.request("preempted")
            return
        self._interrupts += 1
        self.request("interrupted")
        if self._interrupts > 1:
            raise KeyboardInterrupt

    def __enter__(self) -> "StopFlag":
        if threading.current_thread() is threading.main_thread():
            for name in ("SIGINT", "SIGTERM", "SIGUSR1"):
                if (number := getattr(signal, name, None)) is not None:
                    self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        self._previous.clear()
