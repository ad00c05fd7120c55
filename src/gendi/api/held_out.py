"""Which held-out rows a likelihood is measured on, and under which conditions."""

import numpy as np
from numpy.typing import NDArray

from gendi.data import Data
from gendi.diffusion.randomness import stream
from gendi.train.kept.bundle import Bundle


def held_out_rows(data: Data, n: int, seed: int) -> NDArray[np.int64]:
    """Return which n held-out images (n,) a likelihood is measured on, drawn by the seed, in rising order."""
    return np.sort(stream(seed, "likelihood images").permutation(len(data.heldout))[:n])


def is_own_data(bundle: Bundle, data: Data) -> bool:
    """Return whether these are the model's own data, with the conditions that it was trained under."""
    return bool(bundle.config.conditions) and data.fingerprint == bundle.meta.get("fingerprint")
