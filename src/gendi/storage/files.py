"""Files that are whole or absent: atomic writes, and folders with a manifest that appear in one rename.

A folder is first written as `.tmp-NAME` beside its final place. Every file is fsynced and hashed as it is written.
`MANIFEST.json`, with the size and SHA-256 of every file, comes last. Then the folder is fsynced and renamed into place,
and its parent is fsynced. Even if the process is killed, the place holds the old folder or the new one, whole. The text
of the manifest must be the canonical form of its content, so that not even a flipped bit goes unnoticed.

This module imports no torch.
"""

import contextlib
import errno
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gendi.errors import BundleError
from gendi.storage.disk import disk_error, reason, require_space
from gendi.storage.plain import check_depth, in_utf8

MANIFEST = "MANIFEST.json"
TEMPORARY = ".tmp-"  # begins the name of an unfinished write, which is never read and goes at the run's next start
REPLACED = ".old-"  # begins the name of a folder that a new one replaces; it counts while its old place is empty
MAX_JSON = 16 * 2**20


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
    temporary = path.parent / f"{TEMPORARY}{secrets.token_hex(4)}-{path.name}"
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
    for name, path in _files(folder).items():
        digest = known.get(name) or Digest(path.stat().st_size, sha256_file(path))
        entries[name] = {"sha256": digest.sha256, "size": digest.size}
    write_file(folder / MANIFEST, [encode_json({"files": entries}).encode()])


def verify_manifest(folder: Path) -> None:
    """Check every file below `folder` against its manifest: names, then sizes, then content.

    Raises `BundleError` naming the first file that is missing, extra, truncated or changed.
    """
    try:
        recorded, present = _read_manifest(folder), _files(folder)
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
        recorded, present = _read_manifest(folder), _files(folder)
        return recorded.keys() == present.keys() and all(
            present[name].stat().st_size == digest.size for name, digest in recorded.items()
        )
    except (BundleError, OSError):
        return False


def _files(folder: Path) -> dict[str, Path]:
    """Return every file below `folder` except its manifest, by its path relative to `folder`, in order."""
    found = {p.relative_to(folder).as_posix(): p for p in sorted(folder.rglob("*")) if not p.is_dir()}
    found.pop(MANIFEST, None)
    return found


def _read_manifest(folder: Path) -> dict[str, Digest]:
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


class FolderWriter:
    """Writes the files of a new folder, and keeps their digests for its manifest."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.digests: dict[str, Digest] = {}

    def write(self, name: str, chunks: Iterable[bytes | memoryview]) -> None:
        """Write chunks of bytes to the file `name`."""
        self.digests[name] = write_file(self.path / name, chunks)

    def write_text(self, name: str, text: str) -> None:
        """Write text to the file `name`, as UTF-8."""
        self.write(name, [in_utf8(text)])


@contextlib.contextmanager
def replace_folder(final: Path, needed: int = 0) -> Iterator[FolderWriter]:
    """Yield a writer for a new folder, which becomes `final`, with a manifest, in one rename when the block ends.

    A folder that is already there is moved away, and deleted once the new one is durable. If the block or a write
    fails, the new folder is removed and the old one stays.

    Args:
        final: the final place of the folder; its parent is made.
        needed: number of bytes to be written, which is first compared with the free space.

    Raises:
        ResourceError: the disk is full or refuses; the message has the needed and the free bytes.
    """
    temporary, replaced = final.parent / f"{TEMPORARY}{final.name}", final.parent / f"{REPLACED}{final.name}"
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        require_space(final.parent, needed)
        restore_replaced(final)
        _remove(temporary)
        temporary.mkdir()
        try:
            writer = FolderWriter(temporary)
            yield writer
            write_manifest(temporary, writer.digests)
            sync_folder(temporary)
            if moved := final.exists():
                final.rename(replaced)
            try:
                temporary.rename(final)
            except BaseException:
                if moved:
                    replaced.rename(final)
                raise
        except BaseException:
            with contextlib.suppress(OSError):
                _remove(temporary)
            raise
        sync_folder(final.parent)
        with contextlib.suppress(OSError):
            _remove(replaced)
    except OSError as error:
        raise disk_error(error, final, needed) from error


def current_folder(final: Path) -> Path:
    """Return `final`, or the old folder in its place if a replacement was killed before the new one arrived."""
    replaced = final.parent / f"{REPLACED}{final.name}"
    return replaced if replaced.exists() and not final.exists() else final


def restore_replaced(final: Path) -> None:
    """Undo a replacement of `final` that was killed between its renames, or finish one that was killed after them."""
    replaced = final.parent / f"{REPLACED}{final.name}"
    if not replaced.exists():
        return
    if final.exists():
        _remove(replaced)
    else:
        replaced.rename(final)


def discard_folder(folder: Path) -> None:
    """Delete `folder`; even if the process is killed, it is either there as a whole or gone. Raises `OSError`."""
    doomed = folder.parent / f"{TEMPORARY}{folder.name}"
    _remove(doomed)
    folder.rename(doomed)
    _remove(doomed)


def clean_folder(folder: Path) -> list[str]:
    """Remove the remains of killed writes in `folder`, undo killed replacements, and return the names of both."""
    cleaned = []
    for path in sorted(folder.glob(f"{TEMPORARY}*")) + sorted(folder.glob(f"{REPLACED}*")):
        cleaned.append(path.name)
        if path.name.startswith(REPLACED):
            restore_replaced(folder / path.name.removeprefix(REPLACED))
        else:
            _remove(path)
    return cleaned


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
