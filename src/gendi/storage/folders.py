"""Folders with a manifest that appear in one rename, and go as a whole; nothing that gendi did not write is deleted.

A folder is first written as `.tmp-NAME` beside its final place. Every file is fsynced and hashed as it is written.
`MANIFEST.json` comes last. Then the folder is fsynced and renamed into place, and its parent is fsynced. Even if the
process is killed, the place holds the old folder or the new one, whole.

This module imports no torch.
"""

import contextlib
import logging
import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from gendi.errors import BundleError
from gendi.storage.disk import disk_error, require_space
from gendi.storage.files import (
    MANIFEST,
    REPLACED,
    TEMPORARY,
    Digest,
    files_below,
    read_manifest,
    sync_folder,
    write_file,
    write_manifest,
)
from gendi.storage.plain import in_utf8

KEPT = "kept-"
"""Begins the new name of a folder that had to make room, but holds files that gendi did not write."""
_SEALED = re.compile(r"[a-z_\d]+\.safetensors|(config|state|snapshot|codec)\.json|README\.md|MANIFEST\.json")
_ATOMIC = re.compile(r"\.tmp-[0-9a-f]{8}-.+", re.DOTALL)
_WHOLE = re.compile(
    r"\.(tmp|old)-(bundle|bundle-best|codec|classifier|step_\d{8,15}|images_\d{12,15}|length_[\d.e-]+(_images_\d+)?)"
)

logger = logging.getLogger(__name__)


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

    A folder that is already there is moved away, and deleted once the new one is durable; if it holds files that gendi
    did not write, these are kept in `kept-NAME`. If the block or a write fails, the new folder is removed and the old
    one stays.

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
            _make_way(replaced, final.name)
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
        _make_way(replaced, final.name)
    else:
        replaced.rename(final)


def discard_folder(folder: Path, also: Callable[[Path], bool] | None = None) -> None:
    """Delete what gendi wrote in `folder`; even if the process is killed, it is there as a whole or gone.

    Files that gendi did not write (see `remove_sealed`) are kept in `kept-NAME`. Raises `OSError`.
    """
    doomed = folder.parent / f"{TEMPORARY}{folder.name}"
    _remove(doomed)
    folder.rename(doomed)
    _make_way(doomed, folder.name, also)


def clean_folder(folder: Path) -> list[str]:
    """Remove the remains of killed writes in `folder`, undo killed replacements, and return the names of both.

    Only names that gendi gives are touched.
    """
    cleaned = []
    for path in sorted(folder.glob(f"{TEMPORARY}*")) + sorted(folder.glob(f"{REPLACED}*")):
        if not (_ATOMIC.fullmatch(path.name) or _WHOLE.fullmatch(path.name)):
            continue
        cleaned.append(path.name)
        if path.name.startswith(REPLACED):
            restore_replaced(folder / path.name.removeprefix(REPLACED))
        else:
            _remove(path)
    return cleaned


def is_sealed_name(name: str) -> bool:
    """Return whether gendi gives this name to a file of a checkpoint, bundle, codec, classifier or snapshot."""
    return _SEALED.fullmatch(name) is not None


def remove_sealed(folder: Path, also: Callable[[Path], bool] | None = None) -> bool:
    """Delete the files that gendi wrote in `folder`, and the folder if it is empty then; return whether it is gone.

    These are the files that its manifest lists, those with names that gendi gives, and those for which `also` is true.
    Raises `OSError`.
    """
    try:
        listed = set(read_manifest(folder))
    except BundleError:
        listed = set()
    for name, path in files_below(folder).items():
        if name in listed or is_sealed_name(name) or (also is not None and also(path)):
            path.unlink()
    if any(path.name != MANIFEST for path in folder.iterdir()):
        return False
    (folder / MANIFEST).unlink(missing_ok=True)
    folder.rmdir()
    return True


def _make_way(folder: Path, name: str, also: Callable[[Path], bool] | None = None) -> None:
    """Delete what gendi wrote in `folder`, which was called `name`; keep the rest under another name."""
    if not folder.is_dir() or folder.is_symlink():
        _remove(folder)
    elif not remove_sealed(folder, also):
        kept, count = folder.with_name(KEPT + name), 1
        while kept.exists():
            kept, count = folder.with_name(f"{KEPT}{name}-{count}"), count + 1
        folder.rename(kept)
        logger.warning("%s held files that gendi did not write: they are in %s now.", name, kept)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
