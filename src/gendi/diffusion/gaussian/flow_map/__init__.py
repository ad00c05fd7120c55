"""Flow maps: from x_t to x_s on the probability-flow ODE in one call.

The ODE joins each x_t to one point x_s at every other time s. A flow map F knows the way,

    x_s = F(x_t, t, s),    F(x_t, t, t) = x_t,    F(F(x_t, t, s), s, r) = F(x_t, t, r),

so one call does the work of a solver's many. Its end at s = 0 is the consistency function f(x_t, t), which takes the
place of E[x_0 | x_t] in the contract of a denoiser. The two are different: f is where this x_t comes from, and
E[x_0 | x_t] is the mean of all x_0 that it might come from.

    contract.py      the contract of a flow map
    quantities.py    average velocity, shortcut and the target of progressive distillation, as formulas of two points
    exact.py         the flow map of a Gaussian, by formula, and of a mixture, by the ODE
    angle.py         the angle arctan(sigma / alpha), in which velocities of networks are meant
    network.py       the flow map of a network, which is a denoiser too
    slope.py         the change of an average velocity along the path
"""

from gendi.diffusion.gaussian.flow_map.contract import FlowMap
from gendi.diffusion.gaussian.flow_map.exact import GaussianFlow, MixtureFlow
from gendi.diffusion.gaussian.flow_map.quantities import (
    average_velocity,
    ddim_step,
    ddim_target,
    moved,
    shortcut_target,
)

__all__ = [
    "FlowMap",
    "GaussianFlow",
    "MixtureFlow",
    "average_velocity",
    "ddim_step",
    "ddim_target",
    "moved",
    "shortcut_target",
]
