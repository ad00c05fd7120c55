"""Guidance by conditions, with a network that was also trained without them.

Let x_c be the denoiser's answer under the conditions and x_null its answer without them. By Tweedie's formula a mix of
answers is the same mix of scores; with the weights w and 1 - w it is the score of q(x_t | c)^w q(x_t)^(1 - w), whose
constant does not matter.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from gendi.diffusion.conditions import Conditions, null_like
from gendi.diffusion.gaussian.denoiser import Denoiser
from gendi.diffusion.gaussian.guidance.base import Answer, MixtureRule, answers_of, mix
from gendi.diffusion.gaussian.guidance.scale import Scale, checked_scale, scale_at
from gendi.errors import UsageError, unknown_name


def forget(cond: Conditions, names: Sequence[str]) -> dict[str, Tensor]:
    """Return the conditions, with null rows in those of `names`."""
    return {name: null_like(value) if name in names else value for name, value in cond.items()}


def check_given(cond: Conditions, names: Sequence[str]) -> None:
    """Raise `UsageError` if there is no condition to guide by, or one of `names` is missing."""
    if not cond:
        raise UsageError("guidance needs a condition to guide towards, and the denoiser was given none.")
    for name in names:
        if name not in cond:
            raise unknown_name("condition", name, cond)


class ClassifierFree(MixtureRule):
    """Classifier-free guidance.  [Ho & Salimans 2021, eq. 6, whose w is ours minus 1]

        x0 = x_null + w (x_c - x_null)

    w = 1 is x_c and w = 0 is x_null, bit for bit and by one call of B rows; any other w takes one call of 2 B rows.

    Args:
        denoiser: a denoiser that knows the conditions, and null ones.
        scale: w, a number or a function of time, 0 or more.
        names: the conditions that are null in x_null; all by default.
        negative: conditions that stand in x_null instead of null ones, so that guidance moves away from them. Each has
            one value for all rows, such as the class 3 or a tensor of the shape of one row.

    Raises:
        UsageError: the scale is NaN, infinite or below 0; in a call, there is no condition, or one of `names` is
            missing.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        scale: Scale,
        *,
        names: Sequence[str] | None = None,
        negative: Mapping[str, Tensor | float] | None = None,
    ) -> None:
        super().__init__(denoiser)
        self.scale, self.names, self.negative = checked_scale(scale), names, dict(negative or {})

    def parts(self, x_t: Tensor, t: Tensor, cond: Conditions) -> tuple[Answer, Tensor]:
        """Return the guided answer, and x_c (x_null where w = 0)."""
        away = {name: _for_all(value, x_t, cond.get(name)) for name, value in self.negative.items()}
        toward = {name: null_like(value) for name, value in away.items()} | dict(cond)
        check_given(toward, self.names or ())
        null = forget(toward, tuple(toward) if self.names is None else self.names) | away
        w = scale_at(self.scale, t).expand(len(x_t))
        weights = torch.stack([w, 1 - w])
        return mix(weights, answers_of(self.denoiser, x_t, t, [toward, null], weights != 0))


class Factorised(MixtureRule):
    """Guidance with a scale for each of several conditions c_1, ..., c_n.

        x0 = x_null + sum_i w_i (x_{c_i} - x_null)                                     [Liu et al. 2022, conjunction]
        x0 = x_null + sum_i w_i (x_{c_1 ... c_i} - x_{c_1 ... c_(i-1)})   nested        [Brooks et al. 2023, eq. 3]

    The first form takes each condition alone; with every w_i = 1 it is the joint conditional if the conditions are
    independent given x_t. The nested form adds the conditions in the order of `scales`; with every w_i = 1 it is the
    joint conditional x_{c_1 ... c_n} of any conditions, by one call. A scale below 0 moves away from its condition. All
    branches with a weight other than 0 are one call.

    Args:
        denoiser: a denoiser that knows the conditions, and null ones.
        scales: w_i by the condition's name, at least one; every branch is given the conditions that have no scale.
        nested: whether to use the nested form.

    Raises:
        UsageError: there is no scale, or one is NaN or infinite; in a call, a condition with a scale is missing.
    """

    def __init__(self, denoiser: Denoiser, scales: Mapping[str, Scale], *, nested: bool = False) -> None:
        super().__init__(denoiser)
        if not scales:
            raise UsageError("factorised guidance needs a scale for at least one condition; got none.")
        self.scales = {name: checked_scale(scale, signed=True) for name, scale in scales.items()}
        self.nested = nested

    def parts(self, x_t: Tensor, t: Tensor, cond: Conditions) -> tuple[Answer, Tensor]:
        """Return the guided answer, and x0 of the first branch: of c_1 alone, or of all conditions if nested."""
        names = list(self.scales)
        check_given(cond, names)
        w = torch.stack([scale_at(scale, t, signed=True).expand(len(x_t)) for scale in self.scales.values()])
        one = torch.ones_like(w[:1])
        if self.nested:  # sum_i (w_i - w_(i+1)) x_{c_1 ... c_i}, with w_0 = 1 and w_(n+1) = 0
            branches = [forget(cond, names[i:]) for i in range(len(names) + 1)][::-1]
            weights = (torch.cat([one, w]) - torch.cat([w, 0 * one])).flip(0)
        else:
            alone = [forget(cond, [other for other in names if other != name]) for name in names]
            branches, weights = [*alone, forget(cond, names)], torch.cat([w, one - w.sum(0)])
        return mix(weights, answers_of(self.denoiser, x_t, t, branches, weights != 0))


def _for_all(value: Tensor | float, x_t: Tensor, like: Tensor | None) -> Tensor:
    """Return one value for every row of x_t, in the dtype of the condition `like`."""
    one = torch.as_tensor(value, device=x_t.device, dtype=None if like is None else like.dtype)
    return one.expand(len(x_t), *one.shape)
