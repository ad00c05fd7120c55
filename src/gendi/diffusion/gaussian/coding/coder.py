"""Sending data with a chain: the paper's algorithms 3 and 4, with bits that are really counted.

To send x_0, the sender draws x_T from q(x_T | x_0), then x_{T-1} from q(x_{T-1} | x_T, x_0), and so on down to x_1. The
random bits for these draws are taken from the stack on which the message lies. Then x_0, x_1, ..., x_T are pushed with
the model's probabilities, x_T last. The receiver finds x_T on top, then x_{T-1}, ..., at last x_0: a picture that
becomes clearer with every step. Now it knows what the sender knew, and puts back the bits that the draws had taken.
What the message has really cost is, for every step,

    log q(x_{t-1} | x_t, x_0) - log p(x_{t-1} | x_t),

whose mean is the divergence in the bound (Ho et al. 2020, eq. 5). Draws and returns are exact, so nothing is lost.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64

from gendi.diffusion.gaussian.coding.stack import Stack, places
from gendi.diffusion.gaussian.coding.world import GridWorld


@dataclass(frozen=True)
class Sent:
    """What sending some values cost.

    Attributes:
        paths: the states x_0, ..., x_T of each value, (n, T + 1).
        rates: bits of each value for x_0 given x_1, then for x_{t-1} given x_t with t = 2, ..., T, then for x_T:
            (n, T + 1). A single rate may be negative; a mean may not.
    """

    paths: Int64[np.ndarray, "n t_plus_1"]
    rates: Float64[np.ndarray, "n t_plus_1"]

    @property
    def bits(self) -> float:
        """Mean bits of a value."""
        return float(self.rates.sum(1).mean())


def send(world: GridWorld, values: Sequence[int], stack: Stack) -> Sent:
    """Put values (indices into `world.levels`) on the stack.  [Ho et al. 2020, algorithm 3]"""
    last = world.steps
    tables = _Tables(world)
    paths = np.zeros((len(values), last + 1), np.int64)
    rates = np.zeros((len(values), last + 1))
    for row, value in enumerate(values):
        x, cost = paths[row], rates[row]
        x[0] = value
        for t in range(last, 0, -1):
            before = stack.bits
            x[t] = stack.pop(tables.draw(t, x))
            cost[t] = stack.bits - before
        for t in range(last + 1):
            before = stack.bits
            stack.push(int(x[t]), tables.model(t, x))
            cost[t] += stack.bits - before
    return Sent(paths, rates)


def receive(world: GridWorld, n: int, stack: Stack) -> tuple[list[int], Float64[np.ndarray, "n t_plus_1"]]:
    """Take n values from the stack, which then is as it was before they were sent.  [Ho et al. 2020, algorithm 4]

    Returns the values, in the order in which they were sent, and the receiver's guesses of each: E[x_0 | x_T], ...,
    E[x_0 | x_1] and at last x_0 itself.
    """
    last, tables = world.steps, _Tables(world)
    found, guesses = [], np.zeros((n, last + 1))
    x = np.zeros(last + 1, np.int64)
    for row in range(n - 1, -1, -1):
        for t in range(last, -1, -1):
            x[t] = stack.pop(tables.model(t, x))
            guesses[row, last - t] = world.guess[t - 1, x[t]] if t else world.levels[x[0]]
        for t in range(1, last + 1):
            stack.push(int(x[t]), tables.draw(t, x))
        found.append(int(x[0]))
    return found[::-1], guesses


class _Tables:
    """The places of the distributions along a path, made when they are first needed."""

    def __init__(self, world: GridWorld) -> None:
        self.world = world
        self._made: dict[tuple[int, ...], Int64[np.ndarray, " _"]] = {}
        self._posteriors: dict[int, Float64[np.ndarray, "n n n"]] = {}

    def model(self, t: int, x: Int64[np.ndarray, " _"]) -> Int64[np.ndarray, " _"]:
        """Return the places of p(x_t | x_{t+1}), or of p(x_T)."""
        above = -1 if t == self.world.steps else int(x[t + 1])
        law = self.world.prior if above < 0 else self.world.reverse[t][above]
        return self._of((0, t, above), law)

    def draw(self, t: int, x: Int64[np.ndarray, " _"]) -> Int64[np.ndarray, " _"]:
        """Return the places of q(x_t | x_{t+1}, x_0), or of q(x_T | x_0)."""
        if t == self.world.steps:
            return self._of((1, t, int(x[0])), self.world.given_data[t][x[0]])
        if t not in self._posteriors:
            self._posteriors[t] = self.world.posterior(t + 1)
        return self._of((1, t, int(x[0]), int(x[t + 1])), self._posteriors[t][x[0], x[t + 1]])

    def _of(self, key: tuple[int, ...], law: Float64[np.ndarray, " n"]) -> Int64[np.ndarray, " _"]:
        if key not in self._made:
            self._made[key] = places(law)
        return self._made[key]
