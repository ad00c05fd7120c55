"""Files that are whole or absent, and the manifest of a folder, with the size and the SHA-256 of every file in it.

The text of a manifest must be the canonical form of its content, so that not even a flipped bit goes unnoticed.
`gendi.storage.folders` writes and deletes whole folders. This module imports no torch.
"""

import contextlib
import errno
import hashlib
import json
import os
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gendi.errors import BundleError
from gendi.storage.disk import disk_error, reason
from gendi.storage.plain import check_depth, in_utf8

MANIFEST = "MANIFEST.json"
TEMPORARY = ".tmp-"  # begins the name of an unfinished write, which is never read and goes at the run's next start
REPLACED = ".old-"  # begins the name of a folder that a new one replaces; it counts while its old place is empty
MAX_JSON = 16 * 2**20
LONGEST_TAIL = 200
"""How many bytes of a file's name its temporary name repeats, so that a long name leaves room for both."""


@dataclass(frozen=True)
class Digest:
    """A file's entry in a manifest: its size in bytes and the SHA-256 of its content, in hexadecimal."""

    size: int
    sha256: str


# ------------------------------------------------------------------------------------------------ one file


def write_file(path: Path, chunks: Iterable[bytes | memoryview]) -> Digest:
    """Create `path`, write `chunks` (flat memory of bytes) to it, fsync it, and return the digest of the chunks.

    The mode follows the umask. Raises `OSError`; the caller must then remove the unfinished file.
    """
    sha256, size = hashlib.sha256(), 0
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        for chunk in chunks:
            rest = memoryview(chunk)
            sha256.update(rest)
            size += rest.nbytes
            while rest:
                rest = rest[os.write(descriptor, rest) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return Digest(size, sha256.hexdigest())


def sync_folder(folder: Path) -> None:
    """Make the names inside `folder` durable, unless the file system cannot sync folders."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)


def atomic_write(path: Path, data: bytes | str) -> None:
    """Write `data` so that `path` holds either its old content or the new one, whatever happens.

    Text is written by `in_utf8`.
    Raises `ResourceError` with the file and the reason (disk full, no permission); the old content is then untouched.
    """
    raw = in_utf8(data) if isinstance(data, str) else data
    temporary = temporary_name(path)
    try:
        try:
            write_file(temporary, [raw])
            temporary.replace(path)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise
        sync_folder(path.parent)
    except OSError as error:
        raise disk_error(error, path, len(raw)) from error


def temporary_name(path: Path) -> Path:
    """Return an unused name beside `path` for a file that will be renamed to `path`."""
    tail = os.fsdecode(os.fsencode(path.name)[-LONGEST_TAIL:])
    return path.parent / f"{TEMPORARY}{secrets.token_hex(4)}-{tail}"


def sha256_file(path: Path) -> str:
    """Return the SHA-256 of a file's content, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def encode_json(data: Any, allow_nan: bool = False) -> str:
    """Return `data` as JSON in the one form that gendi writes, with sorted keys and indentation.

    JSON has no NaN and no infinity. They raise `ValueError` unless `allow_nan`, for files that only Python reads.
    """
    text = json.dumps(data, indent=1, sort_keys=True, allow_nan=allow_nan, ensure_ascii=False)
    return in_utf8(text).decode() + "\n"


def read_json(path: Path, max_bytes: int = MAX_JSON) -> Any:
    """Return the content of a JSON file.

    Raises `BundleError` if the file is missing, larger than `max_bytes` or not JSON.
    """
    return parse_json(_read_text(path, max_bytes), path)


def parse_json(text: str, path: Path) -> Any:
    """Return the JSON value of `text`, which was read from `path`.

    Raises `BundleError` naming `path`, also for a value that is nested too deep.
    """
    try:
        found = json.loads(text)
        check_depth(found, path)
        return found
    except (ValueError, RecursionError) as error:
        raise BundleError(
            f"{path} is not valid JSON ({error}): it is damaged, or was written by something else."
        ) from None


def _read_text(path: Path, max_bytes: int) -> str:
    try:
        with path.open("rb") as file:
            raw = file.read(max_bytes + 1)
        if len(raw) > max_bytes:
            raise BundleError(
                f"{path} is larger than {max_bytes} bytes, more than a file of its kind can have: it was not read."
            )
        return raw.decode()
    except OSError as error:
        raise BundleError(f"{path} cannot be read: {reason(error)}.") from None
    except UnicodeDecodeError:
        raise BundleError(f"{path} is not UTF-8 text: it is damaged, or was written by something else.") from None


# ------------------------------------------------------------------------------------------------ folders


def write_manifest(folder: Path, known: dict[str, Digest] | None = None) -> None:
    """Write the `MANIFEST.json` of every file below `folder`; files with a digest in `known` are not read again.

    Raises `OSError`.
    """
    known = known or {}
    entries = {}
    for name, path in files_below(folder).items():
        digest = known.get(name) or Digest(path.stat().st_size, sha256_file(path))
        entries[name] = {"sha256": digest.sha256, "size": digest.size}
    write_file(folder / MANIFEST, [encode_json({"files": entries}).encode()])


def verify_manifest(folder: Path) -> None:
    """Check every file below `folder` against its manifest: names, then sizes, then content.

    Raises `BundleError` naming the first file that is missing, extra, truncated or changed.
    """
    try:
        recorded, present = read_manifest(folder), files_below(folder)
        for name in sorted(recorded.keys() - present.keys()):
            raise BundleError(
                f"{folder / name} is missing, though {MANIFEST} lists it: the folder was copied only in part."
            )
        for name in sorted(present.keys() - recorded.keys()):
            raise BundleError(f"{folder / name} does not belong there, as {MANIFEST} does not list it. Remove it.")
        for name, digest in recorded.items():
            if not present[name].is_file():
                raise BundleError(f"{folder / name} is not a plain file: the folder was not written by gendi.")
            if (size := present[name].stat().st_size) != digest.size:
                raise BundleError(
                    f"{folder / name} has {size} bytes where {MANIFEST} says {digest.size}: it is damaged."
                )
        for name, digest in recorded.items():
            if sha256_file(present[name]) != digest.sha256:
                raise BundleError(
                    f"{folder / name} is damaged or was edited: its SHA-256 is not the one written in {MANIFEST}."
                )
    except OSError as error:
        raise BundleError(f"{error.filename or folder} cannot be read: {reason(error)}.") from None


def looks_whole(folder: Path) -> bool:
    """Return whether `folder` has a manifest, and files of the names and sizes in it; contents are not read."""
    try:
        recorded, present = read_manifest(folder), files_below(folder)
        return recorded.keys() == present.keys() and all(
            present[name].stat().st_size == digest.size for name, digest in recorded.items()
        )
    except (BundleError, OSError):
        return False


def files_below(folder: Path) -> dict[str, Path]:
    """Return every file below `folder` except its manifest, by its path relative to `folder`, in order."""
    found = {p.relative_to(folder).as_posix(): p for p in sorted(folder.rglob("*")) if not p.is_dir()}
    found.pop(MANIFEST, None)
    return found


def read_manifest(folder: Path) -> dict[str, Digest]:
    """Return the digest of every file that the manifest of `folder` lists. Raises `BundleError` if it is damaged."""
    path = folder / MANIFEST
    if not path.is_file():
        raise BundleError(
            f"{path} is missing: the folder was copied or written only in part, or gendi did not write it."
        )
    text = _read_text(path, MAX_JSON)
    data = parse_json(text, path)
    try:
        files = {name: Digest(**entry) for name, entry in data["files"].items()}
        whole = encode_json(data) == text and data.keys() == {"files"}
        typed = all(type(d.size) is int and isinstance(d.sha256, str) for d in files.values())
    except (AttributeError, TypeError, KeyError, ValueError):
        whole = typed = False
    if not (whole and typed):
        raise BundleError(f"{path} is damaged or was edited: it is not in the form in which it was written.")
    return files
