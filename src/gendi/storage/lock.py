"""The lock of a run folder: one process at a time, released by the system when its holder dies."""

import contextlib
import logging
import os
import re
import socket
import sys
import time
from pathlib import Path
from types import TracebackType

from filelock import lock_descriptor

from gendi.errors import UsageError
from gendi.storage.disk import disk_error

NAME = ".lock"
NOTE_AT = 1 if sys.platform == "win32" else 0
"""Where the holder's note begins: on Windows the lock covers the first byte, which nobody else can read then."""
PROBE_AGAIN = 0.01
"""Seconds after which a lock that looks held is tried once more: it may have been another process that looked."""

logger = logging.getLogger(__name__)

_held: set[int] = set()  # descriptors of locks; a forked child must not keep them, or it outlives its parent's lock


def _close_inherited() -> None:
    for descriptor in _held:
        with contextlib.suppress(OSError):
            os.close(descriptor)
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_inherited)


class RunLock:
    """Hold `folder` (made if need be) for this process, as a context manager.

    The lock is the system's, on the file `.lock`; the text inside only says who holds it, so a file left behind means
    nothing. On a file system without locks it is not held, and a warning says so.

    Raises:
        UsageError: another process holds it (in use by pid on host).
        ResourceError: the folder cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / NAME
        self._descriptor: int | None = None

    def __enter__(self) -> "RunLock":
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = _open(self.path, os.O_CREAT)
        except OSError as error:
            raise disk_error(error, self.path, 0) from error
        try:
            locked = lock_descriptor(descriptor, blocking=False)
        except OSError as error:
            os.close(descriptor)
            logger.warning(
                "%s cannot be locked (%s): take care that no two runs use it.", self.path.parent, error.strerror
            )
            return self
        if not locked:
            pid, host = _holder(descriptor)
            os.close(descriptor)
            raise UsageError(
                f"{self.path.parent} is in use by pid {pid} on host {host}. Wait for that run or stop it "
                f"(kill -TERM {pid}: it saves first), or choose another folder with --out."
            )
        note = " " * NOTE_AT + f"{os.getpid()} {socket.gethostname() or '?'}\n"
        os.ftruncate(descriptor, 0)
        os.write(descriptor, note.encode())
        self._descriptor = descriptor
        _held.add(descriptor)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._descriptor is not None and self._descriptor in _held:  # not in a forked child
            _held.discard(self._descriptor)
            os.close(self._descriptor)
        self._descriptor = None


def is_held(folder: Path) -> bool:
    """Whether a process holds `folder`'s lock. Where the system cannot say, the answer is yes."""
    try:
        descriptor = _open(folder / NAME)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    try:
        if lock_descriptor(descriptor, blocking=False):
            return False
        time.sleep(PROBE_AGAIN)
        return not lock_descriptor(descriptor, blocking=False)
    except OSError:
        return True
    finally:
        os.close(descriptor)


def _open(path: Path, flags: int = 0) -> int:
    """Return a descriptor of the lock's file, which must not be a link: what it leads to would be overwritten."""
    return os.open(path, os.O_RDWR | flags | getattr(os, "O_NOFOLLOW", 0), 0o666)


def _holder(descriptor: int) -> tuple[str, str]:
    """Return the pid and the host of the note in a lock that another process holds; "?" where there is none."""
    os.lseek(descriptor, NOTE_AT, os.SEEK_SET)
    found = re.fullmatch(rb"(\d+) (\S+)\n", os.read(descriptor, 1000))
    if found is None:
        return "?", "?"
    return found[1].decode(errors="replace"), found[2].decode(errors="replace")
