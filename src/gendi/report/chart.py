"""Line charts as SVG, drawn in a millisecond and in the colours of the page, for pages that are written often.

Figures of a finished report are drawn by matplotlib (`gendi.report.curves`), which takes a hundred times as long.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gendi.report.page import Html, fill

WIDTH, HEIGHT = 420, 260
LEFT, RIGHT, TOP, BOTTOM = 44, 90, 12, 38
"""Margins: the names of lines stand in the one at the right."""
POINTS = 300
"""The most points of a line; those of a longer one are means of as many neighbours."""
GAP = 15.0
"""The least distance between the names of two lines."""


@dataclass(frozen=True)
class Line:
    """A line of a chart: where its points are, its name, and the CSS class that colours it."""

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    name: str
    style: str


def thinned(x: NDArray[np.float64], y: NDArray[np.float64], most: int) -> tuple[NDArray[np.float64], ...]:
    """Return at most `most` points: the means of neighbours where there are more."""
    if len(x) <= most:
        return x, y
    edges = np.arange(most) * len(x) // most
    counts = np.diff(np.append(edges, len(x)))
    return np.add.reduceat(x, edges) / counts, np.add.reduceat(y, edges) / counts


def line_chart(lines: Sequence[Line], label: str, noun: str) -> Html:
    """Return a chart of positive values over the images seen; its vertical axis is logarithmic.

    Values that are not positive and finite are left out.

    Args:
        lines: the lines; the last one is drawn on top.
        label: what the chart shows, for readers who cannot see it.
        noun: what the rows of the data are called.
    """
    kept = []
    for line in lines:
        good = np.isfinite(line.x) & np.isfinite(line.y) & (line.y > 0)
        if good.any():
            x, y = thinned(line.x[good], line.y[good], POINTS)
            kept.append(Line(x, y, line.name, line.style))
    if not kept:
        return Html("")
    largest = max(float(line.x.max()) for line in kept) or 1.0
    low = min(float(line.y.min()) for line in kept)
    high = max(float(line.y.max()) for line in kept)
    low, high = low / 1.08, high * 1.08

    def across(x: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * x / largest

    def down(y: float) -> float:
        return TOP + (HEIGHT - TOP - BOTTOM) * math.log(high / y) / math.log(high / low)

    below = HEIGHT - BOTTOM + 17
    unit, name = (1e6, "million ") if largest >= 2e6 else (1e3, "thousand ") if largest >= 2e3 else (1.0, "")
    rules = [
        fill(
            '<path class="rule" d="M{a} {y}H{b}"/><text class="y" x="{x}" y="{t}">{mark}</text>',
            a=LEFT,
            b=WIDTH - RIGHT,
            y=f"{down(mark):.1f}",
            t=f"{down(mark) + 4:.1f}",
            x=LEFT - 8,
            mark=f"{mark:g}",
        )
        for mark in log_marks(low, high)
    ]
    marks = [
        fill(
            '<text class="x" x="{x}" y="{y}">{m}</text>',
            x=f"{across(m):.1f}",
            y=below,
            m=f"{m / unit:g}",
        )
        for m in even_marks(largest)
    ]
    names = spread([down(float(line.y[-1])) for line in kept], TOP + 4, HEIGHT - BOTTOM)
    drawn = [
        fill(
            '<path class="line {style}" d="M{points}"/>{dot}<text class="{style}" x="{x}" y="{y}">{name}</text>',
            style=line.style,
            points="L".join(f"{across(a):.1f} {down(b):.1f}" for a, b in zip(line.x, line.y, strict=True)),
            dot=fill(
                '<circle class="{style}" cx="{x}" cy="{y}" r="2.5"/>',
                style=line.style,
                x=f"{across(float(line.x[-1])):.1f}",
                y=f"{down(float(line.y[-1])):.1f}",
            ),
            x=WIDTH - RIGHT + 10,
            y=f"{at + 4:.1f}",
            name=line.name,
        )
        for line, at in zip(kept, names, strict=True)
    ]
    return fill(
        '<svg class="chart" viewBox="0 0 {w} {h}" role="img" aria-label="{label}">{rules}{marks}'
        '<text class="x" x="{middle}" y="{bottom}">{unit}{noun} seen</text>{drawn}</svg>',
        w=WIDTH,
        h=HEIGHT,
        label=label,
        rules=rules,
        marks=marks,
        middle=(LEFT + WIDTH - RIGHT) // 2,
        bottom=HEIGHT - 4,
        unit=name,
        noun=noun,
        drawn=drawn,
    )


def log_marks(low: float, high: float) -> list[float]:
    """Return two to about eight round numbers between `low` and `high`, which are positive; fewer if there are none."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    found: list[float] = []
    for steps in ((1.0,), (1.0, 2.0, 5.0), (1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0), tuple(i / 10 for i in range(10, 100))):
        found = [mark for d in decades for s in steps if low <= (mark := float(f"{s * 10.0**d:.6g}")) <= high]
        if len(found) >= 3:
            break
    return found[:: max(1, math.ceil(len(found) / 8))]


def even_marks(largest: float) -> list[float]:
    """Return three to six multiples of a round number from 0 to `largest`, which is positive."""
    size = 10.0 ** math.floor(math.log10(largest))
    step = next(step for step in (size / 5, size / 2, size, 2 * size) if largest / step < 6)
    return [i * step for i in range(int(largest / step) + 1)]


def spread(wanted: Sequence[float], low: float, high: float) -> list[float]:
    """Return heights near those that are `wanted`, at least `GAP` apart and, if there is room, in [low, high]."""
    order = sorted(range(len(wanted)), key=lambda i: wanted[i])
    heights = [min(max(wanted[i], low), high) for i in order]
    for i in range(1, len(heights)):
        heights[i] = max(heights[i], heights[i - 1] + GAP)
    ceiling = high
    for i in reversed(range(len(heights))):
        heights[i] = min(heights[i], ceiling)
        ceiling = heights[i] - GAP
    return [height for _, height in sorted(zip(order, heights, strict=True))]
