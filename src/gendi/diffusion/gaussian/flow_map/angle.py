"""The angle, which is the natural time of a path: what schedules differ in is only how fast they go along it.

    theta = arctan(sigma / alpha),    z = x / sqrt(alpha^2 + sigma^2) = cos(theta) x_0 + sin(theta) eps

On the path of the probability-flow ODE dz / dtheta = cos(theta) eps_hat - sin(theta) x0_hat
(`gendi.diffusion.gaussian.sde`), which is v of v-prediction where alpha^2 + sigma^2 = 1. It is of unit size from the
data, theta = 0, to the noise, theta = pi / 2, while dx / dt of the cosine schedule has no bound at t = 0. So velocities
of students are meant per radian, and of z: the average velocity between two times is

    u = (z_t - z_s) / (theta_t - theta_s) = average_velocity(z_t, z_s, theta_t, theta_s)

For rectified flow, alpha = 1 - t and sigma = t, z = x / sqrt(alpha^2 + sigma^2) goes along the same path as x.
"""

from dataclasses import dataclass

import torch

from gendi.diffusion.forward_mode import dual
from gendi.diffusion.gaussian.process import Batch, PerSample64, Time, like
from gendi.diffusion.gaussian.schedule import Schedule


def angle_at(schedule: Schedule, t: Time) -> tuple[PerSample64, PerSample64]:
    """Return theta = arctan(sigma / alpha) and the radius sqrt(alpha^2 + sigma^2) at t, float64 of t's shape."""
    alpha, sigma = schedule(t)
    return torch.atan2(sigma, alpha), (alpha.square() + sigma.square()).sqrt()


def time_at(schedule: Schedule, theta: PerSample64) -> PerSample64:
    """Return the time of an angle above 0, clamped to at most 1."""
    return schedule.time(-2 * theta.tan().log())


@dataclass(frozen=True)
class Place:
    """Times of some rows, float64 (B,) each: the angle, the radius and t itself."""

    theta: PerSample64
    radius: PerSample64
    t: PerSample64

    @classmethod
    def of(cls, schedule: Schedule, t: PerSample64) -> "Place":
        """Return the place of the times t."""
        return cls(*angle_at(schedule, t), t)

    def moving(self, schedule: Schedule) -> "Place":
        """Return this place, at t > 0, as dual tensors whose tangents are derivatives by theta.

            dt / dtheta = 2 sigma (alpha^2 + sigma^2) / (alpha g^2)
            d(radius) / dt = (f radius^2 + g^2 / 2) / radius

        The first follows from d log SNR / dt = -g^2 / sigma^2, the second from the moments of dx = f x dt + g dw. No
        schedule is differentiated, so chains, whose curves have corners, are places like others.
        """
        f, g2 = schedule.rates(self.t)
        per_angle = 2 * self.theta.tan() * self.radius.square() / g2
        grows = (f * self.radius.square() + g2 / 2) / self.radius * per_angle
        return Place(dual(self.theta, torch.ones_like(self.theta)), dual(self.radius, grows), dual(self.t, per_angle))


def turning(x_0: Batch, eps: Batch, theta: PerSample64) -> tuple[Batch, Batch]:
    """Return z = cos(theta) x_0 + sin(theta) eps and dz / dtheta = cos(theta) eps - sin(theta) x_0, of x_0's shape."""
    cos, sin = like(theta.cos(), x_0), like(theta.sin(), x_0)
    return cos * x_0 + sin * eps, cos * eps - sin * x_0
