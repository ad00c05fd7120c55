"""The index of shards: where every picture is, and its conditions. With it, pictures can be read by their numbers.

One pass over the shards builds the index. It is kept in the cache folder, under a name made from the names, sizes and
times or tags of the shards. It takes 24 bytes for each picture, and 4 to 8 more for each condition.
"""

import dataclasses
import hashlib
import json
import os
import time
import zipfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gendi.data.columns import Column, LeftOut, NoConditionError, condition_name, from_array, from_words
from gendi.data.images.condition_table import kind_of_cells
from gendi.data.images.shard_files import Shards
from gendi.data.images.shard_formats import Contents, cell_of, scan
from gendi.diffusion.config import ConditionConfig
from gendi.errors import DataError
from gendi.storage.files import atomic_write, encode_json
from gendi.storage.store import cache_dir, say

LONGEST_TEXT = 200
"""A column with a text of more characters is not a condition, because captions would fill the memory."""
_RULES = "1"  # changes when the same shards would get another index
_SAY_EVERY = 5.0


@dataclass(frozen=True, eq=False)
class Index:
    """Where N pictures are, and their conditions."""

    samples: NDArray[np.int64]
    """(N, 3): block, byte in the tar or row in the row group, size in bytes; in order of the blocks."""
    blocks: NDArray[np.int64]
    """(K, 2): shard and row group (0 in a tar) of each block."""
    conditions: dict[str, NDArray[Any]]
    specs: tuple[ConditionConfig, ...]
    sizes: dict[tuple[int, int], int]
    """How many pictures have each (height, width)."""
    grey: bool
    left_out: LeftOut
    bad: tuple[tuple[int, str, str], ...]
    """(shard, name, reason) of each picture that cannot be read."""
    others: int

    @property
    def boundaries(self) -> NDArray[np.int64]:
        """(K + 1,): block k has the pictures from boundaries[k] to boundaries[k + 1]."""
        return np.searchsorted(self.samples[:, 0], np.arange(len(self.blocks) + 1)).astype(np.int64)


def index_of(shards: Shards) -> Index:
    """Return the index of shards, from the cache if it is there.

    Raises:
        DataError: a shard is damaged, the shards have different columns, or they hold no picture.
    """
    path = cache_dir() / "shards" / f"{key_of(shards)}.npz"
    if path.is_file():
        try:
            return _from_bytes(path.read_bytes())
        except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile):
            say(f"{path} is damaged: indexing the shards again")
    found = _build(shards)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(path, _to_bytes(found))
    except OSError as error:
        say(f"the index of the shards could not be kept in {path}, and will be made again next time: {error}")
    return found


def key_of(shards: Shards) -> str:
    """Return a name for the index, made from everything that decides it."""
    described = [_RULES, shards.place, shards.paths, shards.stamps]
    return hashlib.sha256(json.dumps(described).encode()).hexdigest()[:32]


class _Cells:
    """The values of the conditions of the samples so far, column by column. Equal texts are kept only once."""

    def __init__(self) -> None:
        self.rows = 0
        self.columns: dict[str, list[Any]] = {}
        self.kinds: dict[str, str] = {}
        self.left_out: LeftOut = {}
        self._known: dict[str, str] = {}

    def add(self, row: dict[str, Any], whole: set[str]) -> None:
        """Add a row; the columns in `whole` hold the numbers of classes."""
        for name, value in row.items():
            if name in self.left_out:
                continue
            try:
                cell: Any = (-1 if value is None else int(value)) if name in whole else self._cell(name, value)
            except ValueError as error:
                self.left_out[name] = str(error)
                self.columns.pop(name, None)
                continue
            column = self.columns.setdefault(name, [])
            column.extend([-1 if name in whole else ""] * (self.rows - len(column)))
            column.append(cell)
        self.rows += 1

    def _cell(self, name: str, value: Any) -> str:
        cell, kind = cell_of(value)
        if len(cell) > LONGEST_TEXT and kind != "vector":
            raise ValueError(f"it has texts of more than {LONGEST_TEXT} characters")
        if kind is not None:
            self.kinds.setdefault(name, kind)
        return self._known.setdefault(cell, cell)

    def conditions(self, names: dict[str, list[str]]) -> list[Column]:
        """Return the columns as conditions; a column `label` of classes becomes the condition `class`."""
        found: dict[str, Column] = {}
        for title, column in self.columns.items():
            column.extend([-1 if title in names else ""] * (self.rows - len(column)))
            try:
                name = condition_name("class" if title == "label" and "class" not in self.columns else title)
                if name in found:
                    raise NoConditionError(f"another column is called {name}")
                if title in names:
                    found[name] = from_array(name, np.array(column, np.int64), names[title])
                else:
                    kind: Any = self.kinds.get(title) or kind_of_cells(name, column)
                    found[name] = from_words(name, column, kind)
            except NoConditionError as error:
                self.left_out[title] = str(error)
        return list(found.values())


def _build(shards: Shards) -> Index:
    cells, sizes = _Cells(), Counter[tuple[int, int]]()
    samples: list[NDArray[np.int64]] = []
    blocks: list[tuple[int, int]] = []
    bad: list[tuple[int, str, str]] = []
    grey, others = True, 0
    names: dict[str, list[str]] = {}
    columns: tuple[str, ...] = ()
    said = time.monotonic()
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for shard, found in enumerate(pool.map(lambda shard: scan(shards, shard), range(len(shards.paths)))):
            if shard and found.columns != columns:
                _refuse_columns(shards, shard, found, columns)
            columns, names = found.columns, found.class_names
            where = np.array(found.samples, np.int64).reshape(-1, 3)
            samples.append(where + np.array([len(blocks), 0, 0]))
            blocks += [(shard, part) for part in range(found.parts)]
            for row in found.values:
                cells.add(row, set(names))
            sizes.update(found.sizes)
            bad += [(shard, name, reason) for name, reason in found.bad]
            grey, others = grey and found.grey, others + found.others
            if time.monotonic() - said > _SAY_EVERY:
                said = time.monotonic()
                say(f"indexed {shard + 1:,} of {len(shards.paths):,} shards, {cells.rows:,} pictures")
    if not cells.rows:
        reason = f" For instance {bad[0][1]} of {shards.paths[bad[0][0]]}: {bad[0][2]}." if bad else ""
        raise DataError(f"The {len(shards.paths)} shard(s) in {shards.place} hold no picture.{reason}")
    known = cells.conditions(names)
    return Index(
        np.concatenate(samples),
        np.array(blocks, np.int64),
        {spec.name: rows for spec, rows in known},
        tuple(spec for spec, _ in known),
        dict(sizes),
        grey,
        cells.left_out,
        tuple(bad),
        others,
    )


def _refuse_columns(shards: Shards, shard: int, found: Contents, columns: tuple[str, ...]) -> None:
    raise DataError(
        f"{shards.paths[shard]} has the columns {', '.join(found.columns)}, and the shard before it "
        f"{', '.join(columns)}. Shards of one data set must have the same columns, of the same types."
    )


def _to_bytes(index: Index) -> bytes:
    about = {
        "specs": [dataclasses.asdict(spec) for spec in index.specs],
        "sizes": [[*size, count] for size, count in index.sizes.items()],
        "grey": index.grey,
        "left_out": index.left_out,
        "bad": index.bad,
        "others": index.others,
    }
    file = BytesIO()
    arrays = {f"condition/{name}": rows for name, rows in index.conditions.items()}
    text = np.frombuffer(encode_json(about).encode(), np.uint8)
    np.savez(file, samples=index.samples, blocks=index.blocks, about=text, **arrays)  # type: ignore[arg-type]
    return file.getvalue()


def _from_bytes(data: bytes) -> Index:
    with np.load(BytesIO(data), allow_pickle=False) as arrays:
        about = json.loads(arrays["about"].tobytes())
        specs = tuple(ConditionConfig(**{**spec, "names": tuple(spec["names"])}) for spec in about["specs"])
        return Index(
            arrays["samples"],
            arrays["blocks"],
            {spec.name: arrays[f"condition/{spec.name}"] for spec in specs},
            specs,
            {(height, width): count for height, width, count in about["sizes"]},
            about["grey"],
            about["left_out"],
            tuple((shard, name, reason) for shard, name, reason in about["bad"]),
            about["others"],
        )
