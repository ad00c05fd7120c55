"""The change of an average velocity along the path, which the MeanFlow identity needs.

    du / dtheta = d u(z + (theta' - theta) v, theta', theta_s) / dtheta'    at theta' = theta, theta_s fixed

It comes from forward-mode differentiation (Jacobian times vector, one pass with a tangent beside every value), or from
central differences, which need two passes. In float32 the differences err by about 1e-6 / step, and by the square of
the step times the curvature. They do not see what changes within a step, such as the ripples that sinusoids of the time
leave in a network.
"""

import torch
from torch import Tensor

from gendi.diffusion.conditions import Conditions
from gendi.diffusion.forward_mode import dual, dual_level, tangent_of
from gendi.diffusion.gaussian.flow_map.angle import Place, angle_at, time_at
from gendi.diffusion.gaussian.flow_map.network import FlowMapDenoiser
from gendi.diffusion.gaussian.process import Batch, PerSample64, like

STEP = 0.05
"""The most that a difference goes to either side, in radians; it is a quarter of the angle where that is less."""


@torch.no_grad()
def slope_forward(
    denoiser: FlowMapDenoiser, z: Batch, v: Batch, place: Place, to: PerSample64, cond: Conditions
) -> Batch:
    """Return du / dtheta of z's shape, by forward-mode differentiation; v is dz / dtheta.

    Raises an error that `gendi.diffusion.forward_mode.lacks_forward_mode` knows if an operator has no such derivative.
    """
    with dual_level():
        u = denoiser.velocity(dual(z, v), place.moving(denoiser.schedule), to, **cond)
        found = tangent_of(u)
        return torch.zeros_like(z) if found is None else found.to(z.dtype)


@torch.no_grad()
def slope_by_differences(
    denoiser: FlowMapDenoiser,
    z: Batch,
    v: Batch,
    place: Place,
    to: PerSample64,
    cond: Conditions,
    step: float = STEP,
) -> Batch:
    """Return du / dtheta of z's shape, by differences: central ones but for the end of the path at t = 1.

    A difference never goes below theta_s.
    """
    schedule, theta = denoiser.schedule, place.theta
    last = angle_at(schedule, torch.ones_like(place.t))[0]
    most = torch.minimum(theta / 4, theta - to).clamp(max=step)
    ends, values = (torch.minimum(theta + most, last), theta - most), list[Tensor]()
    for end in ends:
        there = Place.of(schedule, time_at(schedule, end))
        values.append(denoiser.velocity(z + like(end - theta, z) * v, there, to, **cond))
    return (values[0] - values[1]) / like(ends[0] - ends[1], z)
