"""A variance-preserving schedule given by a table of log-SNR, the form in which a learned schedule is saved.

Entry i = 1..K of the table is log(alpha^2 / sigma^2) at t = i / K, with alpha^2 = sigmoid(log SNR). Between entries it
is the monotone cubic of Fritsch & Butland (1984), whose slope at an entry is the harmonic mean of the two beside it: it
never overshoots, and beta(t) is continuous. Below the first entry log abar is a straight line to 0, as in the first
step of a chain, so the data at t = 0 are free of noise whatever the table.
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import logsigmoid

from gendi.diffusion.gaussian.schedule.preserving import VariancePreserving
from gendi.errors import UsageError


class Tabulated(VariancePreserving):
    """The curve through a falling table of log-SNR or, with `steps`, the chain that has its betas.

    Args:
        table: (K,), K >= 2, the log-SNR at t = 1/K, 2/K, ..., 1; kept as `levels`, float64.
        steps: T of a chain, or None for continuous time.

    Raises:
        UsageError: the table is not finite, does not fall strictly, or has fewer than two entries.
    """

    name = "tabulated"

    def __init__(self, table: Float[Tensor, " k"], steps: int | None = None) -> None:
        levels = table.detach().double().cpu()
        if len(levels) < 2 or not bool(levels.isfinite().all()) or not bool((levels.diff() < 0).all()):
            raise UsageError(
                f"a table of log-SNR needs at least two finite, strictly falling entries; got {_shown(levels)}."
            )
        self.levels, self.slopes = levels, _slopes(levels.diff())
        super().__init__(steps)

    def _log_abar(self, t: Tensor) -> Tensor:
        inside, log_snr, _ = self._curve(t)
        first = logsigmoid(self.levels[0].to(t.device))
        return torch.where(inside, logsigmoid(log_snr), first * (t * len(self.levels)))

    def _beta(self, t: Tensor) -> Tensor:
        """Return -d log abar / dt = -sigmoid(-log SNR) d log SNR / dt."""
        inside, log_snr, slope = self._curve(t)
        first = logsigmoid(self.levels[0].to(t.device))
        return len(self.levels) * torch.where(inside, -torch.sigmoid(-log_snr) * slope, -first)

    def _curve(self, t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return whether t is at or above the first entry, log SNR, and its slope per interval of the table."""
        levels, slopes = self.levels.to(t.device), self.slopes.to(t.device)
        position = t * len(levels) - 1
        left = position.floor().long().clamp(0, len(levels) - 2)
        u = (position - left).clamp(0, 1)
        fall = levels[left + 1] - levels[left]
        # Hermite's cubic in u: y + u (d + u (c + u b))
        b = slopes[left] + slopes[left + 1] - 2 * fall
        c = 3 * fall - 2 * slopes[left] - slopes[left + 1]
        value = levels[left] + u * (slopes[left] + u * (c + u * b))
        return position >= 0, value, slopes[left] + u * (2 * c + 3 * u * b)


def _slopes(falls: Tensor) -> Tensor:
    """Return the slope at every entry, per interval of the table, none of which is above 0.

    Inside they are harmonic means, and at the ends the slopes of one-sided parabolas.
    """
    if len(falls) == 1:
        return falls.repeat(2)
    inner = 2 * falls[1:] * falls[:-1] / (falls[1:] + falls[:-1])
    first, last = (3 * falls[0] - falls[1]) / 2, (3 * falls[-1] - falls[-2]) / 2
    return torch.cat([first.clamp(max=0)[None], inner, last.clamp(max=0)[None]])


def _shown(levels: Tensor) -> str:
    head = ", ".join(f"{value:g}" for value in levels[:4].tolist())
    return f"{len(levels)}: {head}{', ...' if len(levels) > 4 else ''}"
