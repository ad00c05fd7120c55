"""UniPC: an exponential Adams method that predicts and corrects, with one call a step."""

from collections.abc import Iterator

from torch import Tensor

from gendi.diffusion.gaussian.denoiser import Denoiser
from gendi.diffusion.gaussian.samplers.exponential import Rule, adams
from gendi.diffusion.gaussian.samplers.state import Noise, State
from gendi.errors import UsageError, unknown_name

RULES: dict[str, Rule] = {"bh1": "bh1", "bh2": "bh2"}


def unipc(
    denoiser: Denoiser, x: Tensor, times: Tensor, noise: Noise, *, order: int = 3, rule: str = "bh2"
) -> Iterator[State]:
    """Sample by UniPC-p for x0-predictions.  [Zhao et al. 2023, algorithms 5 to 8]

    UniP-p predicts, and UniC-p corrects when x0_hat at the end of the step is known. With p = `order` the prediction is
    of order p and the correction of order p + 1. So is the whole, since only the last step is not corrected; at p = 3
    it is of order 3, because the first step is of order 2 even when corrected. Everything is exact for the polynomial
    through the known values, where B(h) cancels; with two values `rule` chooses B(h), as in the paper's code.

    Raises `UsageError` unless order is 1, 2 or 3, and for an unknown rule.
    """
    if order not in (1, 2, 3):
        raise UsageError(f"order = {order} is out of range: unipc has the orders 1, 2 and 3.")
    if rule not in RULES:
        raise unknown_name("rule of unipc", rule, RULES)
    yield from adams(denoiser, x, times, order=order, prediction="x0", correct=True, rule=RULES[rule])
