"""What each noise level costs: the KL terms of the likelihood bound over sigma / alpha."""

from collections.abc import Mapping

import numpy as np
import torch
from matplotlib.figure import Figure

from gendi.diffusion.gaussian.likelihood import Bound
from gendi.diffusion.gaussian.schedule import Schedule
from gendi.report.style import LIGHT, Theme, drawable, drawing

BARS = 60
"""Most bars of a curve. Neighbouring steps of a longer chain are drawn as one bar, so that the noise of single draws
does not hide the curve."""
NAME_MOST = 18
"""Most characters of a data set's name in the legend."""


def cost_figure(bounds: Mapping[str, Bound], schedule: Schedule, *, theme: Theme = LIGHT) -> Figure:
    """Draw bits per dimension per factor e of noise against the noise level; the area is the sum of the KL terms."""
    with drawing(theme) as (figure, axes):
        for (name, bound), colour in zip(bounds.items(), theme.colours, strict=False):
            level = (-0.5 * schedule.log_snr(torch.as_tensor(bound.edges))).numpy()
            cost = np.concatenate([[0.0], bound.cost.cumsum(0).numpy()]) / np.log(2)
            if len(level) - 1 > BARS:
                edges = np.linspace(level[0], level[-1], BARS + 1)
                near = np.unique(np.abs(level[:, None] - edges).argmin(0))
                level, cost = level[near], cost[near]
            shown = axes.stairs(np.diff(cost) / np.diff(level), np.exp(level), color=colour, lw=1.8)
            terms = f"{bound.kl.bits:.3f} bits/dim + decoder {bound.decoder.bits:.3f}"
            shown.set_label(f"{_short(name)}: {terms}")
        axes.set_xscale("log")
        axes.set_ylim(bottom=0)
        axes.grid(axis="y")
        axes.set_xlabel("sigma / alpha   (left is data, right is noise)")
        axes.set_ylabel("bits/dim per factor e of noise")
        legend = axes.legend(frameon=False, fontsize=10)
        for text in legend.get_texts():
            text.set_parse_math(False)
    return figure


def _short(name: str) -> str:
    """Return the last part of a path, cut to `NAME_MOST` characters."""
    last = name.rstrip("/").rsplit("/", 1)[-1]
    last = last if len(last) <= NAME_MOST else last[: NAME_MOST - 1] + "…"
    return last if drawable(last) else "data"
