"""A stack of bits: symbols are pushed and popped at the cost of their probability (asymmetric numeral systems).

The stack is one large whole number. A symbol has `size` of the M places 0, ..., M - 1, beginning at `start`, and

    push    state -> (state // size) M + start + state % size         adds log2(M / size) bits
    pop     the symbol whose places contain state % M; undoes push exactly

Popping with a distribution from random bits draws from it, and pushing gives the bits back: so a latent variable costs
only the information that it adds ("bits back"). [Duda 2009; Townsend et al. 2019]
"""

import math

import numpy as np
from jaxtyping import Float64, Int64

from gendi.errors import UsageError

PRECISION = 48
"""log2 M: a probability is kept to 2^-48, so a rate of 20 bits is right to 1e-8."""


def places(probability: Float64[np.ndarray, " n"]) -> Int64[np.ndarray, " n_plus_1"]:
    """Return where the places of each symbol begin, and M at the end; every symbol has at least one place.

    Raises `UsageError` unless the numbers are probabilities that sum to 1.
    """
    if probability.min(initial=1) < 0 or abs(probability.sum() - 1) > 1e-9:
        raise UsageError(f"probabilities must be 0 or more and sum to 1; these sum to {probability.sum():g}.")
    spare = 2**PRECISION - len(probability)
    starts = np.floor(np.concatenate([[0.0], np.cumsum(probability)]) / probability.sum() * spare).astype(np.int64)
    starts[-1] = spare
    return np.asarray(starts + np.arange(len(probability) + 1), np.int64)


class Stack:
    """A stack of bits. Two of the same seed begin with the same `bits` random bits."""

    def __init__(self, seed: int = 0, bits: int = 4096) -> None:
        words = np.random.default_rng(seed).bytes((bits + 7) // 8)
        self.state = int.from_bytes(words, "little") | 1 << bits

    @property
    def bits(self) -> float:
        """The number of bits on the stack, log2 of the state."""
        below = max(0, self.state.bit_length() - 64)
        return below + math.log2(self.state >> below)

    def push(self, symbol: int, starts: Int64[np.ndarray, " n_plus_1"]) -> None:
        """Put a symbol on the stack; `starts` are `places` of its distribution."""
        start, size = int(starts[symbol]), int(starts[symbol + 1] - starts[symbol])
        whole, rest = divmod(self.state, size)
        self.state = (whole << PRECISION) + start + rest

    def pop(self, starts: Int64[np.ndarray, " n_plus_1"]) -> int:
        """Take a symbol from the stack. Raises `UsageError` if fewer than 64 bits would be left."""
        place = self.state & (2**PRECISION - 1)
        symbol = int(np.searchsorted(starts, place, side="right")) - 1
        start, size = int(starts[symbol]), int(starts[symbol + 1] - starts[symbol])
        state = (self.state >> PRECISION) * size + place - start
        if state.bit_length() < 64:
            raise UsageError("the stack has no bits left to draw from: begin with more.")
        self.state = state
        return symbol
