"""Pictures in shards: data larger than memory, whose rows can be read by their numbers.

An index says where each picture is (`gendi.data.images.shard_index`). With it, shards are used like data in memory: a
resumed run continues at the exact sample, and each process takes its own part.

An epoch permutes the blocks (tar files, or row groups of parquet), takes `WINDOW` of them at a time, and permutes the
pictures of these together (`gendi.data.order.batch_indices`).

Memory holds the pictures of a batch, `WINDOW` row groups if the shards are parquet, and the index, which takes some 30
bytes for each picture.
"""

import hashlib
import math
import os
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gendi.data.columns import left_out_note
from gendi.data.images.pixels import BadImageError, decode, enlarged, quiet
from gendi.data.images.shard_files import Shards, list_shards
from gendi.data.images.shard_formats import read_part
from gendi.data.images.shard_index import Index, index_of, key_of
from gendi.data.order import WINDOW
from gendi.data.split import LARGEST_SIDE, Loaded, Skipped, Split
from gendi.errors import DataError, UsageError
from gendi.storage.store import build

FINGERPRINT_SAMPLES = 64
_AT_ONCE = 256


class ShardRows:
    """N pictures in shards as `gendi.data.split.Rows`. They are decoded and fitted to (H, W, C) when they are read.

    At most `window` blocks are open at a time. An open tar file has been checked against its index; an open row group
    has its encoded pictures in memory.
    """

    def __init__(self, shards: Shards, index: Index, shape: tuple[int, int, int], window: int = WINDOW) -> None:
        self.shards, self.index, self.window = shards, index, window
        self.shape = (len(index.samples), *shape)
        self.dtype = np.dtype(np.uint8)
        self.open: OrderedDict[int, Any] = OrderedDict()
        self._pool = ThreadPoolExecutor(min(8, os.cpu_count() or 1))

    @property
    def nbytes(self) -> int:
        """The bytes that all pictures would take as one array."""
        return math.prod(self.shape)

    def __len__(self) -> int:
        return len(self.index.samples)

    def __getitem__(self, index: Any, /) -> NDArray[np.uint8]:
        """Return the pictures at `index`, which can be whatever an array accepts.

        Raises `DataError` naming a shard that is gone, has changed or is damaged.
        """
        picked = np.arange(len(self))[index] if isinstance(index, slice) else np.asarray(index)
        if picked.dtype == np.bool_:
            picked = np.flatnonzero(picked)
        flat = picked.astype(np.int64).ravel()
        if len(flat) and not (-len(self) <= flat.min() and flat.max() < len(self)):
            raise IndexError(f"there are {len(self)} pictures")
        flat = flat % len(self)
        out = np.empty((len(flat), *self.shape[1:]), np.uint8)
        by_block = np.argsort(flat, kind="stable")
        with quiet():
            for start in range(0, len(flat), _AT_ONCE):
                places = by_block[start : start + _AT_ONCE]
                for place, pixels in zip(places, self._pool.map(self._decode, *self._read(flat[places])), strict=True):
                    out[place] = pixels
        return out.reshape(*picked.shape, *self.shape[1:])

    def encoded(self, rows: NDArray[np.int64]) -> list[bytes]:
        """Return the encoded files of the pictures with the numbers `rows`, in ascending order."""
        return self._read(rows)[1]

    def fingerprint(self) -> str:
        """Return the SHA-256 (hex) of the shards' names, the index, the conditions, and 64 evenly spaced pictures.

        It does not depend on the place of the shards or on their times.
        """
        digest = hashlib.sha256(repr((self.shards.names, self.shape)).encode())
        index = self.index
        for array in (index.samples, index.blocks, *(index.conditions[name] for name in sorted(index.conditions))):
            digest.update(f"{array.dtype.str}{array.shape};".encode())
            digest.update(np.ascontiguousarray(array).data)
        rows = np.unique(np.linspace(0, len(self) - 1, FINGERPRINT_SAMPLES).round().astype(np.int64))
        for content in self.encoded(rows):
            digest.update(content)
        return digest.hexdigest()

    def _read(self, rows: NDArray[np.int64]) -> tuple[list[int], list[bytes]]:
        """Return the numbers, in order, and the encoded files of pictures."""
        samples = self.index.samples[rows]
        if self.shards.suffix == ".tar":
            for block in np.unique(samples[:, 0]).tolist():
                self._opened(block)
            shards = self.index.blocks[samples[:, 0], 0].tolist()
            return rows.tolist(), self.shards.read(shards, samples[:, 1].tolist(), samples[:, 2].tolist())
        return rows.tolist(), [self._opened(block)[row].as_py() for block, row, _ in samples.tolist()]

    def _opened(self, block: int) -> Any:
        """Open a block and return its pictures (None for a tar); close the block that was used longest ago."""
        if block in self.open:
            self.open.move_to_end(block)
            return self.open[block]
        while len(self.open) >= self.window:
            self.open.popitem(last=False)
        shard, part = self.index.blocks[block].tolist()
        self.shards.check(shard)
        self.open[block] = None if self.shards.suffix == ".tar" else read_part(self.shards, shard, part)
        return self.open[block]

    def _decode(self, row: int, content: bytes) -> NDArray[np.uint8]:
        height, width, channels = self.shape[1:]
        try:
            return decode(content, height, width, grey=channels == 1)
        except BadImageError as error:
            block, place, _ = self.index.samples[row].tolist()
            shard, part = self.index.blocks[block].tolist()
            where = f"byte {place:,}" if self.shards.suffix == ".tar" else f"row {place} of row group {part}"
            raise DataError(
                f"The picture at {where} of {self.shards.paths[shard]} {error}. Write the shard again without it; "
                "gendi data check reads every picture."
            ) from error


def load_shards(place: str, size: tuple[int, int] | None = None, max_bad: int | None = None) -> Loaded:
    """Open the shards at a folder or a URL; nothing is decoded yet.

    Args:
        place: a folder, a file or an fsspec URL.
        size: (height, width) to which all pictures are brought; needed only if they differ in size.
        max_bad: how many pictures that cannot be read are skipped; by default 1%, at least one.

    Raises:
        DataError: there are no shards, one is damaged, or too many pictures cannot be read.
        UsageError: the pictures have several sizes and there is no `size`; or a package is not installed.
    """
    shards = list_shards(place)
    index = index_of(shards)
    _refuse_too_many(shards, index, max_bad)
    if size is None and len(index.sizes) > 1:
        common = sorted(index.sizes, key=lambda hw: (-index.sizes[hw], hw))[:3]
        raise UsageError(
            f"The pictures in {place} have {len(index.sizes):,} sizes (most often "
            f"{', '.join(f'{height} x {width}' for height, width in common)}): say what to bring them to, --size 64."
        )
    height, width = size or next(iter(index.sizes))
    if max(height, width) > LARGEST_SIDE:
        raise DataError(f"The pictures in {place} are {height} x {width}; a side may have at most {LARGEST_SIDE}.")
    return Loaded(
        ShardRows(shards, index, (height, width, 1 if index.grey else 3)),
        index.conditions,
        specs=index.specs,
        left_out=index.left_out,
        skipped=tuple(Skipped(Path(shards.paths[shard]) / name, reason) for shard, name, reason in index.bad),
        notes=_notes(shards, index, (height, width)),
    )


def held_in_memory(rows: ShardRows, whole: Split, chosen: NDArray[np.int64]) -> Split:
    """Return the chosen pictures, decoded once. If they do not fit in memory, they are kept in the cache folder."""

    def fill(out: NDArray[np.uint8]) -> dict[str, Any]:
        for start in range(0, len(chosen), _AT_ONCE):
            out[start : start + _AT_ONCE] = rows[chosen[start : start + _AT_ONCE]]
        return {}

    key = hashlib.sha256(repr((key_of(rows.shards), rows.shape, chosen.tolist())).encode()).hexdigest()[:32]
    pictures = build((len(chosen), *rows.shape[1:]), key, fill)[0]
    return Split(pictures, {name: values[chosen] for name, values in whole.conditions.items()})


def _refuse_too_many(shards: Shards, index: Index, max_bad: int | None) -> None:
    n = len(index.samples) + len(index.bad)
    limit = max(1, n // 100) if max_bad is None else max_bad
    if len(index.bad) <= limit:
        return
    lines = [f"  {shards.paths[shard]}, {name}: {reason}" for shard, name, reason in index.bad[:10]]
    if len(index.bad) > 10:
        lines.append(f"  ... and {len(index.bad) - 10} more")
    raise DataError(
        f"{len(index.bad)} of the {n} pictures in {shards.place} cannot be read, and at most {limit} are skipped. "
        "Write the shards without them, or allow more with --max-bad:\n" + "\n".join(lines)
    )


def _notes(shards: Shards, index: Index, target: tuple[int, int]) -> tuple[str, ...]:
    notes = left_out_note(shards.place, index.left_out)
    other = {size: count for size, count in index.sizes.items() if size != target}
    if other:
        notes += (
            f"{sum(other.values())} of {len(index.samples)} images have another size and are resized and cropped at "
            f"the centre to {target[0]} x {target[1]} (height x width) as they are read",
        )
    if larger := sum(count for size, count in other.items() if enlarged(size, target)):
        notes += (f"warning: {larger} of them are enlarged, which invents detail; a smaller --size avoids that",)
    if index.others:
        notes += (
            f"{index.others} member(s) of the shards are neither pictures nor descriptions of pictures, and were "
            "passed over",
        )
    return notes
