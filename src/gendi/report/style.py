"""The look of every figure: two themes, a palette that is safe for colour-blind readers, and small PNG files.

The hues are those of Okabe & Ito (2008), lightened for the dark theme. Figures are drawn through matplotlib's object
API with the Agg backend, so they touch neither a window system nor matplotlib's global list of figures.
"""

import contextlib
import functools
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap, to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from PIL import Image

DPI = 200
"""Two device pixels per CSS pixel of a figure laid out at 100 to the inch."""
FAMILIES = ("Inter", "Helvetica Neue", "Helvetica", "Arial", "Liberation Sans", "DejaVu Sans")
"""Typefaces in order of preference; the last one comes with matplotlib."""


@dataclass(frozen=True)
class Theme:
    """Colours of a figure; the style sheet of the page has the same ones."""

    name: str
    paper: str
    ink: str
    muted: str
    rule: str
    blue: str
    orange: str
    green: str
    purple: str
    deep: str
    """The dense end of a sequential map that starts at `paper` and passes `blue`."""

    @property
    def colours(self) -> tuple[str, str, str, str]:
        """Colours of up to four lines, distinct under every common colour blindness."""
        return self.blue, self.orange, self.green, self.purple

    @property
    def sequential(self) -> LinearSegmentedColormap:
        """A colour map from `paper` (none) to `deep` (most), monotonic in lightness."""
        return LinearSegmentedColormap.from_list(f"gendi-{self.name}", [self.paper, self.blue, self.deep], N=256)

    @property
    def pale(self) -> str:
        """Blue at half its strength, for areas on which lines can be read."""
        mixed = (np.add(to_rgb(self.blue), to_rgb(self.paper)) / 2).tolist()
        return to_hex(mixed)

    def settings(self) -> Any:
        """Return matplotlib's rcParams of this theme, a dict (whose type matplotlib's versions spell differently)."""
        return {
            "font.family": font_family(),
            "font.size": 11.5,
            "text.color": self.ink,
            "axes.labelcolor": self.muted,
            "axes.labelsize": 11.5,
            "axes.edgecolor": self.muted,
            "axes.facecolor": self.paper,
            "axes.linewidth": 0.7,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.axisbelow": True,
            "axes.unicode_minus": True,
            "figure.facecolor": self.paper,
            "grid.color": self.rule,
            "grid.linewidth": 0.7,
            "xtick.color": self.muted,
            "ytick.color": self.muted,
            "xtick.labelcolor": self.muted,
            "ytick.labelcolor": self.muted,
            "xtick.labelsize": 11,
            "ytick.labelsize": 11,
            "xtick.major.width": 0.7,
            "ytick.major.width": 0.0,
            "ytick.major.size": 0.0,
            "ytick.minor.size": 0.0,
            "lines.solid_capstyle": "round",
            "lines.linewidth": 1.8,
        }


LIGHT = Theme(
    "light", "#ffffff", "#1f2328", "#636b75", "#e7e9ec", "#0072b2", "#d55e00", "#00845f", "#b0568f", "#03263c"
)
DARK = Theme("dark", "#15181c", "#e6e8eb", "#98a1ab", "#2a2f36", "#56b4e9", "#f0a04b", "#35c39b", "#dc94c0", "#f2faff")


class Drawn(Figure):
    """A figure that a notebook shows, although it is none of pyplot's."""

    def _repr_png_(self) -> bytes:
        out = io.BytesIO()
        self.savefig(out, format="png", dpi=100)
        return out.getvalue()


@contextlib.contextmanager
def drawing(theme: Theme, width: float = 5.6, height: float = 3.5) -> Iterator[tuple[Figure, Axes]]:
    """Yield a figure of `width` x `height` hundred CSS pixels with one pair of axes, under the theme's settings."""
    with mpl.rc_context(theme.settings()):
        figure = Drawn(figsize=(width, height), layout=ConstrainedLayoutEngine(w_pad=0.09, h_pad=0.07))
        FigureCanvasAgg(figure)
        yield figure, figure.add_subplot()


def png(figure: Figure, theme: Theme, *, gradients: bool = False) -> bytes:
    """Return the figure as a PNG file of at most 256 colours, which is a third of the size and looks the same.

    `gradients` keeps every colour, for heat maps, in which the eye would see bands.
    """
    raw = io.BytesIO()
    with mpl.rc_context(theme.settings()):
        figure.savefig(raw, format="png", dpi=DPI)
    picture = Image.open(raw).convert("RGB")
    if not gradients:
        picture = picture.quantize(256, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    out = io.BytesIO()
    picture.save(out, "PNG", optimize=True)
    return out.getvalue()


@functools.cache
def font_family() -> str:
    """Return the first of `FAMILIES` that this machine has."""
    installed = {font.name for font in font_manager.fontManager.ttflist}
    return next((family for family in FAMILIES if family in installed), "DejaVu Sans")


@functools.cache
def _glyphs() -> frozenset[int]:
    path = font_manager.findfont(font_manager.FontProperties(family=font_family()))
    return frozenset(font_manager.get_font(path).get_charmap())


def drawable(text: str) -> bool:
    """Return whether the typeface of the figures has every character of `text` (names may be in any script)."""
    return all(ord(character) in _glyphs() for character in text)


def label_ends(axes: Axes, lines: Sequence[tuple[float, float, str, str]], gap: float = 0.075) -> None:
    """Write the name of each line beside its last point, moved up or down so that no two names overlap.

    `lines` are (x, y, name, colour) of the last points. `gap` is the least distance between names as a share of the
    axes' height. A hairline joins a name that had to move to its line.
    """
    figure = axes.get_figure()
    assert figure is not None
    to_share = axes.transData + axes.transAxes.inverted()
    placed = sorted(((*to_share.transform((x, y)), name, colour) for x, y, name, colour in lines), key=lambda p: p[1])
    heights = [float(y) for _, y, _, _ in placed]
    wanted = list(heights)
    for i in range(1, len(heights)):  # up from the lowest, then back down from the ceiling
        heights[i] = max(heights[i], heights[i - 1] + gap)
    ceiling = 1.02
    for i in reversed(range(len(heights))):
        heights[i] = min(heights[i], ceiling)
        ceiling = heights[i] - gap
    for (x, _, name, colour), height, true in zip(placed, heights, wanted, strict=True):
        if abs(height - true) > 0.01:
            axes.plot(
                [x + 0.008, x + 0.028], [true, height], transform=axes.transAxes, color=colour, lw=0.6, clip_on=False
            )
        shown = axes.text(x + 0.034, height, name, transform=axes.transAxes, color=colour, va="center", clip_on=False)
        shown.set_parse_math(False)
