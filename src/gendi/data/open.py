"""`open_data`: training rows, held-out rows and their conditions, from a name, a path or an object."""

from typing import Any

from gendi.data.columns import with_statistics
from gendi.data.dataset import Data
from gendi.data.groups import groups_of, hold_out_groups
from gendi.data.kinds import IN_MEMORY, as_text, find_kind
from gendi.data.sources import SPLIT_BY, split_column, with_split
from gendi.data.split import LARGEST_SIDE, Split, fingerprint, hold_out_rows
from gendi.diffusion.randomness import stream
from gendi.errors import UsageError


def open_data(
    spec: Any,
    *,
    size: int | tuple[int, int] | None = None,
    max_bad: int | None = None,
    split_by: str | None = None,
) -> Data:
    """Open a data set.

    Args:
        spec: `mnist` or `fashion-mnist`; a folder of idx files; a `.npy` or `.npz` file; a folder of images, where
            subfolders are classes and a table may add other conditions; a folder of shards (.tar, .parquet), or
            `shards:` and a folder, a file or a URL (`gendi.data.images.shards`); `hf:OWNER/NAME`
            (`gendi.data.images.hub`); several of these, as `mix:ONE,TWO` (`gendi.data.images.mix`); or a path or an
            object of another kind of data (`gendi.data.kinds`), such as cells (several as a list) or a table. A known
            name takes precedence over a folder of the same name; write `./mnist` for the folder.
        size: (height, width), or one number for both, to which all images are resized; by default their own size.
        max_bad: how many unreadable files of a folder or members of shards are skipped; by default 1%, at least one.
        split_by: for cells and tables, the column whose groups are held out whole, such as donors. A text can say so
            too: `people.csv?split-by=donor`.

    Raises:
        DataError: the data are missing, unreachable or bad; the text says where, why and how to repair it.
        UsageError: a size or a limit that is out of range.
        ResourceError: neither the memory nor the disk can hold the images.
    """
    target, spec = _target(size), as_text(spec)
    if max_bad is not None and max_bad < 0:
        raise UsageError(f"max_bad = {max_bad} is out of range: it is a number of files, 0 or more.")
    if split_by is not None and isinstance(spec, str):
        spec = with_split(spec, split_by)
    kind, named = find_kind(spec), isinstance(spec, str)
    split_by = split_by or split_column(spec)
    if split_by is not None and SPLIT_BY not in kind.source_options:
        raise UsageError(f"--split-by is for cells and tables, which have columns; these are {kind.title}.")
    if target is not None and not kind.pictures:
        raise UsageError(f"--size is for pictures; {spec if named else IN_MEMORY} has none.")
    loaded = kind.open(spec, target, max_bad)
    train, heldout, notes = Split(loaded.rows, loaded.conditions, loaded.blocks), loaded.test, loaded.notes
    if split_by is not None:
        groups = groups_of(loaded, split_by, kind.title)
        train, heldout, more = hold_out_groups(train, groups, stream(0, "heldout groups"))
        notes += more
    elif heldout is None:
        train, heldout, more = hold_out_rows(train, loaded.specs, stream(0, "heldout"))
        notes += more
    return Data(
        name=loaded.name,
        spec=spec if named else IN_MEMORY,
        train=train,
        heldout=heldout,
        conditions=tuple(with_statistics(known, train.conditions[known.name]) for known in loaded.specs),
        fingerprint=loaded.fingerprint or fingerprint(train, heldout),
        codec=loaded.codec,
        skipped=loaded.skipped,
        notes=notes,
        left_out=loaded.left_out,
        kind=kind.name,
        schema=loaded.schema,
        split_by=split_by or "",
        preview=kind.preview if kind.previews else None,
    )


def _target(size: int | tuple[int, int] | None) -> tuple[int, int] | None:
    if size is None:
        return None
    height, width = (size, size) if isinstance(size, int) else size
    if not (1 <= height <= LARGEST_SIDE and 1 <= width <= LARGEST_SIDE):
        raise UsageError(f"size = {size} is out of range: height and width must lie between 1 and {LARGEST_SIDE}.")
    return height, width
