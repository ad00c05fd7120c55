"""The files in which a run records its progress: `status.json`, `metrics.jsonl`, `timings.jsonl`.

`metrics.jsonl` holds only numbers that the seed decides, so it is the same, byte for byte, whether or not the run was
interrupted. Durations go to `timings.jsonl`. Both hold one JSON object per line, with the step first.
"""

import contextlib
import errno
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Literal

from gendi.errors import ResourceError
from gendi.storage.disk import disk_error
from gendi.storage.files import atomic_write, encode_json, read_json
from gendi.storage.plain import plain

Status = Literal["running", "preempted", "interrupted", "finished", "failed", "diverged"]
METRICS, TIMINGS = "metrics.jsonl", "timings.jsonl"


def write_status(run: Path, status: Status, **fields: Any) -> None:
    """Replace the run's `status.json`: `status`, this process's pid and host, and `fields` (step, images, ...).

    Raises `ResourceError` if it cannot be written.
    """
    data = {"status": status, "pid": os.getpid(), "host": socket.gethostname(), **fields}
    atomic_write(run / "status.json", encode_json(plain(data)))


def read_status(run: Path) -> dict[str, Any] | None:
    """Return the content of `status.json`; None if there is no such file. Raises `BundleError` if it is damaged."""
    path = run / "status.json"
    if not path.exists():
        return None
    data = read_json(path)
    return data if isinstance(data, dict) else None


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Return the objects of a `.jsonl` file in order; a line that a killed process wrote only in part is left out."""
    return [entry for _, entry in _lines(path)]


class MetricsLog:
    """Appends to the run's `metrics.jsonl` and `timings.jsonl`; use it as a context manager.

    Args:
        run: the run's folder.
        step: the step of the checkpoint from which the run goes on. Later lines, which will be computed again, and
            incomplete lines are dropped from both files. None stands for a fresh run, which drops every line.

    For an exact resume, log the lines of a step, then `sync`, then save that step's checkpoint. Lines that cannot be
    written wait in memory for the next ones; `sync`, which a checkpoint needs, raises `ResourceError` if they still
    cannot be written.
    """

    def __init__(self, run: Path, step: int | None = None) -> None:
        self._files: dict[str, BinaryIO] = {}
        self._waiting: dict[str, bytes] = {METRICS: b"", TIMINGS: b""}
        for name in (METRICS, TIMINGS):
            _truncate(run / name, step)
            try:
                self._files[name] = (run / name).open("ab", buffering=0)
            except OSError as error:
                raise disk_error(error, run / name, 0) from error

    def metrics(self, step: int, **fields: Any) -> None:
        """Append a line of numbers that the seed decides: images, loss, lr, ... NaN and infinity become null."""
        self._append(METRICS, {"step": step, **fields})

    def timings(self, step: int, **fields: Any) -> None:
        """Append a line of numbers that depend on the machine: seconds, images_per_second, ..."""
        self._append(TIMINGS, {"step": step, **fields})

    def sync(self) -> None:
        """Write every line so far to the disk. Raises `ResourceError` if that fails."""
        for name, file in self._files.items():
            self._flush(name)
            os.fsync(file.fileno())

    def close(self) -> None:
        """Close both files. Lines that still cannot be written are lost; they are later than any checkpoint."""
        for name, file in self._files.items():
            with contextlib.suppress(ResourceError):
                self._flush(name)
            file.close()

    def _append(self, name: str, entry: dict[str, Any]) -> None:
        self._waiting[name] += (json.dumps(plain(entry), allow_nan=False) + "\n").encode()
        with contextlib.suppress(ResourceError):
            self._flush(name)

    def _flush(self, name: str) -> None:
        file, lines = self._files[name], self._waiting[name]
        end = file.seek(0, os.SEEK_END)
        try:
            if lines and file.write(lines) != len(lines):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            file.truncate(end)  # the next line must not follow a part of this one
            raise disk_error(error, Path(file.name), len(lines)) from error
        self._waiting[name] = b""

    def __enter__(self) -> "MetricsLog":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _truncate(path: Path, step: int | None) -> None:
    """Keep the complete lines up to `step`; keep none if it is None."""
    if not path.exists():
        return
    kept = b"".join(line for line, entry in _lines(path) if step is not None and entry["step"] <= step)
    if len(kept) != path.stat().st_size:
        atomic_write(path, kept)


def _lines(path: Path) -> Iterator[tuple[bytes, dict[str, Any]]]:
    """Yield each complete line of a `.jsonl` file with its object."""
    if not path.exists():
        return
    with path.open("rb") as file:
        for line in file:
            try:
                entry = json.loads(line)
            except ValueError:
                continue
            if line.endswith(b"\n") and isinstance(entry, dict) and isinstance(entry.get("step"), int):
                yield line, entry
