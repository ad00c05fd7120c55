"""Worlds of points on strokes, boards and spots whose optimal denoiser is a formula.

A component is a rectangle with centre c, orthonormal axes and half-sides h >= 0, thickened by Gaussian noise of
standard deviation s. Along one of its axes

    x_0 = c + u + s n,    u uniform on [-h, h],  n ~ N(0, 1),    x_t = alpha x_0 + sigma eps

and the axes are independent. With m = x_t / alpha - c and tau^2 = s^2 + (sigma / alpha)^2, the point m is u plus
noise of standard deviation tau. Given x_t, u is therefore a normal variable about m, cut off at -h and h:

    E[u | x_t]   = m + tau (phi(a) - phi(b)) / (Phi(b) - Phi(a)),    a = (-h - m) / tau,  b = (h - m) / tau
    E[x_0 | x_t] = c + E[u | x_t] + (s / tau)^2 (m - E[u | x_t])
    q(x_t)       = (Phi(b) - Phi(a)) / (2 h alpha)

A side of length zero is a point (h = 0), so a rectangle may be a filled square, a stroke of a pen or a Gaussian. A
curve is a chain of short strokes. Several components answer as in a mixture, each with its responsibility for x_t.
"""

import math
from collections.abc import Mapping

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from gendi.diffusion.gaussian.process import Time
from gendi.diffusion.gaussian.schedule import Schedule
from gendi.errors import UsageError, unknown_name


class RectangleDenoiser:
    """The exact denoiser of a mixture of K thickened rectangles in d dimensions, in float64.

    Args:
        schedule: the process.
        weights: (K,), positive, summing to 1.
        centres: (K, d).
        axes: (K, d, d), whose columns are the orthonormal axes.
        halves: (K, d), half the length of each side, 0 or more.
        thickness: the standard deviation s, 0 or more; above 0 if a side has length 0 and densities at t = 0 matter.
        classes: the class of each component (K,), for the condition `class`; None if there are no classes.
    """

    def __init__(
        self,
        schedule: Schedule,
        weights: Float[Tensor, " k"],
        centres: Float[Tensor, " k d"],
        axes: Float[Tensor, " k d d"],
        halves: Float[Tensor, " k d"],
        thickness: float,
        classes: Int64[Tensor, " k"] | None = None,
    ) -> None:
        self.schedule, self.thickness, self.classes = schedule, thickness, classes
        self.weights, self.centres = weights.double(), centres.double()
        self.axes, self.halves = axes.double(), halves.double()

    def __call__(self, x_t: Float[Tensor, " batch d"], t: Time, /, **cond: Tensor) -> Float[Tensor, " batch d"]:
        """Return E[x_0 | x_t, class], (B, d) in x_t's dtype, for t of shape () or (B,); a class of -1 is no class."""
        x_0, joint = self._components(x_t, t)
        share = (joint + self._prior(cond)).softmax(-1)
        return (share[..., None] * x_0).sum(1).to(x_t.dtype)

    def log_density(self, x_t: Float[Tensor, " batch d"], t: Time, /, **cond: Tensor) -> Float64[Tensor, " batch"]:
        """Return log q(x_t | class), (B,) float64, in nats."""
        return (self._components(x_t, t)[1] + self._prior(cond)).logsumexp(-1)

    def log_posterior(self, x_t: Float[Tensor, " batch d"], t: Time) -> Float64[Tensor, " batch classes"]:
        """Return log p(class | x_t) of the classes 0, 1, ...: the exact noise-aware classifier.

        Raises `UsageError` if the world has no classes.
        """
        if self.classes is None:
            raise UsageError("this world has no classes.")
        joint = self._components(x_t, t)[1]
        carried = (self.classes == torch.arange(int(self.classes.max()) + 1)[:, None]).double().log()
        return (joint[:, None] + carried).logsumexp(-1) - joint.logsumexp(-1)[:, None]

    def sample_data(
        self,
        uniform: Float[Tensor, " batch"],
        inside: Float[Tensor, " batch d"],
        normal: Float[Tensor, " batch d"],
    ) -> tuple[Float64[Tensor, " batch d"], Int64[Tensor, " batch"]]:
        """Return data (B, d) and their components (B,).

        Args:
            uniform: numbers in [0, 1), (B,), that pick the component.
            inside: numbers in [0, 1), (B, d), that pick the place in the rectangle.
            normal: standard normal numbers (B, d), for the thickness.
        """
        k = torch.searchsorted(self.weights.cumsum(0), uniform.double()).clamp(max=len(self.weights) - 1)
        along = self.halves[k] * (2 * inside.double() - 1) + self.thickness * normal.double()
        return self.centres[k] + torch.einsum("be,bde->bd", along, self.axes[k]), k

    def _components(self, x_t: Tensor, t: Time) -> tuple[Tensor, Tensor]:
        """Return each component's E[x_0 | x_t] (B, K, d) and log(weight * density of x_t) (B, K)."""
        alpha, sigma = (c.reshape(-1, 1, 1) for c in self.schedule(t))
        m = torch.einsum("bkd,kde->bke", x_t.double()[:, None] / alpha - self.centres, self.axes)
        tau = (self.thickness**2 + (sigma / alpha) ** 2).sqrt()
        u, log_mass = cut_normal(m, tau, self.halves)
        along = u + (self.thickness / tau) ** 2 * (m - u)
        x_0 = self.centres + torch.einsum("bke,kde->bkd", along, self.axes)
        return x_0, self.weights.log() + (log_mass - alpha.log()).sum(-1)

    def _prior(self, cond: Mapping[str, Tensor]) -> Tensor:
        """Return log p(k | class) - log p(k), (B or 1, K)."""
        for name in cond:
            if name != "class" or self.classes is None:
                raise unknown_name("condition", name, () if self.classes is None else ("class",))
        if not cond or self.classes is None:
            return torch.zeros(1, len(self.weights), dtype=torch.float64)
        wanted = cond["class"][:, None]
        carried = ((self.classes == wanted) | (wanted < 0)).double()
        return carried.log() - (carried @ self.weights).log()[:, None]


def cut_normal(m: Tensor, tau: Tensor, half: Tensor) -> tuple[Tensor, Tensor]:
    """Return E[u | m] and log q(m) for u uniform on [-half, half] and m = u + tau n, by broadcasting, float64.

    Where half is 0, u is 0 and q(m) is the normal density. The difference of two tails of the normal distribution is
    taken on the side where the tails are small, so that no digits are lost.
    """
    flat = half == 0
    width = torch.where(flat, torch.ones_like(half), half)
    side = torch.where(m > 0, -1.0, 1.0).to(m)  # u is mirrored so that its interval lies above m
    place = side * m
    low, high = (-width - place) / tau, (width - place) / tau
    # Phi(high) - Phi(low) = Phi(-low) - Phi(-high)
    first, second = torch.special.log_ndtr(-low), torch.special.log_ndtr(-high)
    mass = first + torch.log(-torch.expm1(second - first))
    lean = (_log_phi(low) - mass).exp() - (_log_phi(high) - mass).exp()
    u = side * torch.minimum(torch.maximum(place + tau * lean, -width), width)
    density = mass - (2 * width).log()
    normal = _log_phi(m / tau) - tau.log()
    return torch.where(flat, torch.zeros_like(u), u), torch.where(flat, normal, density)


def _log_phi(x: Tensor) -> Tensor:
    return -0.5 * (x**2 + math.log(2 * math.pi))


def mean_and_variance(denoiser: RectangleDenoiser) -> tuple[Float64[Tensor, " d"], float]:
    """Return the mean (d,) of the data and their mean variance over the d coordinates, by formula."""
    w, d = denoiser.weights, denoiser.centres.shape[1]
    mean = w @ denoiser.centres
    spread = denoiser.centres.square().sum(1) + denoiser.halves.square().sum(1) / 3 + d * denoiser.thickness**2
    return mean, float(w @ spread - mean @ mean) / d
