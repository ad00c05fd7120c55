"""Opens pictures: chooses the reader for a name or a path, holds pictures out of training, and makes the codec."""

import contextlib
import dataclasses
import difflib
from pathlib import Path

import numpy as np

from gendi.data.images.arrays import load_npy, load_npz
from gendi.data.images.codec import ImageCodec
from gendi.data.images.folder import load_folder
from gendi.data.images.hold_out import hold_out, hold_out_blocks
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
from gendi.data.images.shards import ShardRows, held_in_memory, load_shards
from gendi.data.images.sources import HUB, MIX, SHARDS
from gendi.data.kinds import claimed_by
from gendi.data.split import Loaded, Rows, Split, fingerprint
from gendi.diffusion.randomness import stream
from gendi.errors import DataError, Mend, UsageError
from gendi.storage.file_rows import ArrayRows, FileRows

LARGE = 128 * 128
"""For images of more pixels than this, a note suggests a smaller size."""


def open_images(spec: str, size: tuple[int, int] | None, max_bad: int | None) -> Loaded:
    """Return the pictures that `spec` names, with the held-out ones as the test set, and their codec.

    Arguments and errors are those of `gendi.data.open_data`.
    """
    if spec.startswith(MIX):
        return _open_mix(spec, size, max_bad)
    if spec.startswith(HUB):
        found = find_on_hub(spec)
        opened = _open_shards(spec, found.place, size, max_bad)
        return dataclasses.replace(opened, name=found.name, notes=found.notes + opened.notes)
    if (place := _place_of_shards(spec)) is not None:
        return _open_shards(spec, place, size, max_bad)
    path, loaded = _load(spec, size, max_bad)
    notes = loaded.notes
    whole, test = Split(loaded.rows, loaded.conditions), loaded.test
    if size is not None and whole.rows.shape[1:3] != size:
        key = spec if path is None else file_key(path)
        old, whole = whole.rows.shape[1:3], _resized(whole, size, key)
        notes += (f"images of {old[0]} x {old[1]} were brought to {size[0]} x {size[1]} (height x width)",)
        test = test and _resized(test, size, f"{key}-test")
    if test is None:
        train, heldout, more = hold_out(_array_rows(whole.rows), whole.conditions, stream(0, "heldout"))
        notes += more
    else:
        train, heldout = whole, test
    _, height, width, channels = train.rows.shape
    if size is None and height * width > LARGE:
        notes += (f"images of {height} x {width} (height x width) take long to learn; --size 64 would be a start",)
    return dataclasses.replace(
        loaded,
        rows=train.rows,
        conditions=train.conditions,
        test=heldout,
        notes=notes,
        codec=ImageCodec(channels, height, width),
        name=spec if path is None else path.resolve().name or spec,
    )


def _open_mix(spec: str, size: tuple[int, int] | None, max_bad: int | None) -> Loaded:
    places = spec.removeprefix(MIX).split(",")
    if len(places) < 2 or not all(places):
        raise UsageError(f"{spec}: sources to mix are written mix:ONE,TWO, with a comma between them.")
    if others := [place for place in places if claimed_by(place) is not None]:
        raise UsageError(f"mix: is for pictures; {others[0]} holds none.")
    sources = [open_images(place, size, max_bad) for place in places]
    check_one_form(places, [source.rows.shape[1:] for source in sources])
    kept, left_out, numbers = common_conditions(places, [source.specs for source in sources])
    parts = zip(*map(_parts, sources), strict=True)
    train, heldout = (joined(splits, gathered_conditions(kept, numbers, splits)) for splits in parts)
    return Loaded(
        train.rows,
        train.conditions,
        test=heldout,
        specs=kept,
        left_out=left_out | {name: why for source in sources for name, why in source.left_out.items()},
        skipped=tuple(skipped for source in sources for skipped in source.skipped),
        notes=tuple(f"{place}: {note}" for place, source in zip(places, sources, strict=True) for note in source.notes),
        codec=sources[0].codec,
        name=mixed_name([source.name for source in sources]),
        blocks=train.blocks,
        fingerprint=mixed_fingerprint([each.fingerprint or fingerprint(*_parts(each)) for each in sources]),
    )


def _parts(loaded: Loaded) -> tuple[Split, Split]:
    """Return the training pictures and the held-out pictures."""
    assert loaded.test is not None
    return Split(loaded.rows, loaded.conditions, loaded.blocks), loaded.test


def _place_of_shards(spec: str) -> str | None:
    """Return the folder or the URL of shards, or None if `spec` names something else."""
    if spec.startswith(SHARDS):
        return spec.removeprefix(SHARDS)
    try:
        folder = Path(spec).expanduser()
        return str(folder) if spec and spec not in KNOWN and folder.is_dir() and holds_shards(folder) else None
    except (OSError, RuntimeError):  # the reader that is chosen below reports the error
        return None


def _open_shards(spec: str, place: str, size: tuple[int, int] | None, max_bad: int | None) -> Loaded:
    loaded = load_shards(place, size, max_bad)
    rows = loaded.rows
    assert isinstance(rows, ShardRows)
    whole = Split(rows, loaded.conditions, rows.index.boundaries)
    train, chosen, notes = hold_out_blocks(whole, stream(0, "heldout"))
    _, height, width, channels = rows.shape
    return dataclasses.replace(
        loaded,
        rows=train.rows,
        conditions=train.conditions,
        test=held_in_memory(rows, whole, chosen),
        notes=loaded.notes + notes,
        codec=ImageCodec(channels, height, width),
        name=place.rstrip("/").rpartition("/")[2] or spec,
        blocks=train.blocks,
        fingerprint=rows.fingerprint(),
    )


def _resized(split: Split, target: tuple[int, int], key: str) -> Split:
    """Return images, and the pictures among their conditions, fitted to `target` (height, width)."""
    conditions = {
        name: np.asarray(resize(rows, *target, f"{key}-{name}")) if rows.ndim == 4 else rows
        for name, rows in split.conditions.items()
    }
    return Split(resize(_array_rows(split.rows), *target, key), conditions)


def _array_rows(rows: Rows) -> ArrayRows:
    """Return rows as an array, unless they are in a file."""
    return rows if isinstance(rows, FileRows) else rows[:]


def _load(spec: str, size: tuple[int, int] | None, max_bad: int | None) -> tuple[Path | None, Loaded]:
    if spec in KNOWN:
        return None, load_known(KNOWN[spec])
    path = _existing(spec)
    try:
        if path.is_dir():
            if idx_files(path):
                return path, load_idx_folder(path)
            return path, load_folder(path, size, max_bad)
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
    here: list[str] = []
    with contextlib.suppress(OSError):
        here += (str(each) for each in path.parent.iterdir() if not each.name.startswith("."))
    near = difflib.get_close_matches(spec.lower(), KNOWN, n=1) or difflib.get_close_matches(str(path), here, n=1)
    hint = f" Perhaps you meant {near[0]!r}." if near else ""
    raise DataError(
        f"There is no data set, file or folder {spec!r} (looked in {Path.cwd()}).{hint} Known names: "
        f"{', '.join(KNOWN)}; else give the path of a folder of images or of idx files, or of a .npy or .npz file."
    ).mended_by(*(Mend(put={spec: name}) for name in near))
