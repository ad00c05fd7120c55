"""The quantities of several methods of distillation, as formulas of two points x_t and x_s on one path of the ODE.

    average velocity    u = (x_t - x_s) / (t - s)                                  [Geng et al. 2025 (MeanFlow), eq. 3]
    shortcut            u over a step of a given length; over twice that length it is the mean of the two halves
                                                                                   [Frans et al. 2025, eq. 4]
    DDIM's target       the x_0 towards which a step of DDIM from x_t ends in x_s  [Salimans & Ho 2022, appendix G]

Times are () or (B,), and s differs from t.
"""

from torch import Tensor

from gendi.diffusion.gaussian.process import Batch, Time, like
from gendi.diffusion.gaussian.schedule import Schedule, as_times


def average_velocity(x_t: Batch, x_s: Batch, t: Time, s: Time) -> Batch:
    """Return the velocity that goes straight from x_s to x_t in the time t - s, of x_t's shape."""
    return (x_t - x_s) / like(_difference(t, s), x_t)


def moved(x_t: Batch, velocity: Batch, t: Time, s: Time) -> Batch:
    """Return x_s from x_t and the average velocity between them."""
    return x_t - like(_difference(t, s), x_t) * velocity


def shortcut_target(first: Batch, second: Batch) -> Batch:
    """Return the average velocity over two steps of equal length, from those over each of them."""
    return (first + second) / 2


def ddim_target(schedule: Schedule, x_t: Batch, x_s: Batch, t: Time, s: Time) -> Batch:
    """Return the x_0 for which DDIM's step from x_t at t ends in x_s; it is x_s itself at s = 0.

    x_0 = (x_s - sigma_s / sigma_t x_t) / (alpha_s - alpha_t sigma_s / sigma_t)
    """
    (alpha_t, sigma_t), (alpha_s, sigma_s) = schedule(t), schedule(s)
    ratio = sigma_s / sigma_t
    return (x_s - like(ratio, x_t) * x_t) / like(alpha_s - alpha_t * ratio, x_t)


def ddim_step(schedule: Schedule, x_t: Batch, x_0: Batch, t: Time, s: Time) -> Batch:
    """Return x_s = alpha_s x_0 + sigma_s (x_t - alpha_t x_0) / sigma_t, of x_t's shape.  [Song et al. 2021, eq. 12]"""
    (alpha_t, sigma_t), (alpha_s, sigma_s) = schedule(t), schedule(s)
    ratio = sigma_s / sigma_t
    return like(alpha_s - alpha_t * ratio, x_t) * x_0 + like(ratio, x_t) * x_t


def _difference(t: Time, s: Time) -> Tensor:
    return as_times(t).double() - as_times(s).double()
