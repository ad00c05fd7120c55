"""Dormand and Prince's Runge-Kutta pair of orders 5 and 4, with steps of its own for every row of a batch.

One step of length h from y solves dy / dp = f(p, y) with seven slopes k, of which the last is the next step's first:

    k_i       = f(p + c_i h, y + h sum_j a_ij k_j)
    y_next    = y + h sum_j a_7j k_j                         order 5
    error     = h sum_j e_j k_j                              order 5 less order 4     [Dormand & Prince 1980, table 2]

A step whose error is above its tolerance is refused. Either way the next one is h (0.9 / error^(1/5)), error in units
of the tolerance. The rows of a batch share calls of f but nothing else: a row's solution is the same whatever its
neighbours are.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from gendi.diffusion.gaussian.process import like

NODES = (1 / 5, 3 / 10, 4 / 5, 8 / 9, 1.0, 1.0)
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
SMALLEST, LARGEST, SAFETY = 0.2, 5.0, 0.9
"""How much a step may shrink or grow, and the share of the step aimed at."""
ROUND_OFF = 1e-12
"""A row has arrived when it is nearer to its end than this share of the whole way."""

Rows = Int64[Tensor, " rows"]
Positions = Float64[Tensor, " rows"]
States = Float[Tensor, " rows *shape"]
Slope = Callable[[Rows, Positions, States], tuple[Tensor, Tensor | None]]
"""Maps rows of the batch, their positions and their states to their slopes, and to what else the call found (one entry
a row) or None."""
Size = Callable[[States], Positions]
"""Maps errors in units of their tolerances to one number per row, which is at most 1 where the step is good."""


@dataclass(frozen=True)
class Place:
    """Where each row of a batch stands on its way."""

    position: Positions
    y: States
    slope: States
    found: Tensor | None
    """What else the call found that gave `slope`."""
    step: Positions
    """The length of the next step to try."""


def rms(error: States) -> Positions:
    """Return the root mean square over all but the first axis, float64."""
    return error.double().square().flatten(1).mean(1).sqrt()


def solve(
    f: Slope, place: Place, end: Tensor, *, rtol: float, atol: float, size: Size = rms, together: bool = False
) -> Place:
    """Return the place of every row at `end` (() or one per row), which is not below its position.

    Args:
        f: called 6 times a step.
        place: where the rows stand; positions and steps may be on another device than the states.
        rtol, atol: the error of a step is measured in units of atol + rtol |y|.
        size: the norm in which that is at most 1.
        together: whether rows that have arrived take part in the calls until the last one has; without it they leave.
    """
    position, y, slope, found, step = place.position, place.y, place.slope, place.found, place.step
    near = ROUND_OFF * (end - position)
    everyone = torch.arange(len(position), device=position.device)
    while bool((away := end - position > near).any()):
        rows = everyone if together else everyone[away]
        at, start, last = position[rows], y[rows.to(y.device)], step[rows]
        left = (end - position)[rows]
        h = torch.minimum(last, left)  # 0 for rows that have arrived
        slopes = [slope[rows.to(y.device)]]
        for weights, node in zip(STAGES, NODES, strict=True):
            there = start + like(h, y) * _sum(weights, slopes)
            new, seen = f(rows, at + node * h, there)
            slopes.append(new)
        tolerance = atol + rtol * torch.maximum(start.abs(), there.abs())
        error = size(like(h, y) * _sum(ERROR, slopes) / tolerance).to(h.device)
        good = (error <= 1) & (h > 0)
        better = h * (SAFETY * error.clamp(min=1e-10) ** -0.2).clamp(SMALLEST, LARGEST)
        # a step cut short by the end says little about the next: it may only lengthen that
        better = torch.where(good & (h < last), torch.maximum(last, better), better)
        step = step.index_copy(0, rows, torch.where(h > 0, better, last))
        arrives = left - h <= near[rows]
        goal = end.expand(len(position))[rows]
        position = position.index_copy(0, rows[good], torch.where(arrives, goal, at + h)[good])
        chosen, kept = rows[good].to(y.device), good.to(y.device)
        y, slope = y.index_copy(0, chosen, there[kept]), slope.index_copy(0, chosen, slopes[-1][kept])
        if found is not None and seen is not None:
            found = found.index_copy(0, chosen, seen[kept])
    return Place(position, y, slope, found, step)


def _sum(weights: tuple[float, ...], slopes: list[Tensor]) -> Tensor:
    total = weights[0] * slopes[0]
    for w, slope in zip(weights[1:], slopes[1:], strict=True):
        if w:
            total = total + w * slope
    return total
