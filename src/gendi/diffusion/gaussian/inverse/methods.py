"""Solving y = A x_0 + s n with any sampler: inpainting, upscaling, deblurring.

mmps, pigdm, dps    put a posterior denoiser in the denoiser's place: `gendi.diffusion.gaussian.inverse.posterior`
repaint             is for masks alone: `gendi.diffusion.gaussian.inverse.repaint`
"""

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from gendi.diffusion.batches import indices
from gendi.diffusion.conditions import Conditions, take
from gendi.diffusion.gaussian.denoiser import Denoiser
from gendi.diffusion.gaussian.inverse.operators import Mask, Operator
from gendi.diffusion.gaussian.inverse.posterior import POSTERIORS
from gendi.diffusion.gaussian.inverse.repaint import repaint
from gendi.diffusion.gaussian.process import Batch
from gendi.diffusion.gaussian.samplers.draw import draw, trajectory
from gendi.diffusion.gaussian.samplers.drawing import Drawing
from gendi.diffusion.gaussian.samplers.state import State
from gendi.errors import unknown_name
from gendi.machine.stopping import Poll

METHODS = (*POSTERIORS, "repaint")
STD = 0.05
"""The standard deviation of noise that an exact y is given, as room for the details that a network gets wrong."""


def solve(
    denoiser: Denoiser,
    operator: Operator,
    y: Float[Tensor, " n *y_shape"],
    shape: tuple[int, ...],
    how: Drawing,
    *,
    method: str = "mmps",
    std: float = STD,
    cond: Conditions | None = None,
    poll: Poll | None = None,
    **options: Any,
) -> Float[Tensor, " n *shape"]:
    """Return a draw from q(x_0 | y) for each y (n, ...), within the accuracy of the method.

    Args:
        denoiser: E[x_0 | x_t].
        operator: A.
        y: measurements, (n, ...).
        shape: shape of one x_0.
        how: the settings of the sampler.
        method: a name in `gendi.diffusion.gaussian.inverse.posterior.POSTERIORS`.
        std: standard deviation of y's noise; give an exact y a little too.
        cond: conditions, n rows each.
        poll: called after every network call; raise from it to stop.
        options: options of the method: iterations, spread, zeta, clip.

    Raises:
        UsageError: an unknown method, and the errors of the method, the operator and
            `gendi.diffusion.gaussian.samplers.sample`.
    """
    if method not in POSTERIORS:
        raise unknown_name("method", method, POSTERIORS)
    kind = POSTERIORS[method]

    def work(rows: slice) -> Iterator[State]:
        posterior = kind(denoiser, operator, y[rows], std, **options)
        which = list(indices(rows, how.first_index))
        return trajectory(posterior, shape, which, how, cond=take(cond, rows, how.device), poll=poll)

    return draw(len(y), how, work)


def inpaint(
    denoiser: Denoiser,
    x_0: Batch,
    known: Bool[Tensor, " *mask"],
    how: Drawing,
    *,
    method: str = "mmps",
    std: float = STD,
    cond: Conditions | None = None,
    poll: Poll | None = None,
    **options: Any,
) -> Float[Tensor, " n *shape"]:
    """Return x_0 (n, ...) with its unknown values drawn anew; known values stay as they are.

    Args:
        denoiser, how, cond, poll: see `solve`.
        x_0: data (n, ...); values that are not known do not matter.
        known: which values are known, of a shape that broadcasts to that of one sample.
        method: one of METHODS.
        std: as for `solve`; RePaint does not use it.
        options: options of the method: iterations, spread, zeta, clip; for RePaint resamplings, jump.

    Raises:
        UsageError: as `solve`; the mask does not fit, or leaves nothing known or nothing unknown.
    """
    if method not in METHODS:
        raise unknown_name("method", method, METHODS)
    operator, shape = Mask(known), tuple(x_0.shape[1:])
    operator.y_shape(shape)
    if method == "repaint":

        def work(rows: slice) -> Iterator[State]:
            run = partial(repaint, y=x_0[rows], known=known, **options)
            which = list(indices(rows, how.first_index))
            return trajectory(denoiser, shape, which, how, cond=take(cond, rows, how.device), run=run, poll=poll)

        x = draw(len(x_0), how, work)
    else:
        x = solve(
            denoiser, operator, operator(x_0), shape, how, method=method, std=std, cond=cond, poll=poll, **options
        )
    return torch.where(known.cpu(), x_0.to(x), x)
