"""Dormand and Prince's Runge-Kutta pair of orders 5 and 4, whose last stage is the next step's first.

    k_1 = f(x),    k_i = f(x + h sum_j a_ij k_j),    x_5 = x + h sum_j b_j k_j,    error = h sum_j e_j k_j

[Dormand & Prince 1980, table 2] The next step is aimed at `SAFETY` of the greatest that the tolerance allows; its error
is of fifth order, hence the root. [Hairer, Norsett & Wanner 1993, section II.4]
"""

from collections.abc import Callable, Sequence

from torch import Tensor

NODES = (1 / 5, 3 / 10, 4 / 5, 8 / 9, 1.0, 1.0)
"""Where in the step each stage after the first lies."""
STAGES = (
    (1 / 5,),
    (3 / 40, 9 / 40),
    (44 / 45, -56 / 15, 32 / 9),
    (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
    (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
    (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84),
)
"""Weights of the slopes so far, for the stages after the first; the last row is the solution of order 5."""
ERROR = (71 / 57600, 0.0, -71 / 16695, 71 / 1920, -17253 / 339200, 22 / 525, -1 / 40)
"""The solution of order 5 less that of order 4."""
CALLS = len(STAGES)
"""Slopes computed in a step, beside the first, which the step before has computed."""
SMALLEST, LARGEST, SAFETY = 0.2, 5.0, 0.9
"""How much a step may shrink or grow, and the share of the allowed step that is aimed at."""


def trial_step(
    slope: Callable[..., Tensor], places: Sequence[tuple[Tensor, ...]], x: Tensor, h: Tensor, first: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the solution of order 5 after a step from x, its estimated error, and the slope there.

    Args:
        slope: maps x and what `places` says of a stage to dx, of x's shape.
        places: what belongs to each of the six stages, the time for instance, at the `NODES` of the step.
        x: where the step starts (B, ...).
        h: the step of each row, of a shape that multiplies x's; it may be negative.
        first: the slope at x.
    """
    slopes = [first]
    there = x
    for weights, place in zip(STAGES, places, strict=True):
        there = x + h * _combined(weights, slopes)
        slopes.append(slope(there, *place))
    return there, h * _combined(ERROR, slopes), slopes[-1]


def growth(ratio: Tensor) -> Tensor:
    """Return the factor (B,) for the next step after one whose error was `ratio` (B,) times the tolerance."""
    return (SAFETY * ratio.clamp(min=1e-10) ** -0.2).clamp(SMALLEST, LARGEST)


def _combined(weights: Sequence[float], slopes: Sequence[Tensor]) -> Tensor:
    total = weights[0] * slopes[0]
    for weight, slope in zip(weights[1:], slopes[1:], strict=True):
        if weight:
            total = total + weight * slope
    return total
