"""Space and permissions: checks of a disk before it is written to, and the error for a disk that refuses."""

import errno
import secrets
import shutil
from pathlib import Path

from gendi.errors import GendiError, ResourceError, UsageError


def free_bytes(folder: Path) -> int:
    """Return the number of free bytes on the disk of `folder`, or of its nearest parent that exists."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return shutil.disk_usage(folder).free


def require_space(folder: Path, needed: int) -> None:
    """Raise `ResourceError`, with the needed and the free bytes, if the disk of `folder` has fewer than `needed`."""
    if (free := free_bytes(folder)) < needed:
        raise ResourceError(
            f"The disk of {folder} is too full: {needed:,} bytes are needed and {free:,} are free. Nothing was "
            "written. Free some space or choose another folder with --out."
        )


def check_writable(folder: Path) -> None:
    """Make `folder` and write a trial file in it, before long work starts. Raises `ResourceError` if that fails."""
    probe = folder / f".tmp-{secrets.token_hex(4)}-probe"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b"probe")
        probe.unlink()
    except OSError as error:
        raise disk_error(error, folder, 0) from error


def disk_error(error: OSError, path: Path, needed: int) -> GendiError:
    """Return the error for an `OSError` that came up while `needed` bytes were written to `path`.

    It is a `ResourceError`, but a `UsageError` for a name that is too long.
    """
    if error.errno == errno.ENAMETOOLONG:
        return UsageError(f"{path} is too long a name for this disk. Choose a shorter one with --out.")
    try:
        free = f"{free_bytes(path.parent):,}"
    except OSError:
        free = "an unknown number"
    return ResourceError(
        f"{path} cannot be written: {reason(error)}. {needed:,} bytes are needed and {free} are free on that disk. "
        "What was there before is intact. Free some space, check the permissions, or choose another folder with --out."
    )


def reason(error: OSError) -> str:
    """Return the operating system's reason for `error`, in lower case, as part of a sentence."""
    return (error.strerror or str(error)).lower()
