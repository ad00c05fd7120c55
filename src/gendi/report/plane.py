"""Pictures of worlds that fit on paper: densities in one dimension; points, scores and paths in the plane.

They draw any denoiser, exact or learned, so a model of a toy world can be laid beside the truth.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray

from gendi.diffusion.gaussian.denoiser import Denoiser
from gendi.diffusion.gaussian.process import Time
from gendi.diffusion.gaussian.rectangles import RectangleDenoiser
from gendi.diffusion.gaussian.samplers import trajectory
from gendi.diffusion.gaussian.schedule import Schedule
from gendi.diffusion.gaussian.sde import score
from gendi.report.style import LIGHT, Theme, drawing

Points = NDArray[np.float64]
SIDE = 4.2
REPORT_STEPS = (0, 1, 100, 300, 1000)
"""The steps of the GENDI report's figures 1 and 2."""


def marginals(
    values: Points, schedule: Schedule, steps: Sequence[int] = REPORT_STEPS, *, bins: int = 60, places: int = 400
) -> tuple[Points, dict[int, Points]]:
    """Return x (places,) and, for each step i of a chain, the density of x_i there (places,).

    The data are any numbers (n,), whose histogram of so many bins is taken for their density. What noise makes of a
    histogram is a formula, so nothing is simulated. Step i of a schedule in continuous time is the time i / 1000.
    """
    mass, edges = np.histogram(values, bins)
    kept = mass > 0
    centres, half = (edges[1:] + edges[:-1]) / 2, (edges[1] - edges[0]) / 2
    world = RectangleDenoiser(
        schedule,
        torch.from_numpy(mass[kept] / mass.sum()),
        torch.from_numpy(centres[kept])[:, None],
        torch.ones(int(kept.sum()), 1, 1),
        torch.full((int(kept.sum()), 1), half),
        thickness=1e-6 * half,
    )
    reach = max(4.0, 1.2 * float(np.abs(values).max()))
    x = np.linspace(-reach, reach, places)
    at = torch.from_numpy(x)[:, None]
    times = {i: torch.tensor(i / (schedule.steps or REPORT_STEPS[-1]), dtype=torch.float64) for i in steps}
    return x, {i: np.asarray(world.log_density(at, t).exp()) for i, t in times.items()}


def marginals_figure(
    values: Points, schedule: Schedule, steps: Sequence[int] = REPORT_STEPS, *, theme: Theme = LIGHT
) -> Figure:
    """Draw the densities of `marginals` one under another: figures 1 and 2 of the GENDI report for any numbers."""
    x, found = marginals(values, schedule, steps)
    with drawing(theme, 5.6, 1.1 * len(steps) + 0.6) as (figure, axes):
        axes.remove()
        rows = figure.subplots(len(steps), 1, sharex=True)
        normal = np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi)
        for row, (i, density) in zip(np.atleast_1d(rows), found.items(), strict=True):
            row.fill_between(x, density, color=theme.blue, alpha=0.35, lw=0)
            row.plot(x, density, color=theme.blue, lw=1.4)
            row.plot(x, normal, color=theme.muted, lw=0.9, ls="--")
            row.set_yticks([])
            row.text(0.99, 0.78, f"t = {i}", transform=row.transAxes, ha="right", color=theme.ink)
        row.set_xlabel("x; dashed: N(0, 1)")
    return figure


def scatter_figure(*sets: tuple[str, Points], theme: Theme = LIGHT, limit: float = 2.8) -> Figure:
    """Draw sets of points, each a title and an array (n, 2), side by side on the same scale."""
    with drawing(theme, 3.1 * len(sets), 3.3) as (figure, axes):
        axes.remove()
        for place, (title, rows) in zip(
            np.atleast_1d(figure.subplots(1, len(sets), sharex=True, sharey=True)), sets, strict=True
        ):
            place.scatter(rows[:, 0], rows[:, 1], s=3, color=theme.blue, alpha=0.5, linewidths=0)
            place.set_title(title, fontsize=11)
            place.set_xlim(-limit, limit), place.set_ylim(-limit, limit)
            place.set_aspect("equal")
            place.set_xticks([]), place.set_yticks([])
    return figure


def field_figure(
    denoiser: Denoiser, t: Time, points: Points | None = None, *, theme: Theme = LIGHT, limit: float = 2.8
) -> Figure:
    """Draw the score at time t as arrows on a grid of 21 x 21 places, over points (n, 2) if they are given.

    The longest arrow is as long as the distance of two places; the others are in proportion.
    """
    line = torch.linspace(-limit, limit, 21, dtype=torch.float32)
    grid = torch.cartesian_prod(line, line)
    with torch.no_grad():
        arrows = score(denoiser, grid, t).double().numpy()
    arrows = arrows / np.hypot(*arrows.T).max() * float(line[1] - line[0])
    with drawing(theme, SIDE, SIDE) as (figure, axes):
        if points is not None:
            axes.scatter(points[:, 0], points[:, 1], s=3, color=theme.orange, alpha=0.35, linewidths=0)
        axes.quiver(*grid.numpy().T, *arrows.T, color=theme.blue, angles="xy", scale_units="xy", scale=1, width=0.004)
        axes.set_xlim(-limit, limit), axes.set_ylim(-limit, limit)
        axes.set_aspect("equal")
        axes.set_xticks([]), axes.set_yticks([])
    return figure


def paths_figure(
    denoiser: Denoiser, *, n: int = 60, theme: Theme = LIGHT, limit: float = 3.2, cond: Any = None, **settings: Any
) -> Figure:
    """Draw the paths of n samples from noise (dots) to data (rings), with a sampler's settings by keyword."""
    states = list(trajectory(denoiser, (2,), range(n), cond=cond, **settings))
    way = torch.stack([state.x for state in states]).double().numpy()
    with drawing(theme, SIDE, SIDE) as (figure, axes):
        for k in range(n):
            axes.plot(*way[:, k].T, color=theme.blue, alpha=0.35, lw=0.8)
        axes.scatter(way[0, :, 0], way[0, :, 1], s=6, color=theme.muted, linewidths=0)
        axes.scatter(way[-1, :, 0], way[-1, :, 1], s=14, facecolors="none", edgecolors=theme.orange, linewidths=1)
        axes.set_xlim(-limit, limit), axes.set_ylim(-limit, limit)
        axes.set_aspect("equal")
        axes.set_xticks([]), axes.set_yticks([])
    return figure
