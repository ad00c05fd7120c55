"""Every random number gendi draws is a function of a key, never of a global state.

A key is `(seed, purpose, step, index)`: what the draw is for, at which training step, for which sample. Equal keys give
equal numbers, different keys give independent streams, so resuming a run is arithmetic and a sample does not depend on
its neighbours in the batch. The stream of a key is NumPy's counter-based Philox under the 128-bit BLAKE2b digest of the
key; torch's own CPU generator keeps only 32 bits of a seed, so two of 80,000 of its streams would coincide more often
than not.
"""

import hashlib
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor


def stream(seed: int, purpose: str, step: int = 0, index: int = 0) -> np.random.Generator:
    """Return the random stream of the key (seed, purpose, step, index); `purpose` is a short constant such as
    "noise".
    """
    key = hashlib.blake2b(f"{seed}/{purpose}/{step}/{index}".encode(), digest_size=16).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(key, "little")))


class Places:
    """The random stream of the key (seed, purpose, index), to be read from any of its places: cheap to move about in.

    A place is three whole numbers in [0, 2^64), the upper words of Philox's counter; each has 2^64 blocks of numbers
    to itself.
    """

    def __init__(self, seed: int, purpose: str, index: int) -> None:
        self._stream = stream(seed, purpose, index=index)
        self._start: dict[str, Any] = dict(self._stream.bit_generator.state)
        self._start["buffer_pos"], self._start["has_uint32"] = 4, 0  # nothing is left over of another place

    def __call__(self, *place: int) -> np.random.Generator:
        """Return the generator at `place`. It is the same object every time: draw before moving on."""
        self._start["state"]["counter"] = np.array((0, *place), np.uint64)
        self._stream.bit_generator.state = self._start
        return self._stream


def normal(shape: tuple[int, ...], seed: int, purpose: str, step: int = 0, index: int = 0) -> Float32[Tensor, " *dims"]:
    """Return float32 standard normal noise of `shape` on the CPU, the same for the same key on every machine."""
    return torch.from_numpy(stream(seed, purpose, step, index).standard_normal(shape, dtype=np.float32))
