"""The lock of a run folder: one process at a time, released by the system when its holder dies."""

import contextlib
import errno
import logging
import os
import re
import socket
import sys
from pathlib import Path
from types import TracebackType

from gendi.errors import UsageError
from gendi.storage.disk import disk_error

if sys.platform != "win32":
    import fcntl

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

    The lock is the kernel's, on the file `.lock`; the text inside only says who holds it, so a file left behind means
    nothing.
    On Windows, and on a file system without locks (with a warning), it is not held.

    Raises:
        UsageError: another process holds it (in use by pid on host).
        ResourceError: the folder cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / ".lock"
        self._descriptor: int | None = None

    def __enter__(self) -> "RunLock":
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise disk_error(error, self.path, 0) from error
        if sys.platform == "win32":
            os.close(descriptor)
            return self
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = re.fullmatch(rb"(\d+) (\S+)\n", os.pread(descriptor, 1000, 0))
            os.close(descriptor)
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                pid, host = (part.decode(errors="replace") for part in holder.groups()) if holder else ("?", "?")
                raise UsageError(
                    f"{self.path.parent} is in use by pid {pid} on host {host}. Wait for that run or stop it "
                    f"(kill -TERM {pid}: it saves first), or choose another folder with --out."
                ) from None
            logger.warning(
                "%s cannot be locked (%s): take care that no two runs use it.", self.path.parent, error.strerror
            )
            return self
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()} {socket.gethostname() or '?'}\n".encode(), 0)
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
    """Whether a process holds `folder`'s lock. Where the system has no locks to ask, the answer is yes."""
    try:
        descriptor = os.open(folder / ".lock", os.O_RDWR)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    try:
        if sys.platform == "win32":
            return True
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False
