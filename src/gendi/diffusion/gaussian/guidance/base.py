"""What the rules of guidance share: calling a denoiser under one or several conditions, and mixing its answers.

A rule that mixes K branches returns

    x0 = sum_k w_k x0_k,    sum_k w_k = 1

where classifier-free guidance has w_c = w and w_null = 1 - w. Rows in which a branch has weight 0 are left out of its
call. So a rule with one weight at 1 is that branch, bit for bit and at its cost.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from jaxtyping import Bool, Float64
from torch import Tensor

from gendi.diffusion.conditions import Conditions
from gendi.diffusion.gaussian.denoiser import Denoiser, LearnedVariance
from gendi.diffusion.gaussian.process import Batch, PerSample, Time, like
from gendi.diffusion.gaussian.schedule import as_times


@dataclass(frozen=True)
class Answer:
    """E[x_0 | x_t], and the share of `Process.reverse_log_variance` where it is learned; both of x_t's shape."""

    x_0: Tensor
    share: Tensor | None = None

    def split(self, sizes: list[int]) -> list[Self]:
        """Return an answer for each run of consecutive rows, of the lengths `sizes`."""
        shares = [None] * len(sizes) if self.share is None else torch.split_with_sizes(self.share, sizes)
        return [type(self)(*pair) for pair in zip(torch.split_with_sizes(self.x_0, sizes), shares, strict=True)]

    def spread(self, rows: Tensor, n: int) -> Self:
        """Return an answer for a batch of n in which this one stands at `rows`, with zeros in all other rows."""
        return type(self)(_spread(self.x_0, rows, n), None if self.share is None else _spread(self.share, rows, n))


def _spread(values: Tensor, rows: Tensor, n: int) -> Tensor:
    if len(rows) == n:
        return values
    out = values.new_zeros((n, *values.shape[1:]))
    out[rows] = values
    return out


def answer_of(denoiser: Denoiser, x_t: Batch, t: PerSample, cond: Conditions) -> Answer:
    """Return a denoiser's answer, with its variance if it learned one, by one call."""
    if isinstance(denoiser, LearnedVariance):
        return Answer(*denoiser.predict(x_t, t, **cond))
    return Answer(denoiser(x_t, t, **cond))


def answers_of(
    denoiser: Denoiser, x_t: Batch, t: PerSample, branches: Sequence[Conditions], wanted: Bool[Tensor, " k batch"]
) -> list[Answer]:
    """Return a denoiser's answers under K conditions, by one call on the wanted rows; other rows are 0.

    Args:
        denoiser, x_t, t: the denoiser, a batch (B, ...) and its times, () or (B,).
        branches: K conditions of the same names.
        wanted: the rows of the batch that each branch needs, (K, B); not all False.
    """
    n, rows = len(x_t), [mask.nonzero()[:, 0] for mask in wanted]
    called = [k for k, some in enumerate(rows) if len(some)]
    if len(called) == 1 and len(rows[called[0]]) == n:
        parts = [answer_of(denoiser, x_t, t, branches[called[0]])]
    else:
        order = torch.cat([rows[k] for k in called])
        cond = {name: torch.cat([branches[k][name][rows[k]] for k in called]) for name in branches[0]}
        answer = answer_of(denoiser, x_t[order], t if t.ndim == 0 else t[order], cond)
        parts = answer.split([len(rows[k]) for k in called])
    nothing = parts[0].split([0, len(parts[0].x_0)])[0].spread(rows[0][:0], n)
    found = dict(zip(called, parts, strict=True))
    return [found[k].spread(rows[k], n) if k in found else nothing for k in range(len(rows))]


def pick(masks: Bool[Tensor, " k batch"], values: Sequence[Batch]) -> Batch:
    """Return, for each row, the first of K `values` (B, ...) whose mask is set there, or the last if none is."""
    out = values[-1]
    for mask, value in zip(reversed(masks), reversed(values), strict=True):
        if bool(mask.all()):
            out = value
        elif bool(mask.any()):
            out = torch.where(like(mask, value).bool(), value, out)
    return out


def mix(weights: Float64[Tensor, " k batch"], answers: Sequence[Answer]) -> tuple[Answer, Tensor]:
    """Return sum_k w_k x0_k as an answer, and x0 of the first branch.

    The first branch of a row is the first whose weight is not 0; the answer has its variance.
    """
    x_0 = torch.zeros_like(answers[0].x_0)
    for w, answer in zip(weights, answers, strict=True):
        if bool((w != 0).any()):
            x_0 = x_0 + like(w, x_0) * answer.x_0
    shares = [answer.share for answer in answers if answer.share is not None]
    share = pick(weights != 0, shares) if len(shares) == len(answers) else None
    return Answer(x_0, share), pick(weights != 0, [answer.x_0 for answer in answers])


class Guided(ABC):
    """A denoiser that holds another one and changes its answers. It has `predict` if the other one has.

    Args:
        denoiser: the denoiser to guide.
    """

    predict: Callable[..., tuple[Tensor, Tensor]]

    def __init__(self, denoiser: Denoiser) -> None:
        self.denoiser, self.schedule = denoiser, denoiser.schedule
        if isinstance(denoiser, LearnedVariance):
            self.predict = self._predict

    def __call__(self, x_t: Batch, t: Time, /, **cond: Any) -> Batch:
        """Return the guided E[x_0 | x_t], of x_t's shape and dtype, for t a number or of shape () or (B,)."""
        return self._answer(x_t, as_times(t), cond).x_0

    def _predict(self, x_t: Batch, t: Time, /, **cond: Any) -> tuple[Batch, Batch]:
        answer = self._answer(x_t, as_times(t), cond)
        assert answer.share is not None
        return answer.x_0, answer.share

    @abstractmethod
    def _answer(self, x_t: Tensor, t: Tensor, cond: Conditions) -> Answer: ...


class MixtureRule(Guided):
    """A rule that mixes answers; the first one is the plain answer, which guidance starts from."""

    @abstractmethod
    def parts(self, x_t: Tensor, t: Tensor, cond: Conditions) -> tuple[Answer, Tensor]:
        """Return the guided answer, and x0 of the first branch that was called."""

    def _answer(self, x_t: Tensor, t: Tensor, cond: Conditions) -> Answer:
        return self.parts(x_t, t, cond)[0]
