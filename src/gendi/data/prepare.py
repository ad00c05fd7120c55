"""What happens between opening data and training on them: fitting a codec, and encoding the rows.

Pictures have a codec from the start and need neither. The codec of a run is kept in its folder, because it decides what
model space is: a resumed run must not fit another one.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from gendi.data.codec import Codec
from gendi.data.codec_files import read_codec, write_codec
from gendi.data.dataset import Data
from gendi.data.kinds import kind_of
from gendi.data.row_conditions import stored
from gendi.data.split import Split
from gendi.data.vectors import HELD_OUT
from gendi.diffusion.config import ConditionConfig

CHUNK = 1024


def prepare(
    data: Data,
    conditions: Sequence[ConditionConfig] = (),
    *,
    seed: int = 0,
    options: Any = None,
    folder: Path | None = None,
) -> Data:
    """Return data with a fitted codec; if the codec encodes rows only once, the rows are in model space.

    Args:
        data: as `open_data` returned them. Data that have a codec, as pictures do, are returned as they are.
        conditions: the conditions that the network is given, filled in from the data.
        seed: the seed of the fit.
        options: the options of the kind of data (`gendi.data.kind.Kind.options`); its defaults if None.
        folder: where the codec is kept. A codec that is there already is read instead of being fitted.

    Raises:
        DataError: rows that no codec can be fitted to.
        BundleError: the codec in `folder` is damaged.
    """
    if data.codec is not None:
        return data
    codec = read_codec(folder) if folder is not None and folder.is_dir() else None
    if codec is None:
        kind = kind_of(data.kind)
        own = kind.options() if options is None and kind.options is not None else options
        codec = kind.fit(data, conditions, seed, own)
        if folder is not None:
            write_codec(folder, codec)
    data = dataclasses.replace(data, codec=codec)
    if not codec.once:
        return data
    train = encoded(codec, conditions, data.train)
    heldout = encoded(codec, conditions, data.heldout, HELD_OUT)
    return dataclasses.replace(data, train=train, heldout=heldout, encoded=True)


def encoded(codec: Codec, conditions: Sequence[ConditionConfig], split: Split, first: int = 0) -> Split:
    """Return a split whose rows (N, *shape) are in model space; `first` is the number of the first row."""
    rows = np.empty((len(split), *codec.shape), np.float32)
    for start in range(0, len(split), CHUNK):
        indices: NDArray[np.int64] = np.arange(start, min(start + CHUNK, len(split)))
        cond = stored(conditions, split, indices)
        raw = torch.from_numpy(split.batch(indices))
        rows[indices] = codec.encode(raw, cond, torch.from_numpy(indices) + first).numpy()
    return Split(rows, split.conditions)
