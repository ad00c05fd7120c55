"""The forward process of tokens: at time t a token is unchanged with probability alpha(t), and otherwise noise.

    q(x_t | x_0) = alpha_t [x_t = x_0] + (1 - alpha_t) pi(x_t)                   [Austin et al. 2021; Sahoo et al. 2024]

    absorbing    pi is a mask, a state beside the K tokens; what is not masked is as it was
    uniform      pi is uniform over the K tokens

Positions are noised independently. From s to a later t a token is kept with probability a = alpha_t / alpha_s. So
Bayes' rule gives, for any s < t,

    q(x_s = j | x_t = i, x_0 = k) = (a [i = j] + (1 - a) pi_i) (alpha_s [j = k] + (1 - alpha_s) pi_j)
                                    / (alpha_t [i = k] + (1 - alpha_t) pi_i)

and a denoiser's p(x_0 | x_t), put in the place of x_0, gives the distribution p(x_s | x_t) of each position, which is
exact if p(x_0 | x_t) is. Tokens are whole numbers 0 .. K - 1; probabilities are float64.
"""

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float64, Int64
from torch import Tensor

from gendi.diffusion.discrete.schedule import TokenSchedule
from gendi.errors import UsageError, unknown_name

Tokens = Int64[Tensor, "batch length"]
Probabilities = Float64[Tensor, "batch length states"]


class TokenProcess(ABC):
    """The forward process of sequences of tokens.

    Args:
        tokens: K, how many different tokens data have.
        schedule: alpha(t).
        steps: T of a chain, whose times are i / T; None for continuous time.
    """

    name: ClassVar[str]
    states: int
    """How many states a position of x_t can have."""

    def __init__(self, tokens: int, schedule: TokenSchedule, steps: int | None = None) -> None:
        if tokens < 2:
            raise UsageError(f"there are {tokens} tokens: data need at least 2 different ones.")
        self.tokens, self.schedule, self.steps = tokens, schedule, steps

    @property
    @abstractmethod
    def noise(self) -> Float64[Tensor, " states"]:
        """pi, the distribution of a token of which nothing is left."""

    @abstractmethod
    def replaced(self, x: Tokens, kept: Tensor, u: Float64[Tensor, "batch length"]) -> Tokens:
        """Return x with each token kept with probability `kept`, () or (B,), and else drawn from pi, by uniform u."""

    def noised(self, x_0: Tokens, t: Tensor, u: Float64[Tensor, "batch length"], s: Tensor | None = None) -> Tokens:
        """Return x_t at t, () or (B,), made from uniform draws u in [0, 1), one for each position.

        x_0 may stand for x_s at a time s < t; by default s is 0.
        """
        alpha = self.schedule.alpha(t)
        return self.replaced(x_0, alpha if s is None else alpha / self.schedule.alpha(s), u)

    @abstractmethod
    def evidence(self, x_t: Tokens, t: Tensor) -> Float64[Tensor, "batch length tokens"]:
        """Return q(x_t | x_0 = k) for every k, up to a factor for each position; t is () or (B,)."""

    @abstractmethod
    def reverse(self, x_t: Tokens, p: Float64[Tensor, "batch length tokens"], t: Tensor, s: Tensor) -> Probabilities:
        """Return p(x_s | x_t) of each position, for p(x_0 | x_t) in `p` and 0 <= s < t, each () or (B,)."""

    @abstractmethod
    def bound_rate(self, x_0: Tokens, x_t: Tokens, log_p: Tensor, t: Tensor) -> Float64[Tensor, "batch length"]:
        """Return the integrand of the bound in continuous time at t in (0, 1), nats of each position."""

    def posterior(self, x_t: Tokens, x_0: Tokens, t: Tensor, s: Tensor) -> Probabilities:
        """Return q(x_s | x_t, x_0) of each position, for s < t."""
        return self.reverse(x_t, F.one_hot(x_0, self.tokens).double(), t, s)

    def fresh(self, u: Float64[Tensor, "batch length"]) -> Tokens:
        """Return x at t = 1 from uniform draws."""
        return self.noised(torch.zeros_like(u, dtype=torch.int64), torch.ones((), dtype=torch.float64), u)


class Absorbing(TokenProcess):
    """Tokens are replaced by a mask, the state K, and stay so.  [MDLM: Sahoo et al. 2024; MD4: Shi et al. 2024]"""

    name = "absorbing"

    def __init__(self, tokens: int, schedule: TokenSchedule, steps: int | None = None) -> None:
        super().__init__(tokens, schedule, steps)
        self.mask, self.states = tokens, tokens + 1

    @property
    def noise(self) -> Float64[Tensor, " states"]:
        return F.one_hot(torch.tensor(self.mask), self.states).double()

    def replaced(self, x: Tokens, kept: Tensor, u: Float64[Tensor, "batch length"]) -> Tokens:
        return torch.where(u < beside(kept, u), x, self.mask)

    def evidence(self, x_t: Tokens, t: Tensor) -> Float64[Tensor, "batch length tokens"]:
        known = F.one_hot(x_t, self.states)[..., : self.tokens].double()
        return torch.where((x_t == self.mask)[..., None], 1.0, known)

    def lifted(self, t: Tensor, s: Tensor) -> Tensor:
        """Return (alpha_s - alpha_t) / (1 - alpha_t), the probability that a mask at t is none at s."""
        return 1 - self.schedule.noise(s) / self.schedule.noise(t)

    def reverse(self, x_t: Tokens, p: Float64[Tensor, "batch length tokens"], t: Tensor, s: Tensor) -> Probabilities:
        """A mask is lifted with probability (alpha_s - alpha_t) / (1 - alpha_t); tokens stay.  [MDLM, eq. 6]"""
        lifted = beside(self.lifted(t, s), p)
        masked = torch.cat([lifted * p, (1 - lifted).expand(*x_t.shape, 1)], dim=-1)
        return torch.where((x_t == self.mask)[..., None], masked, F.one_hot(x_t, self.states).double())

    def bound_rate(self, x_0: Tokens, x_t: Tokens, log_p: Tensor, t: Tensor) -> Float64[Tensor, "batch length"]:
        """-alpha' / (1 - alpha) times the cross-entropy of masked positions.  [MDLM, eq. 10]"""
        cross = -log_p.gather(-1, x_0[..., None])[..., 0].double()
        return beside(self.schedule.hazard(t), cross) * torch.where(x_t == self.mask, cross, 0.0)


class Uniform(TokenProcess):
    """Tokens are replaced by tokens drawn uniformly.  [Austin et al. 2021, appendix A.2.1; Sahoo et al. 2025 (Duo)]"""

    name = "uniform"

    def __init__(self, tokens: int, schedule: TokenSchedule, steps: int | None = None) -> None:
        super().__init__(tokens, schedule, steps)
        self.states = tokens

    @property
    def noise(self) -> Float64[Tensor, " states"]:
        return torch.full((self.tokens,), 1 / self.tokens, dtype=torch.float64)

    def replaced(self, x: Tokens, kept: Tensor, u: Float64[Tensor, "batch length"]) -> Tokens:
        kept = beside(kept, u)
        again = ((u - kept) / (1 - kept).clamp(min=1e-300)).clamp(0, 1)  # uniform too, where u is above it
        drawn = (again * self.tokens).long().clamp(max=self.tokens - 1)
        return torch.where(u < kept, x, drawn)

    def evidence(self, x_t: Tokens, t: Tensor) -> Float64[Tensor, "batch length tokens"]:
        there = F.one_hot(x_t, self.tokens).double()
        alpha = beside(self.schedule.alpha(t), there)
        return alpha * there + (1 - alpha) / self.tokens

    def _tilted(self, x_t: Tokens, p: Tensor, t: Tensor, s: Tensor) -> Tensor:
        """Return sum over k of p_k q(x_s = j | x_0 = k) / q(x_t | x_0 = k) for every j: (B, L, K)."""
        alpha_s = beside(self.schedule.alpha(s), p)
        weights = p / self.evidence(x_t, t)
        return alpha_s * weights + (1 - alpha_s) / self.tokens * weights.sum(-1, keepdim=True)

    def reverse(self, x_t: Tokens, p: Float64[Tensor, "batch length tokens"], t: Tensor, s: Tensor) -> Probabilities:
        kept = beside(self.schedule.alpha(t) / self.schedule.alpha(s), p)
        there = F.one_hot(x_t, self.tokens).double()
        return (kept * there + (1 - kept) / self.tokens) * self._tilted(x_t, p, t, s)

    def bound_rate(self, x_0: Tokens, x_t: Tokens, log_p: Tensor, t: Tensor) -> Float64[Tensor, "batch length"]:
        """The divergence of the rates of jumps from x_t, of the exact reversal and of the model's.

        With r_j the rate of a jump to j under x_0 and m_j the model's, it is the sum over j of
        m_j - r_j + r_j log(r_j / m_j), whose term is 0 at j = x_t.  [Campbell et al. 2022, proposition 2]
        """
        p = log_p.double().exp()
        exact = self._tilted(x_t, F.one_hot(x_0, self.tokens).double(), t, t)
        model = self._tilted(x_t, p, t, t).clamp(min=1e-300)
        jumps = model - exact + exact * (exact / model).log()
        rate = -self.schedule.slope(t) / self.schedule.alpha(t) / self.tokens
        return beside(rate, x_0) * jumps.sum(-1)


PROCESSES: dict[str, type[TokenProcess]] = {"absorbing": Absorbing, "uniform": Uniform}


def make_process(name: str, tokens: int, schedule: TokenSchedule, steps: int | None = None) -> TokenProcess:
    """Return the process of this name. Raises `UsageError` for an unknown one."""
    if name not in PROCESSES:
        raise unknown_name("process of tokens", name, PROCESSES)
    return PROCESSES[name](tokens, schedule, steps)


def beside(value: Tensor, like: Tensor) -> Tensor:
    """Return a value, () or (B,), with axes of length 1 behind it, to meet the rows of `like` on its device."""
    value = value.to(like.device)
    return value if value.ndim == 0 else value.reshape(len(value), *[1] * (like.ndim - 1))
