"""A chain on a grid of N values, where every expectation is a finite sum, and the bound in three groupings.

Each Gaussian of the chain becomes the probabilities of bins around the values, of which the first and the last reach to
infinity (the paper's discretised decoder, for every step). Time is the step t = 0, ..., T. Then the bound is, exactly,

    L = sum over t of E[log q(x_t | x_{t-1}) - log p(x_{t-1} | x_t)] - E[log p(x_T)]              [Ho et al., eq. 3]
      = KL(q(x_T | x_0) || p) + sum over t > 1 of KL(q(x_{t-1} | x_t, x_0) || p) + decoder         [eq. 5]
      = KL(q(x_T) || p(x_T)) + sum over t >= 1 of KL(q(x_{t-1} | x_t) || p(x_{t-1} | x_t)) + H(x_0)    [eq. 16]

All of it is in bits.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float64
from numpy.typing import NDArray
from scipy.special import log_ndtr, ndtr

from gendi.diffusion.gaussian.process import Process
from gendi.diffusion.gaussian.schedule import Schedule

Grid = NDArray[np.float64]
LEAST = 1e-12
"""The smallest probability of a bin, which is 40 bits."""


@dataclass(frozen=True, eq=False)
class GridWorld:
    """A chain of T steps on N values.

    Attributes:
        levels: the values, (N,).
        data: the probability of each as x_0, (N,).
        forward: q(x_t | x_{t-1}) for t = 1, ..., T, (T, N, N); the second axis is x_{t-1}.
        prior: p(x_T), (N,).
        reverse: p(x_{t-1} | x_t) for t = 1, ..., T, (T, N, N); the second axis is x_t.
        guess: E[x_0 | x_t] for t = 1, ..., T, (T, N).
    """

    levels: Float64[np.ndarray, " n"]
    data: Float64[np.ndarray, " n"]
    forward: Float64[np.ndarray, "t n n"]
    prior: Float64[np.ndarray, " n"]
    reverse: Float64[np.ndarray, "t n n"]
    guess: Float64[np.ndarray, "t n"]

    @property
    def steps(self) -> int:
        """T."""
        return len(self.forward)

    @cached_property
    def given_data(self) -> Float64[np.ndarray, "t_plus_1 n n"]:
        """q(x_t | x_0) for t = 0, ..., T; the second axis is x_0."""
        found = [np.eye(len(self.levels))]
        for step in self.forward:
            found.append(found[-1] @ step)
        return np.stack(found)

    def posterior(self, t: int) -> Float64[np.ndarray, "n n n"]:
        """Return q(x_{t-1} | x_t, x_0) for t > 1, indexed by x_0, x_t and x_{t-1}."""
        joint = self.given_data[t - 1][:, None, :] * self.forward[t - 1].T[None]
        return np.asarray(joint / joint.sum(2, keepdims=True))

    def chain_terms(self) -> Float64[np.ndarray, " t_plus_1"]:
        """Return E[-log p(x_T)], then E[log q(x_t | x_{t-1}) - log p(x_{t-1} | x_t)] for t = 1, ..., T.  [eq. 3]"""
        last = self.data @ self.given_data[-1]
        found = [-last @ np.log2(self.prior)]
        for t in range(1, self.steps + 1):
            pair = (self.data @ self.given_data[t - 1])[:, None] * self.forward[t - 1]
            found.append(float((pair * (np.log2(self.forward[t - 1]) - np.log2(self.reverse[t - 1].T))).sum()))
        return np.array(found)

    def bound_terms(self) -> Float64[np.ndarray, " t_plus_1"]:
        """Return the decoder, the divergences of the steps t = 2, ..., T, and that of the prior.  [eq. 5]"""
        first = self.data[:, None] * self.given_data[1]
        found = [-float((first * np.log2(self.reverse[0].T)).sum())]
        for t in range(2, self.steps + 1):
            pair, ours = self.data[:, None] * self.given_data[t], self.posterior(t)
            found.append(float((pair[..., None] * ours * (np.log2(ours) - np.log2(self.reverse[t - 1])[None])).sum()))
        last = self.given_data[-1]
        found.append(float((self.data[:, None] * last * np.log2(last / self.prior)).sum()))
        return np.array(found)

    def marginal_terms(self) -> Float64[np.ndarray, " t_plus_2"]:
        """Return H(x_0), the divergences of the steps t = 1, ..., T without x_0, and that of the prior.  [eq. 16]"""
        law = self.data
        found = [-float(law[law > 0] @ np.log2(law[law > 0]))]
        for t in range(1, self.steps + 1):
            pair = law[:, None] * self.forward[t - 1]  # x_{t-1}, x_t
            law = pair.sum(0)
            behind = (pair / law).T  # q(x_{t-1} | x_t)
            gain = np.log2(np.maximum(behind, 1e-300)) - np.log2(self.reverse[t - 1])
            found.append(float((law[:, None] * behind * gain).sum()))
        found.append(float(law @ np.log2(law / self.prior)))
        return np.array(found)

    def distortion(self) -> Float64[np.ndarray, " t"]:
        """Return sqrt(E[(x_0 - x0_hat(x_t))^2]) for t = 1, ..., T: what is wrong with the picture after x_t."""
        errors = (self.levels[:, None] - self.guess[:, None, :]) ** 2  # t, x_0, x_t
        joint = self.data[:, None] * self.given_data[1:]
        return np.asarray(np.sqrt((joint * errors).sum((1, 2))))


def grid_world(
    schedule: Schedule, levels: Float64[np.ndarray, " n"], data: Float64[np.ndarray, " n"], variance: str = "small"
) -> GridWorld:
    """Return the world of a chain with steps, for data with the probabilities `data` on evenly spaced `levels`.

    The denoiser is the exact one of this world, E[x_0 | x_t] by Bayes' rule, and the reverse steps are the paper's with
    the variance `small` or `large`. Raises `UsageError` for a schedule without steps.
    """
    times, process = schedule.grid(), Process(schedule)
    edges = (levels[1:] + levels[:-1]) / 2
    forward, reverse, guess = [], [], []
    given = np.eye(len(levels))
    for t, s in zip(times[1:], times[:-1], strict=True):
        factor, beta = (float(value) for value in process.transition(t, s))
        forward.append(binned(factor * levels, beta**0.5, edges))
        given = given @ forward[-1]
        joint = data[:, None] * given
        guess.append(levels @ joint / joint.sum(0))
        mean, _ = process.posterior(torch.from_numpy(levels), torch.from_numpy(guess[-1]), t, s)
        share = 1.0 if variance == "large" and float(s) > 0 else 0.0
        spread = float(process.reverse_log_variance(t, s, share).exp()) ** 0.5
        reverse.append(binned(mean.numpy(), spread, edges))
    prior = binned(np.zeros(1), float(schedule(1.0)[1]), edges)[0]
    return GridWorld(levels, data, np.stack(forward), prior, np.stack(reverse), np.stack(guess))


def binned(
    mean: Float64[np.ndarray, " m"], deviation: float, edges: Float64[np.ndarray, " n_minus_1"]
) -> Float64[np.ndarray, "m n"]:
    """Return the probabilities (m, n) that N(mean, deviation^2) gives to the bins between `edges`, at least `LEAST`."""
    place = (edges - mean[:, None]) / deviation
    below, above = ndtr(place), np.exp(log_ndtr(-place))
    inside = np.where(place[:, :-1] > 0, above[:, :-1] - above[:, 1:], below[:, 1:] - below[:, :-1])
    found = np.maximum(np.concatenate([below[:, :1], inside, above[:, -1:]], axis=1), LEAST)
    return np.asarray(found / found.sum(1, keepdims=True))
