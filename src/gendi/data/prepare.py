"""Between opening data and training on them: fitting the codec of data that are not pictures, and encoding their rows.

Pictures need nothing of this. The codec of a run is kept in its folder, so that going on does not fit it again: it
decides what model space is.
"""

import dataclasses
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from gendi.data.codec import codec_from_dict, codec_tensor_specs
from gendi.data.kinds import kind_of
from gendi.data.open import Data
from gendi.data.split import Split
from gendi.data.told import stored
from gendi.data.vectors import HELD_OUT, VectorCodec
from gendi.errors import BundleError
from gendi.storage.files import encode_json, read_json, replace_folder, verify_manifest
from gendi.storage.safe_tensors import read_tensors, tensor_bytes, tensor_chunks
from gendi.train.config import RunConfig

CHUNK = 1024
CODEC, TENSORS = "codec.json", "codec.safetensors"


def prepare(config: RunConfig, data: Data, folder: Path | None = None) -> Data:
    """Return data with a fitted codec, and rows in model space where the codec encodes them once.

    Args:
        config: what to train; its conditions are resolved.
        data: as `open_data` returned them. Pictures, and data that are prepared, are returned as they are.
        folder: where the codec is kept; taken from there if it is there.

    Raises:
        DataError: rows that no codec can be fitted to.
        BundleError: a damaged codec in `folder`.
    """
    if data.codec is not None:
        return data
    codec = read_codec(folder) if folder is not None and folder.is_dir() else None
    if codec is None:
        codec = kind_of(data.kind).fit(config, data)
        if folder is not None:
            write_codec(folder, codec)
    data = dataclasses.replace(data, codec=codec)
    if not codec.once:
        return data
    train, heldout = encoded(codec, config, data.train), encoded(codec, config, data.heldout, HELD_OUT)
    return dataclasses.replace(data, train=train, heldout=heldout, encoded=True)


def encoded(codec: VectorCodec, config: RunConfig, split: Split, first: int = 0) -> Split:
    """Return a split whose rows are vectors (N, D) in model space; `first` numbers its first row."""
    rows = np.empty((len(split), *codec.shape), np.float32)
    for start in range(0, len(split), CHUNK):
        indices: NDArray[np.int64] = np.arange(start, min(start + CHUNK, len(split)))
        cond = stored(config.conditions, split, indices)
        raw = torch.from_numpy(split.batch(indices))
        rows[indices] = codec.encode(raw, cond, torch.from_numpy(indices) + first).numpy()
    return Split(rows, split.conditions)


def write_codec(folder: Path, codec: VectorCodec) -> None:
    """Write a codec into a folder of its own, whole or not at all. Raises `ResourceError`."""
    text, tensors = encode_json(codec.to_dict()), codec.tensors()
    with replace_folder(folder, tensor_bytes(tensors) + 2 * len(text) + 4096) as writer:
        writer.write_text(CODEC, text)
        writer.write(TENSORS, tensor_chunks(tensors))


def read_codec(folder: Path) -> VectorCodec:
    """Read what `write_codec` wrote. Raises `BundleError` naming the file, and the field or tensor, that is bad."""
    verify_manifest(folder)
    try:
        data = read_json(folder / CODEC)
        codec = codec_from_dict(data, read_tensors(folder / TENSORS, codec_tensor_specs(data)))
    except BundleError as error:
        raise BundleError(f"{folder}: {error}") from None
    if not isinstance(codec, VectorCodec):
        raise BundleError(f"{folder / CODEC} describes a codec of pictures.")
    return codec
