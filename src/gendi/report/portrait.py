"""Samples beside real rows, for data other than images: a map of both, and statistics of their columns.

Where umap-learn is installed (scanpy brings it along), the map is a UMAP of the principal components of both together;
otherwise it shows the first two components themselves.
"""

import warnings
from collections.abc import Sequence

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from gendi.evaluate.result import PortraitRecord
from gendi.report.style import LIGHT, Theme, drawing

SIDE = 4.2
LEAST_POINTS = 30
"""A UMAP is of more points than this."""
Points = NDArray[np.float64]


def flat_map(record: PortraitRecord, *, umap: bool = True) -> tuple[str, Points, Points]:
    """Return (method, real (n, 2), fake (m, 2)): coordinates from one UMAP of both sets, or from PCA."""
    real, fake = (np.array(z, np.float64).reshape(-1, record.dimensions) for z in (record.real, record.fake))
    both = umap_of(np.concatenate([real, fake])) if umap else None
    if both is not None:
        return "UMAP", both[: len(real)], both[len(real) :]
    real, fake = (np.pad(z, ((0, 0), (0, max(0, 2 - record.dimensions))))[:, :2] for z in (real, fake))
    return "PCA", real, fake


def umap_of(z: Points) -> Points | None:
    """Return a UMAP (n, 2) of points (n, d); None without umap-learn, and for 30 points or 2 dimensions and fewer."""
    if z.shape[1] <= 2 or len(z) <= LEAST_POINTS:
        return None
    threads = torch.get_num_threads()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from umap import UMAP

            out = UMAP(n_neighbors=15, min_dist=0.3, random_state=0).fit_transform(z)
        return np.asarray(out, np.float64)
    except ImportError:
        return None
    finally:
        torch.set_num_threads(threads)  # umap-learn's numba sets the number for the whole process, torch included


def map_figure(method: str, real: Points, fake: Points, *, theme: Theme = LIGHT) -> Figure:
    """Draw real rows and samples in one plane, in a fixed mixed order, so that neither set hides the other."""
    with drawing(theme, SIDE + 1, SIDE) as (figure, axes):
        points = np.concatenate([real, fake])
        colours = np.array([theme.blue] * len(real) + [theme.orange] * len(fake))
        order = np.random.default_rng(0).permutation(len(points))
        x, y = points[order].T
        axes.scatter(x, y, c=colours[order].tolist(), s=9, alpha=0.75, linewidths=0)
        axes.set_xticks([]), axes.set_yticks([])
        axes.set_xlabel(f"{method} 1"), axes.set_ylabel(f"{method} 2")
        _legend(axes, [("real", theme.blue), ("samples", theme.orange)])
    return figure


def mean_variance_figure(record: PortraitRecord, *, theme: Theme = LIGHT) -> Figure:
    """Draw the variance of each column against its mean, real and fake."""
    with drawing(theme, SIDE, SIDE) as (figure, axes):
        for mean, variance, colour in (
            (record.mean_real, record.variance_real, theme.blue),
            (record.mean_fake, record.variance_fake, theme.orange),
        ):
            axes.scatter(mean, variance, s=8, alpha=0.6, color=colour, linewidths=0)
        if record.zeros_real:  # the rows are counts, which span orders of magnitude and are not negative
            axes.set_xscale("log")
            axes.set_yscale("log")
        axes.set_xlabel("mean"), axes.set_ylabel("variance")
        axes.grid()
        _legend(axes, [("real", theme.blue), ("samples", theme.orange)])
    return figure


def against_figure(real: Sequence[float], fake: Sequence[float], what: str, *, theme: Theme = LIGHT) -> Figure:
    """Draw the values of the samples against the real ones, and the line on which they would be equal."""
    with drawing(theme, SIDE, SIDE) as (figure, axes):
        low, high = min(*real, *fake), max(*real, *fake)
        axes.plot([low, high], [low, high], color=theme.muted, lw=0.8)
        axes.scatter(real, fake, s=8, alpha=0.5, color=theme.blue, linewidths=0)
        axes.set_xlabel(f"{what}, real"), axes.set_ylabel(f"{what}, samples")
        axes.set_aspect("equal", adjustable="datalim")
        axes.grid()
    return figure


def _legend(axes: Axes, entries: Sequence[tuple[str, str]]) -> None:
    for (name, colour), x, side in zip(entries, (0.0, 1.0), ("left", "right"), strict=True):
        axes.text(x, 1.02, name, color=colour, transform=axes.transAxes, ha=side, fontweight="bold")
