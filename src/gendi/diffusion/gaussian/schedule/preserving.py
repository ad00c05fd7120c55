"""Variance-preserving schedules: alpha^2 + sigma^2 = 1, so log abar = 2 log alpha determines both.

A schedule with `steps=T` passes exactly through the products of the paper's 1 - beta_i at t = i / T, and interpolates
log abar linearly between them; `steps=None` is the continuous limit, beta(t) = -d log abar / dt.

Everything is float64, and 1 - abar is written -expm1(log abar): a float32 product errs by 1.7e-4 in 1 - abar at step 1.
"""

import math
from abc import abstractmethod

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from gendi.diffusion.gaussian.schedule.base import Schedule, bisect, checked_steps

MAX_BETA = 0.999  # Nichol & Dhariwal 2021, section 3.2: keeps the last step of the cosine chain finite


class VariancePreserving(Schedule):
    """A schedule with alpha^2 + sigma^2 = 1, given by log abar = 2 log alpha; a discrete chain keeps a table of it."""

    table: Tensor | None = None

    def __init__(self, steps: int | None = None) -> None:
        self.steps = checked_steps(steps)
        if steps is not None:
            log_abar = torch.log1p(-self._betas(steps)).cumsum(0)
            self.table = torch.cat([torch.zeros(1, dtype=torch.float64), log_abar])

    def _betas(self, steps: int) -> Tensor:
        """Return the T betas 1 - abar_i / abar_{i-1} of the continuous curve, capped."""
        log_abar = self._log_abar(torch.arange(steps + 1, dtype=torch.float64) / steps)
        return (-torch.expm1(log_abar.diff())).clamp(max=MAX_BETA)

    @abstractmethod
    def _log_abar(self, t: Tensor) -> Tensor:
        """Return log abar of the continuous curve."""

    @abstractmethod
    def _beta(self, t: Tensor) -> Tensor:
        """Return -d log abar / dt of the continuous curve."""

    @property
    def betas(self) -> Tensor:
        """The variances beta_1, ..., beta_T of the steps of a chain, (T,) float64; step i is entry i - 1.

        Raises `UsageError` in continuous time, as `alphas` and `alpha_bar` do.  [Ho et al. 2020, eq. 2]
        """
        return -torch.expm1(self._log_abar_of_steps().diff())

    @property
    def alphas(self) -> Tensor:
        """The alpha_i = 1 - beta_i of the steps of a chain, (T,) float64. They are not alpha(t) of the marginals."""
        return self._log_abar_of_steps().diff().exp()

    @property
    def alpha_bar(self) -> Tensor:
        """The products alpha_1 ... alpha_i, (T,) float64: alpha(t)^2 at t = i / T.  [Ho et al. 2020, eq. 4]"""
        return self._log_abar_of_steps()[1:].exp()

    def _log_abar_of_steps(self) -> Tensor:
        return self.log_abar(self.grid())

    def log_abar(self, t: Tensor) -> Tensor:
        """Return log abar(t), float64."""
        if self.table is None or self.steps is None:
            return self._log_abar(t)
        table = self.table.to(t.device)
        position = self._position(t, self.steps)
        left = position.floor().long().clamp(max=self.steps - 1)
        return torch.lerp(table[left], table[left + 1], position - left)

    def beta(self, t: Tensor) -> Tensor:
        """Return beta(t) = -d log abar / dt, float64; on a chain, -T ln(1 - beta_i) throughout step i."""
        if self.table is None or self.steps is None:
            return self._beta(t)
        slopes = -self.steps * self.table.to(t.device).diff()
        return slopes[(self._position(t, self.steps).ceil().long() - 1).clamp(min=0)]

    def time_of(self, log_abar: Tensor) -> Tensor:
        """Return the t > 0 at which log abar is a value below 0; for one below the last, any value of 1 or more."""
        if self.table is None or self.steps is None:
            return self._time_of(log_abar)
        falling = -self.table.to(log_abar.device)
        left = (torch.searchsorted(falling, -log_abar) - 1).clamp(0, self.steps - 1)
        share = (-log_abar - falling[left]) / (falling[left + 1] - falling[left])
        return (left + share) / self.steps

    def _time_of(self, log_abar: Tensor) -> Tensor:
        """Return `time_of` of the continuous curve."""
        return bisect(self._log_abar, log_abar)

    def _time(self, log_snr: Tensor) -> Tensor:
        return self.time_of(logsigmoid(log_snr))

    @staticmethod
    def _position(t: Tensor, steps: int) -> Tensor:
        """Return t T. As i / T * T may fall an ulp short of i, a time that is within 1e-13 of a step is that step."""
        position = t * steps
        return torch.where((position - position.round()).abs() < 1e-13 * steps, position.round(), position)

    def _rates(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """Return f = -beta / 2 and g^2 = beta.  [Song et al. 2021, eq. 11]"""
        beta = self.beta(t)
        return -beta / 2, beta

    def _alpha_sigma(self, t: Tensor) -> tuple[Tensor, Tensor]:
        log_abar = self.log_abar(t)
        return (log_abar / 2).exp(), torch.expm1(log_abar).abs().sqrt()


class Linear(VariancePreserving):
    """Betas linear from 1e-4 to 2e-2 at T = 1000, scaled by 1000 / T otherwise.  [Ho et al. 2020, section 4]

    The continuous limit is beta(t) = 0.1 + 19.9 t.  [Song et al. 2021, appendix C]
    """

    name = "linear"

    def _betas(self, steps: int) -> Tensor:
        return (torch.linspace(1e-4, 2e-2, steps, dtype=torch.float64) * (1000 / steps)).clamp(max=MAX_BETA)

    def _log_abar(self, t: Tensor) -> Tensor:
        return -(0.1 * t + 9.95 * t * t)

    def _time_of(self, log_abar: Tensor) -> Tensor:
        return -2 * log_abar / (0.1 + (0.01 - 39.8 * log_abar).sqrt())

    def _beta(self, t: Tensor) -> Tensor:
        return 0.1 + 19.9 * t


class Cosine(VariancePreserving):
    """The cosine schedule.  [Nichol & Dhariwal 2021, eq. 17]

        abar(t) = f(t) / f(0),    f(t) = cos^2((t + s) / (1 + s) pi / 2),    s = 0.008

    A chain takes its betas from that curve and caps the last one. The continuous curve has no last beta to cap, so it
    ends just before f = 0, at the abar = 2.4e-9 that the capped chain of 1000 steps has.
    """

    name = "cosine"
    offset = 0.008
    end = 1 - 3.144e-5  # there cos^2 = 2.4e-9

    def _betas(self, steps: int) -> Tensor:
        log_abar = self._curve(torch.arange(steps + 1, dtype=torch.float64) / steps)
        return (-torch.expm1(log_abar.diff())).clamp(max=MAX_BETA)

    def _log_abar(self, t: Tensor) -> Tensor:
        return self._curve(t * self.end)

    def _beta(self, t: Tensor) -> Tensor:
        return math.pi * self.end / (1 + self.offset) * self._angle(t * self.end).tan()

    def _time_of(self, log_abar: Tensor) -> Tensor:
        """Return the time of a log abar from the tangent of the difference of angles, so that small times are exact.

        It uses e = tan^2(angle) - tan^2(angle at 0) = (1 / abar - 1) / f(0).
        """
        start = self._angle(torch.zeros_like(log_abar)).tan()
        e = torch.expm1(-log_abar) * (1 + start**2)
        tan = (start**2 + e).sqrt()
        turn = torch.atan(e / ((tan + start) * (1 + tan * start)))
        return turn * (1 + self.offset) / (math.pi / 2) / self.end

    def _curve(self, t: Tensor) -> Tensor:
        """Return log(f(t) / f(0)), with f bounded below by 1e-40; at t = 1 only round-off would keep it from 0."""
        start = math.cos(self.offset / (1 + self.offset) * math.pi / 2)
        return 2 * (self._angle(t).cos().clamp(min=1e-20) / start).log()

    def _angle(self, t: Tensor) -> Tensor:
        return (t + self.offset) / (1 + self.offset) * (math.pi / 2)


class Sigmoid(VariancePreserving):
    """abar(t) falls from 1 as a logistic curve between -3 and 3.  [Jabri et al. 2022; Chen 2023, table 1]

    The curve is mixed with 1e-9 of a constant so that it ends at abar = 1e-9 rather than 0.
    """

    name = "sigmoid"
    start, end, tau = -3.0, 3.0, 1.0
    floor = 1e-9

    def _log_abar(self, t: Tensor) -> Tensor:
        return self._abar_and_fall(t)[0].log()

    def _beta(self, t: Tensor) -> Tensor:
        abar, fall = self._abar_and_fall(t)
        return fall / abar

    def _time_of(self, log_abar: Tensor) -> Tensor:
        """Return the time of a log abar from a difference of logits, in a form in which small times are exact.

        logit(value) - logit(first) = ln(1 + (value - first) / (first (1 - value)))
        """
        first, last = (1 / (1 + math.exp(-v / self.tau)) for v in (self.start, self.end))
        gone = -torch.expm1(log_abar) / (1 - self.floor) * (last - first)  # value - first
        left = (log_abar.exp() - self.floor) / (1 - self.floor) * (last - first)  # last - value
        return torch.log1p(gone / (first * (1 - last + left))) * self.tau / (self.end - self.start)

    def _abar_and_fall(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """Return abar and -d abar / dt."""
        first, last = (1 / (1 + math.exp(-v / self.tau)) for v in (self.start, self.end))
        value = torch.sigmoid((self.start + t * (self.end - self.start)) / self.tau)
        abar = (last - value) / (last - first)
        fall = value * (1 - value) * (self.end - self.start) / self.tau / (last - first)
        return abar + self.floor * (1 - abar), fall * (1 - self.floor)
