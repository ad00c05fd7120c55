"""The section of a table's page on its columns: the distribution of each, and pairs of them, real beside drawn."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.stats import rankdata

from gendi.data.kinds import kind_of
from gendi.data.tables.evaluate import read_samples, rows_of
from gendi.data.tables.schema import Column, Schema
from gendi.errors import GendiError
from gendi.report.page import Gallery, Html, absent, figure, section
from gendi.report.run import Run, advice
from gendi.report.style import LIGHT, Theme, drawable, drawing

Rows = NDArray[np.float64]
ACROSS, COLUMNS_MOST, PAIRS, POINTS = 4, 24, 4, 600
"""Plots beside one another, the most columns that are drawn, the pairs of columns, and the most points of a set."""
BINS, WORDS, LETTERS = 24, 8, 22
"""Bars of a number, the most words of a category, and the most letters of a name."""


@dataclass(frozen=True)
class Beside:
    """Real rows and drawn ones (n, G) of one schema."""

    schema: Schema
    real: Rows
    drawn: Rows

    @property
    def shown(self) -> list[int]:
        """The columns that are drawn: the first that have two values or more."""
        varying = [j for j, x in enumerate(self.real.T) if len(np.unique(x[~np.isnan(x)])) > 1]
        return varying[:COLUMNS_MOST]

    def pairs(self) -> list[tuple[int, int]]:
        """Return the pairs of numbers whose ranks, or their distances from the middle, correlate most in real rows.

        The second correlation finds rings and other dependence without a direction. A column is in one pair.
        """
        numbers = [j for j in self.shown if self.schema.columns[j].kind in ("number", "integer", "date")]
        ranked = np.column_stack([_scores(self.real[:, j]) for j in numbers]) if numbers else np.zeros((1, 0))
        found = []
        for z in (ranked, abs(ranked) - abs(ranked).mean(axis=0)):
            size = np.sqrt((z**2).sum(axis=0)).clip(min=1e-12)
            found.append(abs(z.T @ z / np.outer(size, size)))
        strength = np.triu(np.maximum(*found), 1)
        order = np.dstack(np.unravel_index(np.argsort(-strength, axis=None), strength.shape))[0]
        kept: list[tuple[int, int]] = []
        for a, b in order.tolist():
            if a < b and not {numbers[a], numbers[b]} & {j for pair in kept for j in pair}:
                kept.append((numbers[a], numbers[b]))
        return kept[:PAIRS]


def columns_section(run: Run, gallery: Gallery) -> Html | None:
    """Return the section on the columns of a table; None for other data."""
    kind = None if run.bundle is None else kind_of(run.bundle.codec.kind).name
    if (kind or (run.data.kind if run.data is not None else "")) != "table":
        return None
    text = [
        "Each column's distribution, and pairs of columns that depend on each other, in held-out rows and in samples. "
        "A column alone is right by construction; what can be wrong is how columns go together.",
    ]
    found = _read(run)
    if isinstance(found, str):
        return section("columns", "Column by column", text, [absent(found)])
    n = len(found.shown)
    body = [
        figure(
            gallery.figure(
                "columns",
                lambda theme: marginals_figure(found, theme=theme),
                f"Distributions of {n} columns, real and drawn",
            ),
            f"{n} of {len(found.schema.columns)} columns: shares of {len(found.real):,} held-out rows (filled) and of "
            f"{len(found.drawn):,} samples (line). Dots at the right are the shares of missing cells.",
        )
    ]
    if found.pairs():
        picture = gallery.figure(
            "columns-pairs", lambda theme: pairs_figure(found, theme=theme), "Pairs of columns, real above drawn"
        )
        body.append(figure(picture, "The pairs of numbers that depend most on each other: real above, drawn below."))
    return section("columns", "Column by column", text, body)


def marginals_figure(beside: Beside, *, theme: Theme = LIGHT) -> Figure:
    """Draw the distribution of each column, real and drawn, one small plot each."""
    shown = beside.shown
    lines = -(-len(shown) // ACROSS)
    with drawing(theme, 9.4, 1.75 * lines + 0.2) as (picture, axes):
        axes.remove()
        places = picture.subplots(lines, ACROSS, squeeze=False).ravel()
        for place, j in zip(places, shown, strict=False):
            _marginal(place, beside.schema.columns[j], beside.real[:, j], beside.drawn[:, j], theme)
        for place in places[len(shown) :]:
            place.set_axis_off()
    return picture


def pairs_figure(beside: Beside, *, theme: Theme = LIGHT) -> Figure:
    """Draw pairs of columns as points: held-out rows above, samples below, on the same axes."""
    pairs = beside.pairs()
    with drawing(theme, 2.35 * max(2, len(pairs)), 4.8) as (picture, axes):
        axes.remove()
        places = picture.subplots(2, len(pairs), squeeze=False, sharex="col", sharey="col")
        for column, (a, b) in zip(places.T, pairs, strict=True):
            for place, rows, colour in zip(
                column, (beside.real, beside.drawn), (theme.blue, theme.orange), strict=True
            ):
                both = rows[:, [a, b]]
                both = both[~np.isnan(both).any(axis=1)][:POINTS]
                place.scatter(both[:, 0], both[:, 1], s=4, alpha=0.55, color=colour, linewidths=0)
                place.set_xticks([]), place.set_yticks([])
            x, y = (_called(beside.schema.columns[j]) for j in (a, b))
            column[0].set_title(f"{y} against {x}", fontsize=10, color=theme.ink)
        places[0, 0].set_ylabel("real"), places[1, 0].set_ylabel("drawn")
    return picture


def _marginal(axes: Axes, column: Column, real: Rows, drawn: Rows, theme: Theme) -> None:
    """Draw shares of bins or words: real filled, drawn as a line, and shares of missing cells as dots at the right."""
    if column.kind in ("category", "boolean"):
        codes, counts = np.unique(real[~np.isnan(real)], return_counts=True)
        codes = np.sort(codes[np.argsort(-counts, kind="stable")][:WORDS])
        edges = np.arange(len(codes) + 1) - 0.5
        shares = [np.array([(x == code).mean() for code in codes]) for x in (real, drawn)]
    else:
        known = np.concatenate([x[~np.isnan(x)] for x in (real, drawn)])
        levels = np.unique(known)
        few = len(levels) <= BINS and column.kind == "integer"
        low, high = np.quantile(known, (0.005, 0.995)) if len(levels) > BINS else (levels[0], levels[-1])
        edges = np.arange(levels[0], levels[-1] + 2) - 0.5 if few else np.linspace(low, max(high, low + 1e-9), BINS + 1)
        shares = [np.histogram(x.clip(edges[0], edges[-1]), edges)[0] / len(x) for x in (real, drawn)]
    axes.stairs(shares[0], edges, fill=True, color=theme.pale)
    axes.stairs(shares[1], edges, color=theme.orange, lw=1.3)
    gaps = [float(np.isnan(x).mean()) for x in (real, drawn)]
    if any(gaps):
        right = edges[-1] + 0.06 * (edges[-1] - edges[0])
        axes.scatter([right], gaps[:1], s=26, color=theme.blue, clip_on=False)
        axes.scatter([right], gaps[1:], s=30, facecolors="none", edgecolors=theme.orange, linewidths=1.3, clip_on=False)
    axes.set_title(_called(column), fontsize=10, color=theme.ink)
    axes.set_xticks([]), axes.set_yticks([])
    axes.set_ylim(bottom=0)


def _called(column: Column) -> str:
    """Return the name of a column as a figure can draw it; mathematics is not read out of it."""
    name = column.name if drawable(column.name) else column.name.encode("ascii", "replace").decode()
    name = name if len(name) <= LETTERS else name[: LETTERS - 1] + "…"
    return name.replace("$", r"\$")


def _scores(values: Rows) -> Rows:
    """Return ranks from -1 to 1, 0 where a value is missing."""
    missing = np.isnan(values)
    out = np.zeros(len(values))
    known = values[~missing]
    out[~missing] = 2 * (rankdata(known) - 0.5) / max(1, len(known)) - 1
    return out


def _read(run: Run) -> Beside | str:
    """Return held-out rows and the run's samples, or the sentence that says why there are none."""
    if run.data is None:
        return run.problems.get("data") or "The data are not there."
    table = kind_of("table")
    places = [table.evaluated_file(run.folder), *(run.folder / f"samples{suffix}" for suffix in table.suffixes)]
    path = next((path for path in places if path.is_file()), None)
    if path is None:
        return advice(run, "There are no samples yet.", "evaluate", "report")
    heldout: Any = run.data.heldout
    try:
        drawn = rows_of(read_samples(Path(path), run.data.schema), run.data.schema)
    except GendiError as error:
        return str(error)
    return Beside(run.data.schema, np.asarray(heldout.batch(range(len(heldout))), np.float64), drawn)
