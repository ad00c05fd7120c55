"""Chooses the pictures that are held out of training; they are the same in every run."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gendi.data.split import Rows, RowView, Split, part_of
from gendi.storage.file_rows import ArrayRows, FileRows

HELDOUT_SHARE = 0.05
HELDOUT_MOST = 1000


def held_out_of(n: int) -> int:
    """Return how many of n > 1 images are held out."""
    return min(HELDOUT_MOST, max(1, round(HELDOUT_SHARE * n)))


def hold_out(
    images: ArrayRows, conditions: Mapping[str, NDArray[Any]], rng: np.random.Generator
) -> tuple[Split, Split, tuple[str, ...]]:
    """Split images into (training, held-out, notes): 5% are held out, at least 1 and at most 1000.

    One image of every class, drawn at random, always stays in training. Arrays are rearranged in place: training
    images from the end fill the gaps, so nothing large is copied. Images in a file stay where they are, and are taken
    in that order. If there is only one image, it is in both parts.
    """
    n = len(images)
    if n == 1:
        both = Split(images, conditions)
        return both, both, ("there is only one image: it is the held-out set too",)
    chosen, notes = _drawn(n, conditions.get("class"), rng)
    rest = n - len(chosen)
    heldout = Split(images[chosen].copy(), {name: rows[chosen].copy() for name, rows in conditions.items()})
    holes = chosen[chosen < rest]
    fillers = np.setdiff1d(np.arange(rest, n), chosen)
    arrays = list(conditions.values())
    train: Rows
    if isinstance(images, FileRows):
        order = np.arange(rest)
        order[holes] = fillers
        train = RowView(images, order)
    else:
        arrays.append(images)
        train = images[:rest]
    for array in arrays:
        array[holes] = array[fillers]
    return Split(train, {name: rows[:rest] for name, rows in conditions.items()}), heldout, notes


def hold_out_blocks(whole: Split, rng: np.random.Generator) -> tuple[Split, NDArray[np.int64], tuple[str, ...]]:
    """Split rows in shards into (training, numbers of the held-out rows, notes), with the shares of `hold_out`.

    Nothing is read. The training part is a view of the remaining rows, and keeps the blocks of the whole.
    """
    n = len(whole)
    if n == 1:
        return whole, np.zeros(1, np.int64), ("there is only one image: it is the held-out set too",)
    chosen, notes = _drawn(n, whole.labels, rng)
    rest = np.setdiff1d(np.arange(n), chosen, assume_unique=True)
    blocks = None if whole.blocks is None else np.searchsorted(rest, whole.blocks).astype(np.int64)
    return dataclasses.replace(part_of(whole, rest), blocks=blocks), chosen, notes


def _drawn(
    n: int, labels: NDArray[np.int64] | None, rng: np.random.Generator
) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Return the numbers, in order, of the images to hold out of n > 1, and notes."""
    k = held_out_of(n)
    order = rng.permutation(n)
    notes: tuple[str, ...] = ()
    if labels is not None:
        protected = np.zeros(n, bool)
        protected[order[np.unique(labels[order], return_index=True)[1]]] = True
        if protected.all():
            notes = ("every class has a single image: one class is held out of training altogether",)
        else:
            order = order[~protected[order]]
    return np.sort(order[:k]), notes
