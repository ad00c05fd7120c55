"""The exact effect of the forward process on a distribution: the density of a one-dimensional mixture at every t.

For q(x_0) = sum_k w_k N(m_k, s_k^2), every marginal is a mixture again:

    q(x_t) = sum_k w_k N(alpha m_k, alpha^2 s_k^2 + sigma^2).

The mixture here has mean 0 and variance 1, so a variance-preserving process keeps its variance at exactly 1, while the
same noise added without shrinking the signal makes it grow and grow.
"""

import functools

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from gendi.diffusion.gaussian.exact import MixtureDenoiser
from gendi.diffusion.gaussian.schedule import Linear, Schedule, Tabulated, VarianceExploding, VariancePreserving
from gendi.report.style import LIGHT, Theme, drawing

WEIGHTS = (0.4, 0.6)
MEANS = (-1.2, 0.8)
SPREAD = 0.2
"""Standard deviation of each component: 0.4 * 1.2^2 + 0.6 * 0.8^2 + 0.2^2 = 1."""
LIMIT = 6.0
"""The figure shows x from -LIMIT to LIMIT: enough to see a variance explode, and to see two peaks merge."""


def density_evolution(schedule: Schedule, x: NDArray[np.float64], t: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return q(x_t) of the mixture at every x (n,) and time t (m,) in [0, 1]: densities, (n, m)."""
    oracle = MixtureDenoiser(
        schedule, torch.tensor(WEIGHTS), torch.tensor(MEANS)[:, None], torch.full((2, 1, 1), SPREAD**2)
    )
    grid_x, grid_t = (torch.from_numpy(np.ascontiguousarray(a)).reshape(-1) for a in np.meshgrid(x, t, indexing="ij"))
    return np.asarray(oracle.log_density(grid_x[:, None], grid_t).exp().reshape(len(x), len(t)).numpy())


def deviation(schedule: Schedule, t: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the standard deviation of x_t, (m,), for data of variance 1: sqrt(alpha^2 + sigma^2)."""
    alpha, sigma = schedule(torch.from_numpy(t))
    return np.asarray((alpha**2 + sigma**2).sqrt().numpy())


def process_pair(schedule: Schedule | None) -> tuple[VariancePreserving, VarianceExploding]:
    """Return a run's own schedule in continuous time, and the process that adds the same noise without scaling.

    The linear schedule stands in for a schedule that does not preserve variance, and for None. The variance that a
    variance-preserving process adds in total is the integral of beta, which is -log abar(1).
    """
    if isinstance(schedule, Tabulated):
        preserving: VariancePreserving = Tabulated(schedule.levels)
    else:
        preserving = type(schedule)() if isinstance(schedule, VariancePreserving) else Linear()
    total = -float(preserving.log_abar(torch.tensor(1.0, dtype=torch.float64)))
    return preserving, VarianceExploding(variance=total)


@functools.lru_cache(maxsize=4)
def _field(schedule: Schedule) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return times (m,) and the density at them over [-LIMIT, LIMIT], (n, m); cached, as both themes draw it."""
    t = np.linspace(0, 1, 320)
    return t, density_evolution(schedule, np.linspace(-LIMIT, LIMIT, 360), t)


def density_figure(schedule: Schedule, *, theme: Theme = LIGHT) -> Figure:
    """Draw q(x_t) against t for x in [-LIMIT, LIMIT], with dashed lines at ±2 standard deviations.

    Colour is the square root of the density, on one scale for every schedule: the data's highest peak is the darkest.
    """
    t, density = _field(schedule)
    with drawing(theme) as (figure, axes):
        axes.imshow(
            np.sqrt(density / density[:, 0].max()),
            extent=(0, 1, -LIMIT, LIMIT),
            origin="lower",
            aspect="auto",
            cmap=theme.sequential,
            vmin=0,
            vmax=1,
            interpolation="bilinear",
        )
        edge = 2 * deviation(schedule, t)
        for sign in (1, -1):
            axes.plot(t, sign * edge, color=theme.orange, lw=1.4, ls=(0, (4, 3)))
        axes.yaxis.set_major_locator(MaxNLocator(7, integer=True, symmetric=True))
        axes.set_ylim(-LIMIT, LIMIT)
        axes.set_xlabel("t   (0 is data, 1 is noise)")
        axes.set_ylabel("x")
    return figure
