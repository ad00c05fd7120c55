"""Reading a folder of images: subfolders are classes, a table may add conditions, and a few bad files are skipped."""

import hashlib
import json
import os
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gendi.data.columns import Column, LeftOut, Notes, by_number
from gendi.data.images.condition_table import TABLES, read_table
from gendi.data.images.pixels import SUFFIXES, BadImageError, decode, enlarged, quiet, read_size
from gendi.data.split import LARGEST_SIDE, Loaded, Skipped, class_spec
from gendi.errors import DataError, Mend
from gendi.storage.file_rows import FileRows
from gendi.storage.store import build, say

_RULES = "1"  # changes when the same files would become other bytes
_AHEAD = 64
_SAY_EVERY = 5.0
_SIZE = re.compile(r"\d+ ?(?:[xX×] ?\d+|px)(?:@\dx)?")
"""Names of folders that are sizes: 32x32, 48 x 48, 64px, 16x16@2x."""


@dataclass(frozen=True)
class _Listing:
    """The image files by their paths below the folder, and what else was found."""

    files: tuple[Path, ...]
    others: int
    table: str | None


def load_folder(folder: Path, size: tuple[int, int] | None = None, max_bad: int | None = None) -> Loaded:
    """Read every image below `folder`.

    All images are brought to `size` (height, width), or else to the most common size (the smallest of several); images
    of another size are fitted by `gendi.data.images.pixels`. They are read as grey if the content of all of them is
    grey, else as RGB. The classes are the first-level subfolders in order (by value if all their names are numbers),
    unless there are images beside the subfolders. A table beside the images (`gendi.data.images.condition_table`) may
    add conditions.

    Args:
        folder: where to look, including subfolders and links to folders. Names that begin with a dot are passed over.
        size: height and width to which all images are brought.
        max_bad: how many unreadable images are skipped; by default 1% of them, at least one.

    Raises:
        DataError: no images, an unreadable subfolder, or more than `max_bad` unreadable images.
    """
    listing = list_images(folder)
    if not listing.files:
        raise DataError(
            f"{folder} holds no image (searched it and its subfolders for {', '.join(sorted(SUFFIXES))}; "
            f"{listing.others} other file(s) were passed over). Give the folder that holds the images, or rename them."
        )
    limit = max(1, len(listing.files) // 100) if max_bad is None else max_bad
    with quiet():
        return _decode_all(folder, listing, size, limit)


def list_images(folder: Path) -> _Listing:
    """Return the image files below `folder` in order of their relative paths.

    Raises `DataError` on an unreadable subfolder.
    """

    def unreadable(error: OSError) -> None:
        raise DataError(
            f"{error.filename} could not be read ({error.strerror}), and leaving a whole folder out would change the "
            "data unseen. Give it read permission, or move it elsewhere."
        ) from error

    files, others, seen = [], 0, set()
    for root, folders, names in os.walk(folder, onerror=unreadable, followlinks=True):
        here = Path(root)
        if (real := here.resolve()) in seen:  # a link that leads back up
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name != "__MACOSX")
        for name in names:
            if name.startswith("."):
                continue
            if Path(name).suffix.lower() in SUFFIXES:
                files.append((here / name).relative_to(folder))
            else:
                others += 1
    table = next((name for name in TABLES if (folder / name).is_file()), None)
    return _Listing(tuple(sorted(files, key=lambda path: path.as_posix())), others - (table is not None), table)


def _decode_all(folder: Path, listing: _Listing, size: tuple[int, int] | None, limit: int) -> Loaded:
    bad: dict[int, str] = {}
    sizes: dict[int, tuple[int, int]] = {}
    grey = True
    for i, found in _each(listing.files, lambda path: read_size(folder / path), "looked at"):
        if isinstance(found, BadImageError):
            bad[i] = str(found)
        else:
            sizes[i], grey = found[:2], grey and found[2]
    _refuse_too_many(folder, listing, bad, limit)
    common = Counter(sizes.values())
    height, width = size or min(common, key=lambda hw: (-common[hw], hw[0] * hw[1], hw))
    if max(height, width) > LARGEST_SIDE:
        raise DataError(
            f"The images in {folder} are {height} x {width}, and a side may have at most {LARGEST_SIDE} pixels. Give a "
            "--size."
        ).mended_by(Mend(add=("--size", "64")))
    rows = list(sizes)

    def fill(out: NDArray[np.uint8]) -> dict[str, Any]:
        wrong, kept, colour, blank = {}, 0, False, 0
        paths = [folder / listing.files[i] for i in rows]
        for k, pixels in _each(paths, lambda path: decode(path, height, width, grey=grey), "decoded"):
            if isinstance(pixels, BadImageError):
                wrong[rows[k]] = str(pixels)
                continue
            out[kept] = pixels
            kept += 1
            colour = colour or not (pixels == pixels[..., :1]).all()
            blank += height * width > 1 and bool((pixels == pixels[:1, :1]).all())
        return {"bad": wrong, "colour": colour, "blank": blank}

    key = _key(folder, listing, (height, width), grey)
    images, info = build((len(rows), height, width, 1 if grey else 3), key, fill)
    bad |= {int(i): reason for i, reason in info["bad"].items()}
    _refuse_too_many(folder, listing, bad, limit)
    good = [i for i in rows if i not in bad]
    if isinstance(images, FileRows):
        images = images.first(len(good))
        if images.shape[-1] == 3 and not info["colour"]:
            images = images.viewed(channels=1)
    else:
        images = images[: len(good)]
        if images.shape[-1] == 3 and not info["colour"]:
            images = np.ascontiguousarray(images[..., :1])
    files = [listing.files[i] for i in good]
    columns, left_out, notes = _conditions(folder, listing, files, [listing.files[i] for i in bad])
    skipped = tuple(Skipped(folder / listing.files[i], bad[i]) for i in sorted(bad))
    notes += _blank_notes(int(info.get("blank", 0)), len(good))
    notes += _size_notes([sizes[i] for i in good], (height, width))
    if listing.others:
        notes += (f"{listing.others} file(s) do not have the name of an image and were passed over",)
    return Loaded(
        images,
        {spec.name: rows for spec, rows in columns},
        specs=tuple(spec for spec, _ in columns),
        left_out=left_out,
        skipped=skipped,
        notes=notes,
    )


def _conditions(
    folder: Path, listing: _Listing, files: list[Path], skipped: list[Path]
) -> tuple[list[Column], LeftOut, Notes]:
    """Return the conditions of `files` from subfolders and the table; a class in the table replaces the subfolders'."""
    columns, notes = _classes(files)
    if listing.table is None:
        return columns, {}, notes
    columns_of_table, left_out, more = read_table(folder / listing.table, files, skipped)
    if columns and any(spec.name == "class" for spec, _ in columns_of_table):
        columns, more = [], (*more, f"the class is the one of {listing.table}, not that of the subfolders")
    return columns + columns_of_table, left_out, notes + more


def _each(paths: Iterable[Path], work: Callable[[Path], Any], verb: str) -> Iterable[tuple[int, Any]]:
    """Yield (i, work(path) or its `BadImageError`) in order. Threads do the work, as Pillow releases Python's lock."""

    def caught(path: Path) -> Any:
        try:
            return work(path)
        except BadImageError as error:
            return error

    todo = list(paths)
    said = time.monotonic()
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for start in range(0, len(todo), _AHEAD):
            yield from enumerate(pool.map(caught, todo[start : start + _AHEAD]), start)
            if time.monotonic() - said > _SAY_EVERY:
                said = time.monotonic()
                say(f"{verb} {min(start + _AHEAD, len(todo)):,} of {len(todo):,} images")


def _refuse_too_many(folder: Path, listing: _Listing, bad: dict[int, str], limit: int) -> None:
    if len(bad) <= limit and len(bad) < len(listing.files):
        return
    lines = [f"  {folder / listing.files[i]}: {bad[i]}" for i in sorted(bad)[:10]]
    if len(bad) > 10:
        lines.append(f"  ... and {len(bad) - 10} more")
    raise DataError(
        f"{len(bad)} of the {len(listing.files)} images in {folder} cannot be read, and at most {limit} are skipped. "
        "Mend or remove them, or allow more with --max-bad:\n" + "\n".join(lines)
    ).mended_by(*([Mend(add=("--max-bad", str(len(bad))))] if len(bad) < len(listing.files) else []))


def _classes(files: list[Path]) -> tuple[list[Column], Notes]:
    """Return the condition `class` of the first-level subfolders, if they are classes, and notes."""
    tops = [path.parts[0] if len(path.parts) > 1 else None for path in files]
    names = by_number(sorted({top for top in tops if top is not None}))
    if not names:
        return [], ()
    if None in tops:
        beside = ", ".join(names[:5])
        return [], (f"images lie beside the subfolder(s) {beside}: no classes are taken from folders",)
    notes: Notes = ()
    if len(names) > 1 and all(map(_SIZE.fullmatch, names)):
        notes = (
            f"warning: the subfolders {', '.join(names[:5])} look like sizes and not like classes, and may hold the "
            "same pictures several times; give one of them as the data, or train without classes (--condition none)",
        )
    number = {name: label for label, name in enumerate(names)}
    labels = np.array([number[top] for top in tops if top is not None], np.int64)
    return [(class_spec(_readable(names)), labels)], notes


def _readable(names: list[str]) -> list[str]:
    """Return names of folders as texts; where bytes are no UTF-8, a sign stands for them, or their numbers if need be.

    Two names that only differ in such bytes must not become one class.
    """
    raw = [os.fsencode(name) for name in names]
    texts = [name.decode(errors="replace") for name in raw]
    twice = {text for text, times in Counter(texts).items() if times > 1}
    return [name.decode(errors="backslashreplace") if t in twice else t for name, t in zip(raw, texts, strict=True)]


def _blank_notes(blank: int, whole: int) -> Notes:
    if not blank:
        return ()
    return (
        f"warning: {blank:,} of {whole:,} images are of a single colour, as white icons are on the white that "
        "transparency is laid over; move them away, or give them another background",
    )


def _size_notes(sizes: list[tuple[int, int]], target: tuple[int, int]) -> tuple[str, ...]:
    other = [size for size in sizes if size != target]
    if not other:
        return ()
    shown = f"{target[0]} x {target[1]} (height x width)"
    notes = [
        f"{len(other)} of {len(sizes)} images have another size and were resized and cropped at the centre to {shown}"
    ]
    if larger := sum(enlarged(size, target) for size in other):
        notes.append(f"warning: {larger} of them were enlarged, which invents detail; a smaller --size avoids that")
    return tuple(notes)


def _key(folder: Path, listing: _Listing, size: tuple[int, int], grey: bool) -> str:
    """Return a name for the decoded images, made from everything that decides their bytes."""
    described: list[Any] = [_RULES, str(folder.resolve()), size, grey]
    for path in listing.files:
        try:
            stat = (folder / path).stat()
            described.append((path.as_posix(), stat.st_size, stat.st_mtime_ns))
        except OSError:
            described.append((path.as_posix(), None, None))
    return hashlib.sha256(json.dumps(described).encode()).hexdigest()[:32]
