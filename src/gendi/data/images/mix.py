"""Several sources of pictures as one data set: `mix:photos/,more/,shards:s3://bucket/images`.

The rows of the sources stand one after another and are drawn like the rows of one source, so a larger source is seen
more often. All sources must have pictures of the same height, width and channels; --size brings them to one size.
Classes are matched by their names. Conditions that some source lacks are left out. Each source holds out its own share.
"""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gendi.data.split import Split, class_names, class_spec
from gendi.diffusion.config import ConditionConfig
from gendi.errors import DataError


class JoinedRows:
    """The rows of several sources, one after another, as `gendi.data.split.Rows`; nothing is copied."""

    def __init__(self, parts: Sequence[Any]) -> None:
        self.parts = parts
        self.ends = np.cumsum([len(part) for part in parts])
        self.shape = (int(self.ends[-1]), *parts[0].shape[1:])
        self.dtype = parts[0].dtype

    @property
    def nbytes(self) -> int:
        """The bytes that all rows take, or would take as one array."""
        return sum(int(part.nbytes) for part in self.parts)

    def __len__(self) -> int:
        return int(self.ends[-1])

    def __getitem__(self, index: Any, /) -> NDArray[Any]:
        """Return the rows at `index`, which can be whatever an array accepts."""
        picked = np.arange(len(self))[index] if isinstance(index, slice) else np.asarray(index)
        if picked.dtype == np.bool_:
            picked = np.flatnonzero(picked)
        flat = picked.astype(np.int64).ravel()
        if len(flat) and not (-len(self) <= flat.min() and flat.max() < len(self)):
            raise IndexError(f"there are {len(self)} rows")
        flat = flat % len(self)
        source = np.searchsorted(self.ends, flat, "right")
        out = np.empty((len(flat), *self.shape[1:]), self.dtype)
        for k in np.unique(source).tolist():
            mine = source == k
            out[mine] = self.parts[k][flat[mine] - (self.ends[k - 1] if k else 0)]
        return out.reshape(*picked.shape, *self.shape[1:])


def joined(splits: Sequence[Split], conditions: Mapping[str, NDArray[Any]]) -> Split:
    """Return the rows of `splits` one after another, with these `conditions`.

    If any of the sources has blocks (shards), so has the result; a source without blocks then becomes one block.
    """
    blocks = None
    if any(split.blocks is not None for split in splits):
        starts = np.cumsum([0, *(len(split) for split in splits)])
        inner = [np.array([0, len(split)]) if split.blocks is None else split.blocks for split in splits]
        blocks = np.concatenate([[0], *(start + each[1:] for start, each in zip(starts, inner, strict=False))])
    return Split(JoinedRows([split.rows for split in splits]), conditions, blocks)


def common_conditions(
    names: Sequence[str], specs: Sequence[Sequence[ConditionConfig]]
) -> tuple[tuple[ConditionConfig, ...], dict[str, str], list[NDArray[np.int64]]]:
    """Return the conditions that all sources have, what is left out and why, and each source's numbers of the classes.

    Args:
        names: the names of the sources.
        specs: the conditions of each source.
    """
    classes = sorted({name for each in specs for name in class_names(each)})
    numbers = [np.array([classes.index(name) for name in class_names(each)], np.int64) for each in specs]
    known = [{spec.name: spec for spec in each} for each in specs]
    kept, left_out = [], {}
    for name in dict.fromkeys(name for each in known for name in each):
        without = [source for source, each in zip(names, known, strict=True) if name not in each]
        forms = {_form(each[name]) for each in known if name in each}
        if without:
            left_out[name] = f"{', '.join(without)} does not have it"
        elif len(forms) > 1:
            left_out[name] = "the sources have it in different forms"
        else:
            kept.append(class_spec(classes) if name == "class" else known[0][name])
    return tuple(kept), left_out, numbers


def _form(spec: ConditionConfig) -> tuple[object, ...]:
    return (spec.kind,) if spec.name == "class" else (spec.kind, spec.size, spec.names)


def gathered_conditions(
    kept: Sequence[ConditionConfig], numbers: Sequence[NDArray[np.int64]], splits: Sequence[Split]
) -> dict[str, NDArray[Any]]:
    """Return the conditions of the rows of all splits. Classes get their numbers among all sources; null stays -1."""
    found = {}
    for spec in kept:
        rows = [split.conditions[spec.name] for split in splits]
        if spec.name == "class":
            rows = [np.where(labels < 0, -1, number[labels]) for labels, number in zip(rows, numbers, strict=True)]
        found[spec.name] = np.concatenate(rows)
    return found


def check_one_form(names: Sequence[str], shapes: Sequence[tuple[int, ...]]) -> None:
    """Raise `DataError` naming two sources whose pictures differ in height, width or channels."""
    for name, shape in zip(names, shapes, strict=True):
        if shape != shapes[0]:
            wanted, found = (f"{h} x {w} with {c} channel(s)" for h, w, c in (shapes[0], shape))
            raise DataError(
                f"The pictures of {names[0]} are {wanted}, those of {name} {found}. Bring them to one size by --size; "
                "grey and coloured pictures cannot be mixed."
            )


def mixed_fingerprint(fingerprints: Sequence[str]) -> str:
    """Return the fingerprint of several sources in this order."""
    return hashlib.sha256("\n".join(fingerprints).encode()).hexdigest()


def mixed_name(names: Sequence[str]) -> str:
    """Return what to call the mixture of sources."""
    return "+".join(Path(name).name or name for name in names)
