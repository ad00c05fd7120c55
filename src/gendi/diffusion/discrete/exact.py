"""Exact worlds of tokens: sequences of a hidden Markov chain, for which p(x_0 | x_t) is found by forward-backward.

    hidden states h_1, ..., h_L:    h_1 ~ initial,   h_{i+1} ~ transition[h_i],   x_i ~ emission[h_i]

A noisy or masked token is evidence q(x_t | x_0 = k) on its own position alone. So with e_i(h), the sum over k of
emission[h, k] q(x_t^i | k), the messages from the left and from the right are

    before_{i+1}(h') = sum over h of before_i(h) e_i(h) transition[h, h']
    behind_{i-1}(h)  = sum over h' of transition[h, h'] e_i(h') behind_i(h')

and p(x_0^i = k | x_t) is proportional to q(x_t^i | k) times the sum over h of emission[h, k] before_i(h) behind_i(h).
[Baum et al. 1970; Rabiner 1989, section III]. A Markov chain of tokens is the case in which each state emits itself.
"""

from typing import Any

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from gendi.diffusion.conditions import is_null
from gendi.diffusion.discrete.process import TokenProcess, Tokens, beside
from gendi.errors import UsageError

ENUMERATED = 2**20
"""The most sequences that are gone through one by one."""


class HiddenMarkovDenoiser:
    """p(x_0 | x_t) for sequences of a hidden Markov chain.

    Args:
        process: the forward process, of K tokens.
        initial: (H,), the distribution of the first hidden state.
        transition: (H, H), the rows of which are distributions of the next hidden state.
        emission: (H, K), the rows of which are distributions of the token.

    Raises:
        UsageError: rows that are no distributions, or shapes that do not fit one another.
    """

    def __init__(self, process: TokenProcess, initial: Tensor, transition: Tensor, emission: Tensor) -> None:
        states = len(initial)
        if transition.shape != (states, states) or emission.shape != (states, process.tokens):
            raise UsageError(
                f"a world of {states} hidden states and {process.tokens} tokens needs a transition of shape "
                f"{(states, states)} and an emission of {(states, process.tokens)}."
            )
        for name, table in (("initial", initial), ("transition", transition), ("emission", emission)):
            if not bool((table >= 0).all()) or not bool(((table.sum(-1) - 1).abs() < 1e-9).all()):
                raise UsageError(f"{name}: each row must be a distribution, whose entries are at least 0 and sum to 1.")
        self.process = process
        self.initial, self.transition, self.emission = initial.double(), transition.double(), emission.double()

    def __call__(self, x_t: Tensor, t: Tensor, /, **cond: Any) -> Float64[Tensor, "batch length tokens"]:
        """Return log p(x_0 | x_t), (B, L, K) float64."""
        return self.posterior(self.process.evidence(x_t, t))[0].log()

    def posterior(self, evidence: Float64[Tensor, "batch length tokens"]) -> tuple[Tensor, Float64[Tensor, " batch"]]:
        """Return p(x_0^i = k | evidence), (B, L, K), and the log probability of the evidence, (B,)."""
        e = evidence @ self.emission.T
        length, log_evidence = e.shape[1], torch.zeros(len(e), dtype=torch.float64)
        message = self.initial.expand(len(e), -1)
        before = []
        for i in range(length):
            before.append(message)
            seen = message * e[:, i]
            total = seen.sum(-1, keepdim=True)
            log_evidence = log_evidence + total[:, 0].log()
            message = seen / total @ self.transition
        message = torch.ones_like(message)
        behind = [message]
        for i in range(length - 1, 0, -1):
            message = (e[:, i] * message) @ self.transition.T
            message = message / message.sum(-1, keepdim=True)
            behind.append(message)
        both = torch.stack(before, 1) * torch.stack(behind[::-1], 1)
        p = evidence * (both @ self.emission)
        return p / p.sum(-1, keepdim=True), log_evidence

    def log_prob(self, x_0: Tokens) -> Float64[Tensor, " batch"]:
        """Return the log probability of whole sequences, (B,) nats."""
        return self.posterior(torch.nn.functional.one_hot(x_0, self.process.tokens).double())[1]

    def sequences(self, length: int) -> Int64[Tensor, "count length"]:
        """Return all K^L sequences. Raises `UsageError` if they are more than a million."""
        if self.process.tokens**length > ENUMERATED:
            raise UsageError(f"{self.process.tokens}^{length} sequences are too many to go through.")
        digits = [torch.arange(self.process.tokens)] * length
        return torch.cartesian_prod(*digits).reshape(-1, length)

    def entropy(self, length: int) -> float:
        """Return the entropy of sequences of this length in nats, by going through them."""
        log_p = self.log_prob(self.sequences(length))
        return float(-(log_p.exp() * log_p.clamp(min=-1e300)).sum())

    def sample(self, n: int, length: int, generator: torch.Generator) -> Tokens:
        """Draw n sequences of a length."""
        hidden = torch.multinomial(self.initial, n, True, generator=generator)
        found = []
        for _ in range(length):
            found.append(torch.multinomial(self.emission[hidden], 1, generator=generator)[:, 0])
            hidden = torch.multinomial(self.transition[hidden], 1, generator=generator)[:, 0]
        return torch.stack(found, 1)


class MarkovDenoiser(HiddenMarkovDenoiser):
    """p(x_0 | x_t) for a Markov chain of tokens: each hidden state emits the token of its own number."""

    def __init__(self, process: TokenProcess, initial: Tensor, transition: Tensor) -> None:
        super().__init__(process, initial, transition, torch.eye(process.tokens, dtype=torch.float64))

    def entropy(self, length: int) -> float:
        """Return H(x_1) + sum of H(x_{i+1} | x_i) in nats, for any length.  [Cover & Thomas 2006, theorem 4.2.1]"""
        of_rows = _entropy(self.transition)
        law, total = self.initial, float(_entropy(self.initial))
        for _ in range(length - 1):
            total += float(law @ of_rows)
            law = law @ self.transition
        return total


class ConditionalDenoiser:
    """p(x_0 | x_t, class) where each class is a world of its own; without the class, their mixture.

    Args:
        worlds: the world of each class, under one process.
        shares: (C,), how often each class occurs.
    """

    def __init__(self, worlds: list[HiddenMarkovDenoiser], shares: Tensor) -> None:
        self.worlds, self.shares, self.process = worlds, shares.double(), worlds[0].process

    def __call__(self, x_t: Tensor, t: Tensor, /, **cond: Any) -> Float64[Tensor, "batch length tokens"]:
        """Return log p(x_0 | x_t, class), where the class (B,) of a row may be null."""
        evidence = self.process.evidence(x_t, t)
        each = [world.posterior(evidence) for world in self.worlds]
        log_shares = torch.stack([log for _, log in each], 1) + self.shares.log()
        weights = log_shares.softmax(1)
        if "class" in cond:
            given = torch.nn.functional.one_hot(cond["class"].clamp(min=0), len(self.worlds)).double()
            weights = torch.where(is_null(cond["class"])[:, None], weights, given)
        p = sum(beside(weights[:, c], found) * found for c, (found, _) in enumerate(each))
        assert isinstance(p, Tensor)
        return p.log()


def _entropy(law: Tensor) -> Tensor:
    return -torch.xlogy(law, law).sum(-1)
