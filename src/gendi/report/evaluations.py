"""What the evaluations during training found: the distance of the samples, their train-likeness, and the verdict."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from gendi.evaluate.comparison import Z95
from gendi.evaluate.fakes import fakes_in_words
from gendi.evaluate.gauge import TRAIN_LIKENESS
from gendi.report.curves import Lines, images_axis
from gendi.report.page import Gallery, Html, figure, row
from gendi.report.style import LIGHT, Theme, drawing
from gendi.train.kept.status import Verdict, last_verdict

WORDS: Mapping[Verdict, str] = {
    "improving": "At the last evaluation, the samples were still getting better: more training may help.",
    "level": "At the last evaluation, the samples no longer got better.",
    "copying": "At the last evaluation, the samples were too much like training {noun}: the model copies. More data "
    "would help, or a smaller network, dropout, or less training.",
}
"""What the page says of each verdict."""


def evaluations(lines: Lines) -> list[tuple[float, Mapping[str, Any]]]:
    """Return (images seen, evaluation) of the lines of metrics.jsonl that hold one."""
    found = []
    for line in lines:
        entry = line.get("evaluation")
        if isinstance(entry, Mapping) and isinstance(entry.get("metrics"), Mapping):
            found.append((float(line.get("images", line["step"])), entry))
    return found


def curve(lines: Lines, name: str) -> NDArray[np.float64]:
    """Return (n, 5): images seen, value, its standard error, the floor, and that of the floor; NaN where missing."""
    rows = []
    for images, entry in evaluations(lines):
        metric = entry["metrics"].get(name)
        if isinstance(metric, Mapping):
            numbers = (metric.get(key) for key in ("value", "error", "floor", "floor_error"))
            rows.append([images, *(float(x) if isinstance(x, int | float) else np.nan for x in numbers)])
    out = np.array(rows, np.float64).reshape(-1, 5)
    return out[np.isfinite(out[:, 1])]


def distance_name(lines: Lines) -> str | None:
    """Return the name of the distance that the evaluations follow; None without evaluations."""
    return next((str(name) for _, entry in evaluations(lines) for name in entry["metrics"]), None)


def evaluation_figure(lines: Lines, name: str, *, theme: Theme = LIGHT, noun: str = "images") -> Figure:
    """Draw a quick metric against images seen, with 95% intervals, and its floor with its own 95% interval."""
    found = curve(lines, name)
    with drawing(theme) as (drawn, axes):
        axes.grid(axis="y")
        axes.set_ylabel(name)
        if len(found):
            x, y, error, floor, floor_error = found.T
            if np.isfinite(floor[-1]):
                margin = Z95 * np.nan_to_num(floor_error[-1])
                axes.axhspan(floor[-1] - margin, floor[-1] + margin, color=theme.green, alpha=0.18, lw=0)
                axes.axhline(floor[-1], color=theme.green, lw=1.4, ls=(0, (5, 3)))
                axes.annotate(
                    "real " + noun,
                    (0.995, floor[-1] + margin),
                    xycoords=("axes fraction", "data"),
                    xytext=(0, 3),
                    textcoords="offset points",
                    color=theme.green,
                    ha="right",
                    va="bottom",
                )
            axes.errorbar(x, y, Z95 * np.nan_to_num(error), color=theme.blue, marker="o", ms=3.6, capsize=2.5, lw=1.4)
            images_axis(axes, x.max(), noun)
            axes.set_xlim(0, x.max() * 1.03)
            if name == TRAIN_LIKENESS:
                axes.set_ylim(min(0.35, float(y.min()) - 0.05), max(0.75, float(y.max()) + 0.05))
    return drawn


def evaluation_row(lines: Lines, gallery: Gallery, noun: str) -> Html | None:
    """Return the figures of the evaluations, side by side; None without evaluations."""
    name = distance_name(lines)
    if name is None:
        return None
    captions = {
        name: f"The distance of samples to training {noun}, and (dashed) that of real {noun} that were held out. Bars "
        f"and the band are 95% intervals. {_trusted(lines, noun)}",
        TRAIN_LIKENESS: f"Train-likeness: the probability that a sample is relatively nearer to the training {noun} "
        f"than a held-out one is. Copies bring it to 1; at or below the dashed line, nothing is copied.",
    }

    def picture(metric: str) -> Html:
        def draw(theme: Theme) -> Figure:
            return evaluation_figure(lines, metric, theme=theme, noun=noun)

        return gallery.figure(f"evaluation-{metric}", draw, f"{metric} during training")

    there = [metric for metric in captions if len(curve(lines, metric))]
    return row(*(figure(picture(metric), captions[metric]) for metric in there)) if there else None


def _trusted(lines: Lines, noun: str) -> str:
    """Return what the distance decides: nothing, where it takes fakes for real rows."""
    last = evaluations(lines)[-1][1].get("missed")
    if not isinstance(last, list) or not last:
        return "The model with the smallest distance is kept in bundle-best."
    fakes = fakes_in_words(map(str, last))
    return (
        f"On these data it takes {fakes} for real {noun}, so it is no grade: bundle-best is the last model that was "
        "evaluated, and this distance cannot say whether the run is level."
    )


def verdict_text(lines: Lines, noun: str) -> str | None:
    """Return what the last evaluation said, as a sentence; None if it was too early to say."""
    verdict = last_verdict(lines)
    return None if verdict is None else WORDS[verdict].format(noun=noun)
