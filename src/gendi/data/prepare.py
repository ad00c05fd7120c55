"""What happens between opening data and training on them: fitting a codec, and encoding the rows.

Pixels have a codec from the start and need neither; the codec of latents of pictures comes with an autoencoder. The
codec of a run is kept in its folder, because it decides what model space is: a resumed run must not fit another one.
"""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gendi.data.codec import Codec
from gendi.data.codec_files import read_codec, write_codec
from gendi.data.dataset import Data
from gendi.data.encoded_rows import kept_rows
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
    flip: bool = False,
    crop: float = 1.0,
) -> Data:
    """Return data with a fitted codec; if the codec encodes rows only once, the rows are in model space.

    Args:
        data: as `open_data` returned them. If they have a codec that encodes each batch anew, as pixels do, or if they
            are encoded already, they are returned as they are.
        conditions: the conditions that the network is given, filled in from the data.
        seed: the seed of the fit.
        options: the options of the kind of data (`gendi.data.kind.Kind.options`); its defaults if None.
        folder: where the codec is kept. A codec that is there already is read instead of being fitted.
        flip: whether training rows that are encoded only once are to be there as mirror images too.
        crop: how much of them is cut away at random; more than 1 is possible only where each batch is encoded anew.

    Raises:
        UsageError: augmentation that cannot be done in advance.
        DataError: rows that no codec can be fitted to.
        BundleError: the codec in `folder` is damaged.
    """
    if data.encoded or (data.codec is not None and not data.codec.once):
        return data
    codec, kind = data.codec, kind_of(data.kind)
    if codec is None and folder is not None and folder.is_dir():
        codec = read_codec(folder)
    if codec is None:
        own = kind.options() if options is None and kind.options is not None else options
        codec = kind.fit(data, conditions, seed, own)
        if folder is not None:
            write_codec(folder, codec)
    data = dataclasses.replace(data, codec=codec)
    if not codec.once:
        return data
    forms = len(kind.variants(torch.from_numpy(data.train.batch([])), flip=flip, crop=crop))

    def form(number: int) -> Split:
        def changed(rows: Tensor) -> Tensor:
            return kind.variants(rows, flip=flip, crop=crop)[number]

        draws = codec.draws_of(len(data.train))
        return encoded(codec, conditions, data.train, 0, data.fingerprint, f"train {number}", changed, draws)

    train = _joined([form(number) for number in range(forms)])
    heldout = encoded(codec, conditions, data.heldout, HELD_OUT, data.fingerprint, "heldout")
    more = len(train) // max(1, len(data.train))
    return dataclasses.replace(data, train=train, heldout=heldout, encoded=True, forms=max(1, more))


def encoded(
    codec: Codec,
    conditions: Sequence[ConditionConfig],
    split: Split,
    first: int = 0,
    fingerprint: str = "",
    what: str = "",
    by: Callable[[Tensor], Tensor] | None = None,
    draws: int = 1,
) -> Split:
    """Return a split whose rows (N, *shape) are in model space, or (draws N, *shape): all rows once, then again.

    Args:
        codec: encodes the rows.
        conditions: the conditions of the rows.
        split: raw rows.
        first: the number of the first row.
        fingerprint: that of the data.
        what: names the split, and what `by` does, for the cache of rows (`gendi.data.encoded_rows`).
        by: changes raw rows before they are encoded.
        draws: how many times each row is encoded (`Codec.encode_draws`).
    """

    def encode() -> NDArray[np.float32]:
        rows = np.empty((draws, len(split), *codec.shape), np.float32)
        for start in range(0, len(split), CHUNK):
            indices: NDArray[np.int64] = np.arange(start, min(start + CHUNK, len(split)))
            cond = stored(conditions, split, indices)
            raw = torch.from_numpy(split.batch(indices))
            changed = raw if by is None else by(raw)
            numbers = torch.from_numpy(indices) + first
            rows[:, indices] = codec.encode_draws(changed, cond, numbers, draws).numpy()
        return rows.reshape(-1, *codec.shape)

    told = {name: np.concatenate([of] * draws) if draws > 1 else of for name, of in split.conditions.items()}
    return Split(kept_rows(codec, fingerprint, what, draws * len(split), encode), told)


def _joined(splits: Sequence[Split]) -> Split:
    """Return one split with the rows of all, one after another."""
    if len(splits) == 1:
        return splits[0]
    rows = np.concatenate([np.asarray(split.rows) for split in splits])
    names = splits[0].conditions
    return Split(rows, {name: np.concatenate([split.conditions[name] for split in splits]) for name in names})
