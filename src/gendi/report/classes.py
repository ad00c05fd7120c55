"""The shares of the classes among the samples, drawn beside those that are expected."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from numpy.typing import NDArray

from gendi.evaluate.comparison import Z95
from gendi.report.style import LIGHT, Theme, drawable, drawing

MOST_NAMES = 30


def expected_range(frequencies: NDArray[np.float64], n: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the range of shares (low, high) that chance explains, for each class.

    The share of a class among n draws from `frequencies` lies in it 95 times in 100. The range comes from the normal
    limit of the binomial distribution.
    """
    p = frequencies / frequencies.sum()
    half = Z95 * np.sqrt(p * (1 - p) / n)
    return np.maximum(p - half, 0.0), p + half


def class_figure(
    histogram: Sequence[int], frequencies: NDArray[np.float64], names: Sequence[str], *, theme: Theme = LIGHT
) -> Figure:
    """Draw the share of samples per class as bars; crosses show the share expected and the range chance explains.

    `histogram` holds the number of samples in each class, `frequencies` the number or share of real ones.
    """
    counts = np.asarray(histogram, np.float64)
    n, k = int(counts.sum()), len(counts)
    at = np.arange(k)
    share = counts / max(n, 1)
    low, high = expected_range(frequencies, max(n, 1))
    p = frequencies / frequencies.sum()
    with drawing(theme, 5.6, 3.3) as (figure, axes):
        axes.grid(axis="y")
        axes.bar(at, share, width=0.72, color=theme.pale)
        axes.vlines(at, low, high, color=theme.ink, lw=1.3)
        axes.hlines(p, at - 0.18, at + 0.18, color=theme.ink, lw=1.8)
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        axes.set_ylim(0, 1.12 * max(float(share.max()), float(high.max())))
        axes.set_xlim(-0.6, k - 0.4)
        axes.tick_params(axis="x", length=0)
        labels = [short(name) if drawable(name) else f"#{i}" for i, name in enumerate(names)]
        if k <= MOST_NAMES and len(labels) == k:
            long = max(map(len, labels)) > 40 // k
            axes.set_xticks(at)
            for i, text in enumerate(axes.set_xticklabels(labels)):
                text.set_parse_math(False)
                text.set_text(labels[i])
                if long:
                    text.set(rotation=35, ha="right", rotation_mode="anchor")
        else:
            axes.set_xlabel("class number")
    return figure


def short(name: str) -> str:
    """Return a name in one line of 16 characters at most."""
    name = " ".join(name.split())
    return name if len(name) <= 16 else f"{name[:15]}…"
