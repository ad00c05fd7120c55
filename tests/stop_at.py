"""A console that stops a run, as a scheduler or a person would."""

import os
import signal

from gendi.train.progress.telling import Silent


class StopAt(Silent):
    """Sends this process a signal, SIGTERM by default, after a step."""

    def __init__(self, step: int, number: int = signal.SIGTERM) -> None:
        self.step, self.number = step, number

    def progress(self, done: float, **fields: object) -> None:
        if fields["step"] == self.step:
            os.kill(os.getpid(), self.number)
