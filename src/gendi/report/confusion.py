"""Asked against seen: which class the samples were asked to be, and which one the classifier sees in them."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from gendi.evaluate.result import ClassesRecord, Evaluation, Metric
from gendi.report.classes import short
from gendi.report.metrics import written
from gendi.report.style import LIGHT, Theme, drawable, drawing

MOST_CONFUSED, MOST_NAMED, MOST_NUMBERED = 3, 30, 12
"""Confusions in words; classes whose names and whose shares are written into the figure."""


def confusion_figure(confusion: Sequence[Sequence[int]], names: Sequence[str], *, theme: Theme = LIGHT) -> Figure:
    """Draw the shares of the classes that are seen (columns) among the samples asked to be of a class (rows).

    Shares of a hundredth or more are written into their squares where there are few classes.
    """
    counts = np.asarray(confusion, np.float64)
    share, k = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1), len(counts)
    side = min(5.6, 2.2 + 0.26 * k)
    with drawing(theme, side, side) as (figure, axes):
        axes.imshow(share, cmap=theme.sequential, vmin=0, vmax=1, interpolation="nearest")
        axes.grid(visible=False)
        axes.set_xlabel("seen")
        axes.set_ylabel("asked")
        axes.tick_params(length=0)
        if k <= MOST_NAMED and len(names) == k:
            labels = [short(name) if drawable(name) else f"#{i}" for i, name in enumerate(names)]
            long = max(map(len, labels)) > 3
            for ticks, set_labels in ((axes.set_xticks, axes.set_xticklabels), (axes.set_yticks, axes.set_yticklabels)):
                ticks(range(k))
                for text, label in zip(set_labels(labels), labels, strict=True):
                    text.set_parse_math(False)
                    text.set_text(label)
                    text.set_fontsize(11 if k <= MOST_NUMBERED else 9)
            if long:
                for text in axes.get_xticklabels():
                    text.set(rotation=45, ha="right", rotation_mode="anchor")
        if k <= MOST_NUMBERED:
            for i, j in np.argwhere(share >= 0.005):
                ink = theme.paper if share[i, j] > 0.35 else theme.ink
                axes.text(j, i, f"{100 * share[i, j]:.0f}", ha="center", va="center", color=ink, fontsize=8)
    return figure


def asked_in_words(evaluation: Evaluation) -> list[str]:
    """Return sentences on asked against seen: the accuracy beside that on real images, and the worst confusions."""
    record = evaluation.classes
    metric = next((m for m in evaluation.metrics if m.name == "asked-seen"), None)
    if record is None or record.confusion is None or metric is None or metric.value is None:
        return []
    out = [
        f"In {_share(metric)} of the samples the classifier sees the class that was asked for"
        + (
            "."
            if metric.floor is None
            else f"; on real held-out images it is right in {written(metric.floor, '.1%')} of cases."
        )
    ]
    if worst := worst_confusions(record):
        told = ", ".join(f"{seen} for {asked} ({written(share, '.0%')})" for asked, seen, share in worst)
        out.append(f"What is seen most often instead: {told}.")
    return out


def worst_confusions(record: ClassesRecord, most: int = MOST_CONFUSED) -> list[tuple[str, str, float]]:
    """Return (asked, seen, share of the samples asked) of the most frequent confusions, the worst first."""
    counts: NDArray[np.float64] = np.asarray(record.confusion, np.float64)
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    np.fill_diagonal(share, 0)
    order = np.argsort(-share, axis=None, kind="stable")[:most]
    places = [divmod(int(at), len(counts)) for at in order]
    return [(record.names[i], record.names[j], float(share[i, j])) for i, j in places if share[i, j] > 0]


def _share(metric: Metric) -> str:
    value = written(metric.value, ".1%")
    if metric.interval is None:
        return value
    low, high = (written(end, ".1%") for end in metric.interval)
    return f"{value} ({low} to {high})"
