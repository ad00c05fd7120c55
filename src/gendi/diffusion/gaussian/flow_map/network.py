"""The flow map of a network, which is a denoiser too.  [Geng et al. 2025, "Mean Flows"]

The network is told where it is by the angle, and how far to go, beside the time. Its output stands for the average
velocity in the angle (`angle.py`), as the output of the same parameterisation stands for the velocity at one time:

    u(z_t, t, s) = k_skip z_t + k_out F(c_in x_t, time, angles),    z_s = z_t - (theta_t - theta_s) u(z_t, t, s)

           k_skip                              k_out          c_in x_t
    v      0                                   1 / radius     x_t
    EDM    cos sin (1 - s_d^2) / n^2           -s_d / n       z / n,    n^2 = sin^2 + cos^2 s_d^2

Here s_d is sigma_data, and sin and cos are those of theta_t. With s = t it is the velocity itself, and

    E[x_0 | x_t] = cos(theta) z_t - sin(theta) u(z_t, t, t)

is the answer as a denoiser, for samplers of any kind, guidance and likelihoods; `move` is the flow map.
"""

from typing import Any

import torch
from torch import Tensor

from gendi.diffusion.conditions import by_name
from gendi.diffusion.gaussian.denoiser import NetworkDenoiser
from gendi.diffusion.gaussian.flow_map.angle import Place, angle_at
from gendi.diffusion.gaussian.process import Batch, PerSample64, Time, like
from gendi.diffusion.gaussian.schedule import as_times
from gendi.diffusion.networks.told import ANGLE, TO_GO
from gendi.errors import UsageError

FAR = 20.0
"""The noise level, in standard deviations of the data, at which the time that the network sees ends: few rows of a
teacher were noisier, and by the angle this input would change ever more quickly. The angle that it is told goes on."""


class FlowMapDenoiser(NetworkDenoiser):
    """The flow map, and denoiser, that the module's docstring describes; the arguments are those of `NetworkDenoiser`.

    Raises `UsageError` unless the network predicts v or has EDM's preconditioning.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not self.parameterisation.precondition and self.parameterisation.prediction != "v":
            raise UsageError(
                f"a network that predicts {self.parameterisation.prediction} cannot be a flow map: at one end of the "
                "path its answer says next to nothing about the velocity. It must predict v, or have EDM's "
                "preconditioning."
            )

    def velocity(self, z: Batch, place: Place, to: PerSample64, /, **cond: Tensor) -> Batch:
        """Return u (B, ...) of z at a place, (B,) each, to the angle `to` (B,)."""
        cos, sin, s_d = place.theta.cos(), place.theta.sin(), self.sigma_data
        if self.parameterisation.precondition:
            n = (sin.square() + (cos * s_d).square()).sqrt()
            k_skip, k_out, scale = cos * sin * (1 - s_d**2) / n.square(), -s_d / n, 1 / n
        else:
            k_skip, k_out, scale = None, 1 / place.radius, place.radius
        out = self.told_output(z, place, to, scale, cond)
        u = like(k_out, z) * out
        return u if k_skip is None else u + like(k_skip, z) * z

    def told_output(
        self, z: Batch, place: Place, to: PerSample64, scale: PerSample64, cond: dict[str, Tensor]
    ) -> Batch:
        """Return the network's output for the input `scale` z."""
        value = self._value(place).to(z.device)
        angles = {ANGLE: place.theta, TO_GO: place.theta - to}
        given = {**cond, **{name: (angle / (torch.pi / 2)).float().to(z.device) for name, angle in angles.items()}}

        def some(rows: slice) -> Tensor:
            return self._out(z[rows], value[rows], scale[rows], {name: each[rows] for name, each in given.items()})

        found = self.by_shares(some, len(z))
        return found[0] if len(found) == 1 else torch.cat(found)

    def _value(self, place: Place) -> Tensor:
        """Return what the network sees of the time, float32 (B,)."""
        if self.time_input == "step":
            assert self.schedule.steps is not None
            return (place.t * self.schedule.steps).float()
        return (place.theta.tan().clamp(max=FAR * self.sigma_data).log() / 4).float()

    def move(self, x_t: Batch, t: Time, s: Time, /, **cond: Tensor) -> Batch:
        """Return x_s, of x_t's shape and dtype, for times t > 0 and s of shape () or (B,)."""
        n = len(x_t)
        place = Place.of(self.schedule, as_times(t).double().expand(n).to(x_t.device))
        theta_s, radius_s = (value.expand(n).to(x_t.device) for value in angle_at(self.schedule, s))
        z = x_t / like(place.radius, x_t)
        z_s = z - like(place.theta - theta_s, z) * self.velocity(z, place, theta_s, **cond)
        x_s: Batch = like(radius_s, z) * z_s
        if self.clip is None:
            return x_s
        return torch.where(like(theta_s == 0, x_s).bool(), x_s.clamp(-self.clip, self.clip), x_s)

    def forward(self, x_t: Batch, t: Time, /, **given: Tensor) -> Batch:
        place = Place.of(self.schedule, as_times(t).double().expand(len(x_t)).to(x_t.device))
        z = x_t / like(place.radius, x_t)
        u = self.velocity(z, place, place.theta, **by_name(given))
        x_0: Batch = like(place.theta.cos(), z) * z - like(place.theta.sin(), z) * u
        return x_0 if self.clip is None else x_0.clamp(-self.clip, self.clip)
