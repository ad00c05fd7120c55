"""Space and permission: what can be known of a disk before writing to it, and what to say when it refuses."""

import secrets
import shutil
from pathlib import Path

from gendi.errors import ResourceError


def free_bytes(folder: Path) -> int:
    """Return the free bytes of the disk that `folder`, or its nearest existing parent, is on."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return shutil.disk_usage(folder).free


def require_space(folder: Path, needed: int) -> None:
    """Raise `ResourceError` saying needed and free bytes if the disk of `folder` has fewer than `needed` free."""
    if (free := free_bytes(folder)) < needed:
        raise ResourceError(
            f"The disk of {folder} is too full: {needed:,} bytes are needed and {free:,} are free. Nothing was "
            "written. Free some space or choose another folder with --out."
        )


def check_writable(folder: Path) -> None:
    """Make `folder` and write a file in it, to say before the work starts that it cannot. Raises `ResourceError`."""
    probe = folder / f".tmp-{secrets.token_hex(4)}-probe"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b"probe")
        probe.unlink()
    except OSError as error:
        raise disk_error(error, folder, 0) from error


def disk_error(error: OSError, path: Path, needed: int) -> ResourceError:
    """Return the `ResourceError` for an `OSError` at writing `path`."""
    try:
        free = f"{free_bytes(path.parent):,}"
    except OSError:
        free = "an unknown number"
    return ResourceError(
        f"{path} cannot be written: {reason(error)}. {needed:,} bytes are needed and {free} are free on that disk. "
        "What was there before is intact. Free some space, see to the permissions, or choose another folder with --out."
    )


def reason(error: OSError) -> str:
    """Return what the system says of `error`, to go inside a sentence."""
    return (error.strerror or str(error)).lower()
