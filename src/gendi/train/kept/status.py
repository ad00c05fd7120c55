"""The files in which a run records its progress: `status.json`, `metrics.jsonl`, `timings.jsonl`.

`metrics.jsonl` holds only numbers that the seed decides, so it is the same, byte for byte, whether or not the run was
interrupted. Durations go to `timings.jsonl`. Both hold one JSON object per line, with the step first.
"""

import contextlib
import errno
import json
import os
import socket
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Literal, get_args

from gendi.errors import BundleError, ResourceError
from gendi.storage.disk import disk_error, reason
from gendi.storage.edited import Fields, read_table_if_there, table_of_line
from gendi.storage.files import atomic_write, encode_json
from gendi.storage.plain import plain

Status = Literal["running", "preempted", "interrupted", "finished", "failed", "diverged"]
Verdict = Literal["improving", "level", "copying"]
"""What the evaluations of a run can say of its course: see `gendi.train.progress.verdict`."""
METRICS, TIMINGS = "metrics.jsonl", "timings.jsonl"
NUMBER = (int, float, type(None))
STATUS_FIELDS: Fields = {
    **dict.fromkeys(("status", "host", "error"), (str,)),
    **dict.fromkeys(("pid", "step", "images"), (int, type(None))),
    **dict.fromkeys(("seconds", "progress"), NUMBER),
}
TIMED: Fields = dict.fromkeys(
    ("train_seconds", "train_images", "sample_seconds", "samples", "sample_calls", "evaluate_seconds"), NUMBER
)
"""The fields of timings.json: how long training, sampling and measuring took, in seconds, and of how much."""
LINE_FIELDS: Fields = {
    "step": (int,),
    **dict.fromkeys(("images", "loss", "grad_norm", "lr", "heldout", "seconds", "images_per_second"), NUMBER),
    "heldout_q": (list, type(None)),
}


def write_status(run: Path, status: Status, **fields: Any) -> None:
    """Replace the run's `status.json`: `status`, this process's pid and host, and `fields` (step, images, ...).

    Raises `ResourceError` if it cannot be written.
    """
    data = {"status": status, "pid": os.getpid(), "host": socket.gethostname(), **fields}
    atomic_write(run / "status.json", encode_json(plain(data)))


def read_status(run: Path) -> dict[str, Any] | None:
    """Return the content of `status.json`; None if there is no such file. Raises `BundleError` if it is damaged."""
    return read_table_if_there(run / "status.json", STATUS_FIELDS)


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Return the objects of a `.jsonl` file in order; lines that gendi did not write whole and so are left out.

    Raises `BundleError` if there is no file, but a folder, or the file cannot be read.
    """
    return [entry for _, entry in _lines(path)]


def last_verdict(lines: Iterable[Mapping[str, Any]]) -> Verdict | None:
    """Return what the last evaluation in a run's metrics.jsonl said; None if there is none, or it was too early."""
    entries = (entry for line in lines if isinstance(entry := line.get("evaluation"), Mapping))
    whole = [entry for entry in entries if isinstance(entry.get("metrics"), Mapping)]
    said = whole[-1].get("verdict") if whole else None
    return next((verdict for verdict in get_args(Verdict) if verdict == said), None)


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
    """Yield each line of a `.jsonl` file that gendi wrote, whole, with its object."""
    if not path.exists():
        return
    try:
        with path.open("rb") as file:
            for line in file:
                entry = table_of_line(line, path, LINE_FIELDS)
                if entry is not None and "step" in entry:
                    yield line, entry
    except OSError as error:
        raise BundleError(f"{path} cannot be read: {reason(error)}. Move away what lies there.") from None
