"""Finds shards: `.tar` or `.parquet` files in a folder or, through fsspec, in an object store.

    shards/    shards:s3://bucket/images    shards:memory://images    shards:FILE.parquet

The stamp of a shard is its size and its tag (ETag) or time of change. It shows whether a shard is still the one that
was indexed.
"""

import contextlib
import datetime
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from gendi.errors import DataError, GendiError, UsageError

SUFFIXES = (".tar", ".parquet")
_TAGS = ("ETag", "etag", "mtime", "LastModified", "last_modified", "updated", "created")


@dataclass(frozen=True, eq=False)
class Shards:
    """The shards at a place, all of one kind, in the order of their names."""

    place: str
    system: Any
    """An fsspec filesystem."""
    paths: tuple[str, ...]
    stamps: tuple[dict[str, str], ...]
    """The stamp of each shard: its size and its tag or time, as far as the store gives them, by the store's names."""

    @property
    def suffix(self) -> str:
        """`.tar` or `.parquet`."""
        return PurePosixPath(self.paths[0]).suffix.lower()

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the shards below their place."""
        return tuple(PurePosixPath(path).name for path in self.paths)

    def check(self, shard: int) -> None:
        """Check that a shard has not changed since it was listed. Raises `DataError` naming a shard that has."""
        path = self.paths[shard]
        with reaching(path):
            self.system.invalidate_cache(str(PurePosixPath(path).parent))
            now = _stamp(self.system.info(path))
        for name, before in self.stamps[shard].items():  # fields that only one of the two answers has are not compared
            if now.get(name, before) != before:
                raise DataError(
                    f"{path} changed since it was indexed: its {name} was {before}, and is {now[name]}. Do not write "
                    "to shards in use; start again to index it anew."
                )

    def read(self, shards: Sequence[int], starts: Sequence[int], sizes: Sequence[int]) -> list[bytes]:
        """Return parts of shards, read together. Raises `DataError` naming a shard that cannot be read."""
        paths = [self.paths[shard] for shard in shards]
        stops = [start + size for start, size in zip(starts, sizes, strict=True)]
        with reaching(self.place):
            parts: list[bytes] = self.system.cat_ranges(paths, list(starts), stops)
        for path, part, size in zip(paths, parts, sizes, strict=True):
            with reaching(path):
                if isinstance(part, Exception):
                    raise part
            if len(part) > size:
                raise DataError(
                    f"{path} was sent whole although only a part was requested: its server must support HTTP ranges."
                )
            if len(part) != size:
                raise DataError(f"{path} ended early: {len(part)} of {size} bytes were read. Fetch it again.")
        return parts


def list_shards(place: str) -> Shards:
    """Return the shards at a folder, a file or an fsspec URL.

    Raises:
        UsageError: fsspec, or what it needs for this kind of URL, is not installed.
        DataError: the place cannot be reached, or holds no shards or shards of both kinds.
    """
    system, root = _system(place)
    with reaching(place):
        alone = _is_shard(root) and system.isfile(root)
        found = [e for e in ([system.info(root)] if alone else system.ls(root, detail=True)) if e["type"] == "file"]
    arrow = sorted(PurePosixPath(e["name"]).name for e in found if str(e["name"]).endswith(".arrow"))
    found = sorted((entry for entry in found if _is_shard(entry["name"])), key=lambda entry: str(entry["name"]))
    kinds = {PurePosixPath(entry["name"]).suffix.lower() for entry in found}
    if not found:
        if arrow:
            raise DataError(
                f"{place} holds Arrow files ({arrow[0]}), as save_to_disk of Hugging Face's datasets writes them, of "
                "which parts cannot be read. Write parquet instead: dataset.to_parquet(FILE)."
            )
        raise DataError(
            f"{place} holds no shard: looked for files named *.tar (not compressed) and *.parquet, directly in it. "
            "Give the folder that holds the shards."
        )
    if len(kinds) > 1:
        raise DataError(f"{place} holds both .tar and .parquet files. Put each kind into a folder of its own.")
    return Shards(place, system, tuple(str(e["name"]) for e in found), tuple(_stamp(e) for e in found))


def holds_shards(folder: Path) -> bool:
    """Return whether a folder is one of shards, or of Arrow files: it has such files, no picture and no subfolder."""
    from gendi.data.images.pixels import SUFFIXES as PICTURES

    seen = [path for path in folder.iterdir() if not path.name.startswith(".")]
    return any(_is_shard(path.name) or path.suffix == ".arrow" for path in seen) and not any(
        path.is_dir() or path.suffix.lower() in PICTURES for path in seen
    )


@contextlib.contextmanager
def reaching(what: str) -> Iterator[None]:
    """Turn any exception of a filesystem inside the `with` block into a `DataError` about `what`."""
    try:
        yield
    except (GendiError, MemoryError):
        raise
    except FileNotFoundError as error:
        raise DataError(f"{what} is not there (any more): check the address, or fetch it again.") from error
    except Exception as error:  # each kind of store has exceptions of its own
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise DataError(
            f"{what} could not be read: {reason}. Check the address, the network and the permission to read."
        ) from error


def _system(place: str) -> tuple[Any, str]:
    try:
        import fsspec
    except ImportError:
        raise UsageError('shards need fsspec: pip install "gendi[data]"') from None
    if "://" not in place:
        return fsspec.filesystem("file"), str(Path(place).expanduser().absolute())
    try:
        with reaching(place):
            system, root = fsspec.core.url_to_fs(place)
    except DataError as error:
        if isinstance(error.__cause__, ImportError | ValueError):  # no such package or kind of URL
            raise UsageError(f"{place} cannot be opened: {error.__cause__}") from error
        raise
    return system, str(root)


def _is_shard(name: str) -> bool:
    path = PurePosixPath(name)
    return path.suffix.lower() in SUFFIXES and not path.name.startswith((".", "_"))


def _stamp(entry: Any) -> dict[str, str]:
    tag = next((name for name in _TAGS if entry.get(name) is not None), "size")
    known = {name: entry.get(name) for name in ("size", tag)}
    return {
        name: str(value.timestamp() if isinstance(value, datetime.datetime) else value)
        for name, value in known.items()
        if value is not None
    }
