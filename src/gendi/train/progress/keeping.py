"""The files that a run writes while it trains: its configuration, log, metrics and checkpoints.

If the disk is quick, training waits for each checkpoint, since that takes less time than a thread that competes with
the steps. When a save has taken more than the share `QUICK` of the time between two, later checkpoints are written by a
thread while training continues. The thread writes one at a time, from a copy of the tensors; it hashes, writes and
syncs outside Python's global lock. In both cases a save counts once its folder has its name
(`gendi.train.kept.checkpoint`).
"""

import contextlib
import os
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import torch
from torch import Tensor

from gendi.data import Data
from gendi.errors import BundleError, DataError, DivergedError, GendiError, ResourceError, UsageError
from gendi.machine.streams import lost
from gendi.storage.plain import in_utf8
from gendi.storage.record import RunRecord
from gendi.storage.safe_tensors import tensor_bytes
from gendi.storage.toml import write_toml
from gendi.train.budget import Budget
from gendi.train.config import RunConfig
from gendi.train.kept.bundle import Bundle, save_bundle
from gendi.train.kept.checkpoint import checkpoint_folder, save_checkpoint
from gendi.train.kept.folders import BUNDLE
from gendi.train.kept.identity import Identity
from gendi.train.kept.status import MetricsLog, Status, read_status, write_status
from gendi.train.progress.signals import Reason
from gendi.train.progress.telling import Console

FAILED_SAVES_ALLOWED = 2
LOG = "train.log"
LAST_WORDS = 2.0
"""How many seconds a save in progress still has if a person stops the run at once."""
NICENESS = 10
QUICK = 0.01
"""If a save takes at most this share of the time between checkpoints, training waits for it."""

Tensors = Mapping[str, Mapping[str, Tensor]]


class Keeper:
    """Writes the files of a run. If there are several processes, only the first one writes and shows anything.

    Args:
        run: the folder of the run.
        every: seconds between checkpoints. 0 saves after every step; training then always waits for the save.
        keep: how many checkpoints to keep.
        console: shows the lines of the log.
        first: whether this process writes.
    """

    metrics: MetricsLog

    def __init__(self, run: Path, every: float, keep: int, console: Console, first: bool = True) -> None:
        self.run, self.every, self.keep, self.console, self.first = run, every, keep, console, first
        self.record = RunRecord(run)
        """What gendi wrote into the folder; each file is claimed before it is written."""
        self.saved: int | None = None
        """The step of the last checkpoint that was written in this sitting."""
        self._lost = False
        self._took = 0.0
        self._failed = 0
        self._error: BaseException | None = None
        self._thread: threading.Thread | None = None

    def log(self, line: str) -> None:
        """Show a line to the user, and add it to train.log."""
        if self.first:
            self.console.say(line)
        self.note(LOG, line)
        self.note_lost()

    def note_lost(self) -> None:
        """Write into train.log, once, that lines for the user are lost because standard error is closed or full."""
        if not self._lost and (why := lost()) is not None:
            self._lost = True
            self.note(LOG, f"warning: standard error takes no more lines ({why}): the run goes on without them.")

    def note(self, name: str, line: str) -> None:
        """Add a line to a file of the run that is only for people. If the disk or the file refuses it, it is lost."""
        if not self.first:
            return
        with contextlib.suppress(OSError, ResourceError, UsageError):
            if name != LOG:  # the log is claimed when the run begins
                self.record.claim(self.run / name)
            with (self.run / name).open("ab") as file:
                file.write(in_utf8(line) + b"\n")

    @contextlib.contextmanager
    def training(self, step: int | None) -> Iterator[None]:
        """Write metrics inside the `with` block, and wait for a save in progress at its end.

        Metrics of an earlier sitting are kept up to `step`; None is for a fresh run.
        """
        with MetricsLog(self.run, step) as self.metrics:
            try:
                yield
            except KeyboardInterrupt:  # the second Ctrl-C; the previous checkpoint stays whole in any case
                self._join(LAST_WORDS)
                raise
            finally:
                self._join()

    def save(
        self, step: int, tensors: Tensors, state: Mapping[str, Any], *, wait: bool, bundle: Bundle | None = None
    ) -> None:
        """Save the checkpoint of `step`, once a save in progress is done, and then the run's bundle.

        Args:
            step: see `save_checkpoint`.
            tensors: see `save_checkpoint`.
            state: see `save_checkpoint`.
            wait: whether to wait until it is written. If not, this returns once `tensors` may change. If the disk then
                refuses a save, it is tried again at the next one, three times in all.
            bundle: the model of this step, so that it can be used while the run trains; its weights are the group "ema"
                of `tensors`. If the disk refuses it, the one before stays. None writes no bundle.

        Raises:
            ResourceError: the disk refused a save with `wait`, or three saves without `wait`. The error of a save
                without
                `wait` is raised by the next save at the latest.
        """
        self._join()
        if wait and isinstance(self._error, ResourceError):
            self._error = None  # the disk gets another try
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
                self._write(step, tensors, state, wait, bundle)
                self._took = time.monotonic() - begun if self.every else 0.0
            else:
                self._thread = threading.Thread(target=self._beside, args=(step, copy, state, bundle), daemon=True)
                self._thread.start()
                return
        self._raise()

    @property
    def saving(self) -> bool:
        """Whether a save is in progress."""
        return self._thread is not None and self._thread.is_alive()

    def _beside(self, step: int, tensors: Tensors, state: Mapping[str, Any], bundle: Bundle | None) -> None:
        if sys.platform == "linux":  # a thread of Linux has its own priority: training comes first
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
        self._write(step, tensors, state, False, bundle)

    def _write(self, step: int, tensors: Tensors, state: Mapping[str, Any], wait: bool, bundle: Bundle | None) -> None:
        try:
            self.record.claim(checkpoint_folder(self.run, step))
            save_checkpoint(self.run, step, tensors, state, self.keep)
            self.saved, self._failed = step, 0
            if bundle is not None:
                self._write_bundle(replace(bundle, state=dict(tensors["ema"])))
        except ResourceError as error:
            self._refused(error, wait)
        except BaseException as error:
            self._error = error

    def _write_bundle(self, bundle: Bundle) -> None:
        try:
            self.record.claim(self.run / BUNDLE)
            save_bundle(self.run / BUNDLE, bundle)
        except (ResourceError, UsageError) as error:
            self.log(f"warning: {error} The model in {self.run / BUNDLE} stays that of an earlier step.")

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
    """Return a copy of `tensors` that training does not change, or None if there is not enough memory for two copies.

    The copy is in the order of the files, so that the thread only has to hash and to write.
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
    identity: Identity | None = None,
) -> None:
    """Write config.toml: the configuration, the data, the budget, the id, and where the weights come from.

    Raises `ResourceError`.
    """
    source: dict[str, Any] = {"spec": data.spec, "fingerprint": data.fingerprint, "name": data.name}
    if data.split_by:
        source["split_by"] = data.split_by
    if size is not None:
        source["size"] = [size] if isinstance(size, int) else list(size)
    tables = {"config": config.to_dict(), "data": source, "budget": budget.to_dict()}
    if identity is not None:
        tables["run"] = identity.record()
    write_toml(run / "config.toml", tables if start is None else {**tables, "start": dict(start)})


def write_end(run: Path, reason: Reason | None, error: BaseException) -> None:
    """Write into status.json why the run ended, and keep its other fields. Never raises, so that `error` is seen.

    A request that is refused leaves a run that is not in training as it is.
    """
    status: Status = "diverged" if isinstance(error, DivergedError) else reason or "failed"
    try:
        old = read_status(run) or {}
    except BundleError:
        old = {}
    if isinstance(error, UsageError | DataError) and old.get("status", "running") != "running":
        return
    keep = {k: old[k] for k in ("step", "images", "seconds", "progress") if k in old}
    with contextlib.suppress(GendiError):
        write_status(run, status, **keep, error=str(error) or type(error).__name__)
