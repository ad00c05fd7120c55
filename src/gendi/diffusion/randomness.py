"""Every random number gendi draws is a function of a key, never of a global state.

A key is `(seed, purpose, step, index)`: the seed, what the draw is for, the training step and the sample. Equal keys
give equal numbers and different keys give independent streams, so a resumed run only has to compute its keys, and a
sample does not depend on its neighbours in the batch. The stream of a key is NumPy's counter-based Philox, keyed by the
128-bit BLAKE2b digest of the key. Torch's own CPU generator would not do: it keeps only 32 bits of a seed, and among
80,000 of its streams two are more likely than not to coincide.
"""

import hashlib
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor


def stream(seed: int, purpose: str, step: int = 0, index: int = 0) -> np.random.Generator:
    """Return the random stream of a key; `purpose` is a short constant such as "noise"."""
    key = hashlib.blake2b(f"{seed}/{purpose}/{step}/{index}".encode(), digest_size=16).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(key, "little")))


class Places:
    """The random stream of the key (seed, purpose, index), which can be read from any of its places at little cost.

    A place is three whole numbers in [0, 2^64), the upper words of Philox's counter. Each place has 2^64 blocks of
    numbers of its own.
    """

    def __init__(self, seed: int, purpose: str, index: int) -> None:
        self._stream = stream(seed, purpose, index=index)
        state: dict[str, Any] = dict(self._stream.bit_generator.state)
        # lists of Python's numbers, which NumPy reads four times as quickly as its own arrays; no numbers left over
        own: dict[str, list[int]] = {"counter": [0] * 4, "key": state["state"]["key"].tolist()}
        self._start = state | {"state": own, "buffer": [0] * 4, "buffer_pos": 4, "has_uint32": 0}

    def __call__(self, *place: int) -> np.random.Generator:
        """Return the generator at `place`. It is the same object every time, so draw before you move on."""
        self._start["state"]["counter"] = [0, *place]
        self._stream.bit_generator.state = self._start
        return self._stream


def normal(shape: tuple[int, ...], seed: int, purpose: str, step: int = 0, index: int = 0) -> Float32[Tensor, " *dims"]:
    """Return float32 standard normal noise of `shape` on the CPU, the same for the same key on every machine."""
    return torch.from_numpy(stream(seed, purpose, step, index).standard_normal(shape, dtype=np.float32))
