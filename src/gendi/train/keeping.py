"""What a run keeps on disk while it trains: its configuration, its log, its metrics, and its checkpoints.

Where the disk is quick, a step waits for its checkpoint: that takes less than a thread that competes with the steps.
Once a save has taken more than `QUICK` of the seconds between two, they are written by a thread of their own while
training goes on, one at a time, from a copy of the tensors as they were; it hashes, writes and syncs outside Python's
global lock. Nothing of the protocol changes: a save counts when its folder has its name (`gendi.train.checkpoint`).
"""

import contextlib
import json
import os
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil
import torch
from torch import Tensor

from gendi.data import Data
from gendi.errors import DivergedError, GendiError, ResourceError
from gendi.storage.safe_tensors import tensor_bytes
from gendi.storage.toml import write_toml
from gendi.train.budget import Budget
from gendi.train.checkpoint import save_checkpoint
from gendi.train.config import RunConfig
from gendi.train.signals import Reason
from gendi.train.status import MetricsLog, Status, write_status
from gendi.train.telling import Console

FAILED_SAVES_ALLOWED = 2
LAST_WORDS = 2.0
"""Seconds that a save under way still has when a person stops the run at once."""
NICENESS = 10
QUICK = 0.01
"""Share of the time between checkpoints that a save may take for steps to wait for it."""

Tensors = Mapping[str, Mapping[str, Tensor]]


class Keeper:
    """Writes the files of a run; of several processes, the first one's does, and the others' say and write nothing.

    Args:
        run: the run's folder.
        every: seconds between checkpoints; 0 saves after every step, which always waits for it.
        keep: checkpoints to keep.
        console: told what the log is told.
        first: whether this process writes.
    """

    metrics: MetricsLog

    def __init__(self, run: Path, every: float, keep: int, console: Console, first: bool = True) -> None:
        self.run, self.every, self.keep, self.console, self.first = run, every, keep, console, first
        self.saved: int | None = None
        """The step of the last checkpoint that was written in this sitting."""
        self._took = 0.0
        self._failed = 0
        self._error: BaseException | None = None
        self._thread: threading.Thread | None = None

    def log(self, line: str) -> None:
        """Say a line to the person and to train.log."""
        if self.first:
            self.console.say(line)
        self.note("train.log", line)

    def note(self, name: str, line: str) -> None:
        """Add a line to a file of the run that nothing is computed from: a full disk may cost it, but not the run."""
        if not self.first:
            return
        with contextlib.suppress(OSError), (self.run / name).open("a", encoding="utf-8") as file:
            file.write(line + "\n")

    @contextlib.contextmanager
    def training(self, step: int | None) -> Iterator[None]:
        """Keep metrics from `step` on, None for a fresh run, and see a save under way through, in the `with` block."""
        with MetricsLog(self.run, step) as self.metrics:
            try:
                yield
            except KeyboardInterrupt:  # the second Ctrl-C: the checkpoint before is whole, whatever becomes of this one
                self._join(LAST_WORDS)
                raise
            finally:
                self._join()

    def save(self, step: int, tensors: Tensors, state: Mapping[str, Any], *, wait: bool) -> None:
        """Save the checkpoint of `step`, after any that is under way.

        Args:
            step, tensors, state: see `save_checkpoint`.
            wait: until it is written. Otherwise return once `tensors` may change, and if the disk refuses the save,
                it is tried again at the next one, three times in all.

        Raises:
            ResourceError: the disk refused it; without `wait` for the third time, told at the latest by the next save.
        """
        self._join()
        if wait and isinstance(self._error, ResourceError):
            self._error = None  # the disk is asked once more
        self._raise()
        if self.saved == step:
            return
        try:
            self.metrics.sync()
        except ResourceError as error:
            self._refused(error, wait)
        else:
            copy = None if wait or self._took <= QUICK * self.every else _copied(tensors)
            if copy is None:
                begun = time.monotonic()
                self._write(step, tensors, state, wait)
                self._took = time.monotonic() - begun if self.every else 0.0
            else:
                self._thread = threading.Thread(target=self._beside, args=(step, copy, state), daemon=True)
                self._thread.start()
                return
        self._raise()

    @property
    def saving(self) -> bool:
        """Whether a save is under way."""
        return self._thread is not None and self._thread.is_alive()

    def _beside(self, step: int, tensors: Tensors, state: Mapping[str, Any]) -> None:
        if sys.platform == "linux":  # where a thread has a priority of its own, steps have the processors first
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
        self._write(step, tensors, state, wait=False)

    def _write(self, step: int, tensors: Tensors, state: Mapping[str, Any], wait: bool) -> None:
        try:
            save_checkpoint(self.run, step, tensors, state, self.keep)
            self.saved, self._failed = step, 0
        except ResourceError as error:
            self._refused(error, wait)
        except BaseException as error:
            self._error = error

    def _refused(self, error: ResourceError, wait: bool) -> None:
        self._failed += 1
        if not wait and self._failed <= FAILED_SAVES_ALLOWED:
            self.log(f"warning: {error} Trying again in {self.every:.0f} s.")
        else:
            self._error = error

    def _raise(self) -> None:
        error, self._error = self._error, None
        if error is not None:
            raise error

    def _join(self, seconds: float | None = None) -> None:
        if self._thread is not None:
            self._thread.join(seconds)
            self._thread = None


def _copied(tensors: Tensors) -> Tensors | None:
    """Return `tensors` copied to memory that nobody changes, in the order of files, so that the thread has nothing to
    compute but sums; None if there is not twice the room for that.
    """
    if 2 * sum(map(tensor_bytes, tensors.values())) > psutil.virtual_memory().available:
        return None
    return {
        group: {name: torch.empty(tensor.shape, dtype=tensor.dtype).copy_(tensor) for name, tensor in named.items()}
        for group, named in tensors.items()
    }


def write_config(
    run: Path,
    config: RunConfig,
    data: Data,
    size: int | tuple[int, int] | None,
    budget: Budget,
    start: Mapping[str, Any] | None = None,
) -> None:
    """Write config.toml: what is trained, on what, for how long, and from which weights. Raises `ResourceError`."""
    source: dict[str, Any] = {"spec": data.spec, "fingerprint": data.fingerprint, "name": data.name}
    if size is not None:
        source["size"] = [size] if isinstance(size, int) else list(size)
    tables = {"config": config.to_dict(), "data": source, "budget": budget.to_dict()}
    write_toml(run / "config.toml", tables if start is None else {**tables, "start": dict(start)})


def write_end(run: Path, reason: Reason | None, error: BaseException) -> None:
    """Write why the run ended into status.json, keeping what it said of steps; never hide `error` behind another."""
    status: Status = "diverged" if isinstance(error, DivergedError) else reason or "failed"
    try:
        old = json.loads((run / "status.json").read_text())
    except (OSError, ValueError):
        old = {}
    keep = {k: old[k] for k in ("step", "images", "seconds", "progress") if k in old}
    with contextlib.suppress(GendiError):
        write_status(run, status, **keep, error=str(error) or type(error).__name__)
