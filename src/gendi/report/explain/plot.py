"""SVG in the colours of the page: points, arrows and lines of the plane, and curves over t with a mark that moves."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gendi.report.chart import log_marks, spread
from gendi.report.page import Html, fill

Points = NDArray[np.float64]
SIDE, LIMIT = 400, 3.2
"""The side of the plane's picture, and the largest coordinate in it."""
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 560, 190, 50, 150, 12, 34
DEEPEST = 1e4
"""The largest value over the smallest on a logarithmic axis; what is smaller runs along its lower edge."""


def plane(*layers: Html, alt: str) -> Html:
    """Return the plane from -LIMIT to LIMIT in both directions with its layers, the last one on top."""
    return fill(
        '<svg class="plane" viewBox="0 0 {side} {side}" role="img" aria-label="{alt}">{layers}</svg>',
        side=SIDE,
        alt=alt,
        layers=layers,
    )


def dots(points: Points, style: str, size: float = 3.0) -> Html:
    """Return points (n, 2) as dots of `size`; those outside of the picture are left out."""
    kept = points[(np.abs(points) <= LIMIT).all(1)]
    at = "".join(f"M{x:.1f} {y:.1f}h0" for x, y in _places(kept))
    return fill('<path class="dots {style}" stroke-width="{size}" d="{at}"/>', style=style, size=size, at=at)


def lines(starts: Points, ends: Points, style: str) -> Html:
    """Return straight lines from `starts` to `ends`, both (n, 2)."""
    drawn = zip(_places(starts), _places(ends), strict=True)
    at = "".join(f"M{a:.1f} {b:.1f}L{c:.1f} {d:.1f}" for (a, b), (c, d) in drawn)
    return fill('<path class="lines {style}" d="{at}"/>', style=style, at=at)


def arrows(starts: Points, steps: Points, style: str) -> Html:
    """Return arrows: a line from each of `starts` along `steps`, both (n, 2), with a dot where it begins."""
    return fill("{lines}{dots}", lines=lines(starts, starts + steps, style), dots=dots(starts, style, 2.2))


def _places(points: Points) -> Points:
    """Return the places of points (n, 2) in the picture, where the second axis points down."""
    return np.asarray(SIDE / 2 * (1 + points * np.array([1, -1]) / LIMIT))


@dataclass(frozen=True)
class Curve:
    """A curve over t: its values, its name, and the CSS class that colours it."""

    y: Points
    name: str
    style: str


def curves(t: Points, drawn: Sequence[Curve], label: str, *, start: int, log: bool = False) -> Html:
    """Return a chart of curves over the times `t`, with a mark that `film.js` moves from one time to the next.

    Args:
        t: the times of the frames in order.
        drawn: curves whose values are as many as the times; they are positive if `log`.
        label: what the chart shows, for readers who cannot see it.
        start: the frame at whose time the mark stands first.
        log: whether the vertical axis is logarithmic.
    """
    values = np.concatenate([curve.y for curve in drawn])
    high = float(values.max()) * (1.1 if log else 1.0)
    low = max(float(values.min()) / 1.1, high / DEEPEST) if log else 0.0

    def across(x: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * x

    def down(y: float) -> float:
        share = math.log(high / max(y, low)) / math.log(high / low) if log else 1 - y / high
        return TOP + (HEIGHT - TOP - BOTTOM) * share

    marks = log_marks(low, high) if log else [high * i / 4 for i in range(5)]
    rules = [
        fill(
            '<path class="rule" d="M{a} {y}H{b}"/><text class="y" x="{x}" y="{below}">{mark}</text>',
            a=LEFT,
            b=WIDTH - RIGHT,
            y=f"{down(mark):.1f}",
            below=f"{down(mark) + 4:.1f}",
            x=LEFT - 8,
            mark=f"{mark:.3g}",
        )
        for mark in marks
    ]
    ticks = [
        fill('<text class="x" x="{x}" y="{y}">{m}</text>', x=f"{across(m):.1f}", y=HEIGHT - BOTTOM + 17, m=f"{m:g}")
        for m in (0, 0.25, 0.5, 0.75, 1)
    ]
    heights = spread([down(float(curve.y[-1])) for curve in drawn], TOP + 4, HEIGHT - BOTTOM)
    shown = [
        fill(
            '<path class="line {style}" d="M{points}"/><text class="{style}" x="{x}" y="{y}">{name}</text>',
            style=curve.style,
            points="L".join(f"{across(a):.1f} {down(b):.1f}" for a, b in zip(t, curve.y, strict=True)),
            x=WIDTH - RIGHT + 10,
            y=f"{height + 4:.1f}",
            name=curve.name,
        )
        for curve, height in zip(drawn, heights, strict=True)
    ]
    return fill(
        '<svg class="chart" viewBox="0 0 {w} {h}" role="img" aria-label="{label}">{rules}{ticks}'
        '<text class="x" x="{middle}" y="{bottom}">t</text>{shown}'
        '<path class="mark" data-at="{at}" transform="translate({first} 0)" d="M0 {top}V{end}"/></svg>',
        w=WIDTH,
        h=HEIGHT,
        label=label,
        rules=rules,
        ticks=ticks,
        middle=(LEFT + WIDTH - RIGHT) // 2,
        bottom=HEIGHT - 2,
        shown=shown,
        at=" ".join(f"{across(x):.1f}" for x in t),
        first=f"{across(float(t[start])):.1f}",
        top=TOP,
        end=HEIGHT - BOTTOM,
    )
