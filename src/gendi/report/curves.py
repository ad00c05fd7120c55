"""The loss over training: the whole on a logarithmic axis, the later part on a linear one, and the held-out loss."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter
from numpy.typing import NDArray

from gendi.report.style import LIGHT, Theme, drawing, label_ends

Lines = Sequence[Mapping[str, Any]]
Curve = tuple[NDArray[np.float64], NDArray[np.float64]]

QUARTILES = ("least noise", "2nd quarter", "3rd quarter", "most noise")


def column(lines: Lines, name: str) -> Curve:
    """Return (images seen, value) of the lines that hold a finite number `name`; steps stand in for missing images."""
    points = [
        (float(line.get("images", line["step"])), float(line[name]))
        for line in lines
        if isinstance(line.get(name), int | float)
    ]
    x, y = np.array(points, np.float64).reshape(-1, 2).T
    keep = np.isfinite(y)
    return x[keep], y[keep]


def smoothed(y: NDArray[np.float64], share: float = 0.03) -> NDArray[np.float64]:
    """Return the centred running mean of y over `share` of its points; windows shrink at both ends."""
    half = max(1, round(len(y) * share / 2))
    total = np.concatenate([[0.0], y.cumsum()])
    i = np.arange(len(y))
    half_here = np.minimum(half, np.minimum(i, len(y) - 1 - i))
    low, high = i - half_here, i + half_here + 1
    return np.asarray((total[high] - total[low]) / (high - low))


def images_axis(axes: Axes, largest: float, noun: str) -> None:
    """Label the horizontal axis, which shows the images seen, up to `largest`."""
    unit, name = (1e6, f"million {noun} seen") if largest >= 2e6 else (1e3, f"thousand {noun} seen")
    if largest < 2e3:
        unit, name = 1.0, f"{noun} seen"
    axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x / unit:g}"))
    axes.set_xlabel(name)


def _log_axis(axes: Axes, y: NDArray[np.float64]) -> None:
    axes.set_yscale("log")
    decades = float(np.log10(y.max() / y.min())) if len(y) and y.min() > 0 else 0.0
    marks = (1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0) if decades < 0.9 else (1.0, 2.0, 5.0) if decades < 2 else (1.0,)
    axes.yaxis.set_major_locator(LogLocator(10, subs=marks))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())


def loss_figure(lines: Lines, *, zoom: bool = False, theme: Theme = LIGHT, noun: str = "images") -> Figure:
    """Draw the training loss against images seen, raw and smoothed.

    The axis of the loss is logarithmic. With `zoom` it is linear, and only the last four fifths are shown.
    """
    x, y = column(lines, "loss")
    with drawing(theme) as (figure, axes):
        mean = smoothed(y)
        axes.plot(x, y, color=theme.blue, lw=0.6, alpha=0.35)
        axes.plot(x, mean, color=theme.blue)
        axes.grid(axis="y")
        axes.set_ylabel("training loss")
        if len(x):
            images_axis(axes, x.max(), noun)
            axes.set_xlim(0, x.max() or 1)
        late = x >= x.max() / 5 if len(x) else np.zeros(0, bool)
        if zoom and late.any():
            low, high = np.quantile(y[late], [0.005, 0.995])
            margin = 0.08 * (high - low) + 1e-9
            axes.set_ylim(min(low, mean[late].min()) - margin, max(high, mean[late].max()) + margin)
            axes.set_xlim(min(x[late].min(), 0.8 * x.max()), x.max() or 1)
        elif not zoom and len(y) and y.min() > 0:
            _log_axis(axes, mean)
    return figure


def heldout_figure(lines: Lines, *, theme: Theme = LIGHT, noun: str = "images") -> Figure:
    """Draw the held-out loss and its four parts by quartile of t, on a logarithmic axis.

    The name of each line stands at its end.
    """
    rows = [
        {**line, **{f"q{i}": value for i, value in enumerate(line.get("heldout_q") or ())}}
        for line in lines
        if isinstance(line.get("heldout"), int | float)
    ]
    curves = [(column(rows, f"q{i}"), QUARTILES[i], theme.colours[i], 1.4) for i in range(4)]
    curves.append((column(rows, "heldout"), "all t", theme.ink, 2.2))
    curves = [curve for curve in curves if len(curve[0][0])]
    with drawing(theme) as (figure, axes):
        for (x, y), _, colour, width in curves:
            axes.plot(x, y, color=colour, lw=width, marker="o", ms=3.2 if len(x) < 40 else 0)
        values = np.concatenate([y for (_, y), _, _, _ in curves]) if curves else np.zeros(0)
        axes.grid(axis="y")
        axes.set_ylabel("held-out loss")
        if len(values):
            if values.min() > 0:
                _log_axis(axes, values)
            largest = max(x.max() for (x, _), _, _, _ in curves)
            images_axis(axes, largest, noun)
            axes.set_xlim(0, largest * 1.02)
            figure.draw_without_rendering()
            label_ends(axes, [(x[-1], y[-1], name, colour) for (x, y), name, colour, _ in curves])
    return figure
