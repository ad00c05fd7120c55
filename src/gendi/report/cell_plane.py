"""Groups of cells in one plane: a UMAP of their principal components, or the first two of these.

A UMAP keeps neighbours together, and says little about distances between groups and their sizes. Principal components
keep both as far as two directions can.  [McInnes, Healy & Melville 2018]
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64, Int64
from matplotlib.figure import Figure

from gendi.data.cells.normalise import log_normalise
from gendi.report.portrait import umap_of
from gendi.report.style import Theme, drawing

COMPONENTS = 10
"""Of which neighbours are found: in many more, what is noise decides who is near."""
UMAP, PCA = "umap", "pca"
NAMES = {UMAP: "UMAP", PCA: "principal component"}


def in_plane(groups: Sequence[Int64[np.ndarray, "_ g"]], how: str) -> tuple[list[Float64[np.ndarray, "_ 2"]], str]:
    """Return the points of groups of counts (n, G), and how they were found: `UMAP`, or `PCA` where there is none."""
    logs = log_normalise(np.concatenate(list(groups)))
    logs -= logs.mean(0)
    values, vectors = np.linalg.eigh(logs @ logs.T)
    largest = np.argsort(values)[::-1][:COMPONENTS]
    z = vectors[:, largest] * np.sqrt(np.maximum(values[largest], 0))
    found = umap_of(z) if how == UMAP else None
    points = np.pad(z, ((0, 0), (0, max(0, 2 - z.shape[1]))))[:, :2] if found is None else found
    return np.split(points, np.cumsum([len(group) for group in groups])[:-1]), PCA if found is None else UMAP


def draw_plane(points: Sequence[Float64[np.ndarray, "_ 2"]], names: Sequence[str], how: str, theme: Theme) -> Figure:
    """Return the figure of up to three groups of points with their names, in a mixed order, so that none hides one."""
    colours = (theme.muted, theme.blue, theme.orange)
    each = np.repeat(np.array(colours[: len(points)]), [len(own) for own in points])
    order = np.random.default_rng(0).permutation(len(each))
    with drawing(theme, height=4.0) as (figure, axes):
        x, y = np.concatenate(list(points))[order].T
        axes.scatter(x, y, c=each[order].tolist(), s=8, alpha=0.75, linewidths=0)
        axes.set(xticks=[], yticks=[], xlabel=f"{NAMES[how]} 1", ylabel=f"{NAMES[how]} 2")
        shown = [axes.scatter([], [], s=30, color=c, label=name) for c, name in zip(colours, names, strict=False)]
        figure.legend(handles=shown, loc="outside upper center", ncols=3, frameon=False, fontsize=9)
    return figure
