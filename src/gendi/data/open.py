"""`open_data`: from a name or a path to training rows, held-out rows and, of pictures, a codec."""

import dataclasses
import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from gendi.data.codec import ImageCodec
from gendi.data.columns import measured
from gendi.data.images.arrays import load_npy, load_npz
from gendi.data.images.folder import load_folder
from gendi.data.images.hub import find_on_hub
from gendi.data.images.idx_folder import idx_files, load_idx_folder
from gendi.data.images.mix import (
    check_one_form,
    common_conditions,
    gathered_conditions,
    joined,
    mixed_fingerprint,
    mixed_name,
)
from gendi.data.images.mnist import KNOWN, load_known
from gendi.data.images.numpy_files import file_key
from gendi.data.images.pixels import resize
from gendi.data.images.shard_files import holds_shards
from gendi.data.images.shards import held_in_memory, load_shards
from gendi.data.kinds import kind_of
from gendi.data.sources import HUB, MIX, SHARDS, kind_of_object, named_kind
from gendi.data.split import (
    LARGEST_SIDE,
    Loaded,
    Skipped,
    Split,
    class_names,
    fingerprint,
    hold_out,
    hold_out_blocks,
    hold_out_rows,
)
from gendi.data.vectors import VectorCodec
from gendi.diffusion.config import ConditionConfig
from gendi.diffusion.randomness import stream
from gendi.errors import DataError, UsageError

LARGE = 128 * 128
"""Pixels of an image beyond which a smaller size is suggested."""


@dataclass(frozen=True, eq=False)
class Data:
    """Rows ready to train on and to measure against.

    `heldout` is the data's own test set, or 5% of the images (at least 1, at most 1000), of cells and tables 20%, drawn
    by a stream that depends on nothing else, so that every run holds out the same ones. `conditions` says what is known
    of each row and can be told to a network, `left_out` what cannot and why. `fingerprint` is the SHA-256 of both parts
    (`gendi.data.split.fingerprint`).

    The codec of pictures is known at once; that of other kinds is fitted by `gendi.data.prepare.prepare`, and is None
    before. `schema` is what their readers know of the rows. `encoded`: the rows are vectors in model space already.
    """

    name: str
    spec: str
    train: Split
    heldout: Split
    conditions: tuple[ConditionConfig, ...]
    fingerprint: str
    codec: Any
    """A `gendi.data.codec.Codec`, or None."""
    skipped: tuple[Skipped, ...]
    notes: tuple[str, ...]
    left_out: Mapping[str, str] = field(default_factory=dict)
    kind: str = "image"
    schema: Any = None
    encoded: bool = False

    def encode(self, rows: Tensor, cond: Mapping[str, Tensor], index: Tensor) -> Tensor:
        """Map a batch of rows, of which `cond` is told and whose numbers are `index`, to model space."""
        if self.encoded:
            return rows
        x_0: Tensor
        x_0 = self.codec.encode(rows, cond, index) if isinstance(self.codec, VectorCodec) else self.codec.encode(rows)
        return x_0

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names of the classes; empty when there are no labels."""
        return class_names(self.conditions)


def open_data(spec: Any, *, size: int | tuple[int, int] | None = None, max_bad: int | None = None) -> Data:
    """Open a data set.

    Args:
        spec: `mnist`, `fashion-mnist`, a folder of idx files, a `.npy`, an `.npz`, or a folder of images (subfolders
            are classes, a table tells more). A name wins over a folder of the same name; write `./mnist` for it. A
            folder of shards (.tar, .parquet), or `shards:` and a folder, a file or a URL (`gendi.data.images.shards`),
            or `hf:OWNER/NAME` (`gendi.data.images.hub`), or several of these, `mix:ONE,TWO` (`gendi.data.images.mix`).
            Or cells or a table, as a path or an object (see `gendi.data.sources`).
        size: (height, width), or one number for both, to bring all images to; the images' own by default.
        max_bad: how many unreadable files of a folder or members of shards are skipped; by default 1%, at least one.

    Raises:
        DataError: the data are missing, unreachable or bad; the text says where, why and how to mend it.
        UsageError: a size or a limit that cannot be.
        ResourceError: neither the memory nor the disk holds the images.
    """
    target = _target(size)
    if max_bad is not None and max_bad < 0:
        raise UsageError(f"max_bad = {max_bad} is out of range: it is a number of files, 0 or more.")
    if (vectors := _open_vectors(spec, target)) is not None:
        return vectors
    if spec.startswith(MIX):
        return _open_mix(spec, size, max_bad)
    if spec.startswith(HUB):
        found = find_on_hub(spec)
        opened = _open_shards(spec, found.place, target, max_bad)
        return dataclasses.replace(opened, name=found.name, notes=found.notes + opened.notes)
    if (place := _place_of_shards(spec)) is not None:
        return _open_shards(spec, place, target, max_bad)
    path, loaded = _load(spec, target, max_bad)
    notes = loaded.notes
    whole, test = Split(loaded.rows, loaded.conditions), loaded.test
    if target is not None and whole.rows.shape[1:3] != target:
        key = spec if path is None else file_key(path)
        old, whole = whole.rows.shape[1:3], _resized(whole, target, key)
        notes += (f"images of {old[0]} x {old[1]} were brought to {target[0]} x {target[1]} (height x width)",)
        test = test and _resized(test, target, f"{key}-test")
    if test is None:
        train, heldout, more = hold_out(whole.rows, whole.conditions, stream(0, "heldout"))
        notes += more
    else:
        train, heldout = whole, test
    _, height, width, channels = train.rows.shape
    if target is None and height * width > LARGE:
        notes += (f"images of {height} x {width} (height x width) take long to learn; --size 64 would be a start",)
    return Data(
        name=spec if path is None else path.resolve().name or spec,
        spec=spec,
        train=train,
        heldout=heldout,
        conditions=tuple(measured(known, train.conditions[known.name]) for known in loaded.specs),
        fingerprint=fingerprint(train, heldout),
        codec=ImageCodec(channels, height, width),
        skipped=loaded.skipped,
        notes=notes,
        left_out=loaded.left_out,
    )


def _open_vectors(spec: Any, target: tuple[int, int] | None) -> Data | None:
    """Return cells or a table, or None if `spec` names pictures."""
    named = named_kind(spec)
    if named is None and isinstance(spec, str):
        return None
    if target is not None:
        raise UsageError(f"--size is for pictures; {spec if named else 'an object in memory'} has none.")
    kind, place, options = named or (kind_of_object(spec), "an object in memory", {})
    loaded = kind_of(kind).open_path(place, options) if named else kind_of(kind).open_object(spec)
    train, heldout, notes = hold_out_rows(Split(loaded.rows, loaded.conditions), loaded.specs, stream(0, "heldout"))
    return Data(
        name=Path(place).stem if named else kind,
        spec=spec if named else place,
        train=train,
        heldout=heldout,
        conditions=tuple(measured(known, train.conditions[known.name]) for known in loaded.specs),
        fingerprint=fingerprint(train, heldout),
        codec=None,
        skipped=loaded.skipped,
        notes=loaded.notes + notes,
        left_out=loaded.left_out,
        kind=kind,
        schema=loaded.schema,
    )


def _open_mix(spec: str, size: int | tuple[int, int] | None, max_bad: int | None) -> Data:
    places = spec.removeprefix(MIX).split(",")
    if len(places) < 2 or not all(places):
        raise UsageError(f"{spec}: sources to mix are written mix:ONE,TWO, with a comma between them.")
    sources = [open_data(place, size=size, max_bad=max_bad) for place in places]
    if vectors := [place for place, source in zip(places, sources, strict=True) if source.kind != "image"]:
        raise UsageError(f"mix: is for pictures; {vectors[0]} holds none.")
    check_one_form(places, [source.train.rows.shape[1:] for source in sources])
    kept, left_out, numbers = common_conditions(places, [source.conditions for source in sources])
    parts = [[source.train for source in sources], [source.heldout for source in sources]]
    train, heldout = (joined(splits, gathered_conditions(kept, numbers, splits)) for splits in parts)
    return Data(
        name=mixed_name([source.name for source in sources]),
        spec=spec,
        train=train,
        heldout=heldout,
        conditions=tuple(measured(known, train.conditions[known.name]) for known in kept),
        fingerprint=mixed_fingerprint([source.fingerprint for source in sources]),
        codec=sources[0].codec,
        skipped=tuple(skipped for source in sources for skipped in source.skipped),
        notes=tuple(f"{place}: {note}" for place, source in zip(places, sources, strict=True) for note in source.notes),
        left_out=left_out | {name: why for source in sources for name, why in source.left_out.items()},
    )


def _place_of_shards(spec: str) -> str | None:
    """Return the folder or the URL of shards, or None if `spec` names something else."""
    if spec.startswith(SHARDS):
        return spec.removeprefix(SHARDS)
    try:
        folder = Path(spec).expanduser()
        return str(folder) if spec and spec not in KNOWN and folder.is_dir() and holds_shards(folder) else None
    except (OSError, RuntimeError):  # whoever reads it next says what is wrong
        return None


def _open_shards(spec: str, place: str, target: tuple[int, int] | None, max_bad: int | None) -> Data:
    loaded = load_shards(place, target, max_bad)
    rows = loaded.rows
    whole = Split(rows, loaded.conditions, rows.index.boundaries)
    train, chosen, notes = hold_out_blocks(whole, stream(0, "heldout"))
    _, height, width, channels = rows.shape
    return Data(
        name=place.rstrip("/").rpartition("/")[2] or spec,
        spec=spec,
        train=train,
        heldout=held_in_memory(rows, whole, chosen),
        conditions=tuple(measured(known, train.conditions[known.name]) for known in loaded.specs),
        fingerprint=rows.fingerprint(),
        codec=ImageCodec(channels, height, width),
        skipped=loaded.skipped,
        notes=loaded.notes + notes,
        left_out=loaded.left_out,
    )


def _resized(split: Split, target: tuple[int, int], key: str) -> Split:
    """Return images, and the pictures among the conditions, fitted to `target`, height and width."""
    conditions = {
        name: resize(rows, *target, f"{key}-{name}") if rows.ndim == 4 else rows
        for name, rows in split.conditions.items()
    }
    return Split(resize(split.rows, *target, key), conditions)


def _target(size: int | tuple[int, int] | None) -> tuple[int, int] | None:
    if size is None:
        return None
    height, width = (size, size) if isinstance(size, int) else size
    if not (1 <= height <= LARGEST_SIDE and 1 <= width <= LARGEST_SIDE):
        raise UsageError(f"size = {size} is out of range: height and width must lie between 1 and {LARGEST_SIDE}.")
    return height, width


def _load(spec: str, target: tuple[int, int] | None, max_bad: int | None) -> tuple[Path | None, Loaded]:
    if spec in KNOWN:
        return None, load_known(KNOWN[spec])
    path = _existing(spec)
    try:
        if path.is_dir():
            if idx_files(path):
                return path, load_idx_folder(path)
            return path, load_folder(path, target, max_bad)
        suffix = path.suffix.lower()
        if path.is_file() and suffix in {".npy", ".npz"}:
            return path, (load_npy if suffix == ".npy" else load_npz)(path)
    except OSError as error:
        raise DataError(f"{path} could not be read: {error}. Check the path and its permissions.") from error
    raise DataError(
        f"{path} is a file, and no .npy or .npz. Data are a name ({', '.join(KNOWN)}), a folder of images or of idx "
        "files, or a .npy or .npz file; for a single image, give the folder that holds it."
    )


def _existing(spec: str) -> Path:
    try:
        path = Path(spec).expanduser()
        if spec and path.exists():
            return path
    except (OSError, RuntimeError) as error:  # too long, not allowed, no such user
        raise DataError(f"{spec!r} could not be looked up: {error}. Check the path.") from error
    if path.is_symlink():
        raise DataError(f"{path} is a broken link: it points to {path.readlink()}, which is not there. Mend the link.")
    near = difflib.get_close_matches(spec.lower(), KNOWN, n=1)
    hint = f" Perhaps you meant {near[0]!r}." if near else ""
    raise DataError(
        f"There is no data set, file or folder {spec!r} (looked in {Path.cwd()}).{hint} Known names: "
        f"{', '.join(KNOWN)}; else give the path of a folder of images or of idx files, or of a .npy or .npz file."
    )
