"""The section of a page about sequences: drawn ones beside real ones, their lengths, and the shares of letters."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64, Int64
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gendi.data.kinds import kind_of
from gendi.data.sequences.codec import SequenceCodec
from gendi.errors import DataError
from gendi.report.page import Gallery, Html, absent, figure, fill, row, section
from gendi.report.run import Run, advice
from gendi.report.style import LIGHT, Theme, drawing

SHOWN = 16
WIDEST = 60
"""The most letters of a sequence that are shown."""
LETTERS_MOST = 40
"""The most different letters whose shares are drawn."""


def letters_section(run: Run, gallery: Gallery) -> Html:
    """Return the section with samples beside held-out sequences, or with the sentence that says how to make samples."""
    text = [
        "Drawn sequences stand beside held-out ones, which the model never saw; none was picked. A list shows whether "
        "they look alike; the metrics below say how much alike they are.",
    ]
    drawn = _drawn(run)
    if drawn is None or run.data is None or not isinstance(run.data.codec, SequenceCodec):
        why = run.problems.get("samples") or run.problems.get("data")
        why = why or advice(run, "This run has drawn no sequences yet.", "evaluate", "report")
        return section("portrait", "Beside the real ones", text, [absent(why)])
    codec, heldout = run.data.codec, run.data.heldout
    real = [codec.text(each) for each in heldout.batch(range(min(len(heldout), len(drawn))))]
    lists = [_listed("held-out sequences", real[:SHOWN]), _listed("samples", drawn[:SHOWN])]
    sizes = gallery.figure(
        "sequence-lengths",
        lambda theme: lengths_figure(
            [_length(codec, t) for t in real], [_length(codec, t) for t in drawn], theme=theme
        ),
        "How many sequences have how many letters, held out and drawn",
    )
    names, shares = letter_shares(codec, real, drawn)
    letters = gallery.figure(
        "sequence-letters",
        lambda theme: shares_figure(names, shares[0], shares[1], theme=theme),
        "How often each letter stands in held-out and in drawn sequences",
    )
    most = f"; the {len(names)} most frequent ones" if len(names) < len(codec.alphabet) else ""
    figures = row(
        figure(sizes, f"Letters of {len(real):,} held-out and {len(drawn):,} drawn sequences."),
        figure(letters, f"The share of each letter{most}."),
    )
    return section("portrait", "Beside the real ones", text, [row(*lists), figures])


def letter_shares(
    codec: SequenceCodec, real: Sequence[str], drawn: Sequence[str]
) -> tuple[list[str], Float64[np.ndarray, "2 k"]]:
    """Return the most frequent letters, and the share of each in real and in drawn sequences."""
    counts = np.stack([_counts(codec, texts) for texts in (real, drawn)]).astype(np.float64)
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    order = np.argsort(-shares.sum(0), kind="stable")[:LETTERS_MOST]
    return [codec.alphabet.text([int(i)]) for i in order], shares[:, order]


def lengths_figure(real: Sequence[int], drawn: Sequence[int], *, theme: Theme = LIGHT) -> Figure:
    """Draw the shares of sequences by their number of letters."""
    low, high = min(*real, *drawn), max(*real, *drawn)
    bins = np.linspace(low - 0.5, high + 0.5, min(high - low + 1, 40) + 1)
    with drawing(theme, 4.6, 3.4) as (page, axes):
        for values, colour in ((real, theme.blue), (drawn, theme.orange)):
            heights, _ = np.histogram(values, bins)
            axes.stairs(heights / max(1, len(values)), bins, color=colour, lw=1.6)
        axes.set_xlabel("letters"), axes.set_ylabel("share of sequences")
        _legend(axes, theme)
    return page


def shares_figure(
    names: Sequence[str],
    real: Float64[np.ndarray, " k"],
    drawn: Float64[np.ndarray, " k"],
    *,
    theme: Theme = LIGHT,
) -> Figure:
    """Draw the share of each letter in real and in drawn sequences as two bars."""
    places = np.arange(len(names))
    with drawing(theme, 4.6, 3.4) as (page, axes):
        axes.bar(places - 0.2, real, 0.4, color=theme.blue)
        axes.bar(places + 0.2, drawn, 0.4, color=theme.orange)
        axes.set_xticks(places, [_visible(name) for name in names], fontsize=8)
        axes.set_ylabel("share of letters")
        _legend(axes, theme)
    return page


def _drawn(run: Run) -> list[str] | None:
    """Return the sequences that were evaluated; None if there are none, with the reason where they cannot be read."""
    path = kind_of("sequence").evaluated_file(run.folder)
    if not path.is_file():
        return None
    try:
        found = [str(text) for text in kind_of("sequence").read_samples(path)]
    except DataError as error:
        run.problems["samples"] = str(error)
        return None
    return found or None


def _listed(title: str, texts: Sequence[str]) -> Html:
    lines = [text if len(text) <= WIDEST else f"{text[: WIDEST - 1]}…" for text in texts]
    return fill(
        '<figure><pre class="letters">{lines}</pre><figcaption>{title}</figcaption></figure>',
        lines="\n".join(_visible(line) or "(empty)" for line in lines),
        title=f"The first {len(lines)} {title}.",
    )


def _visible(text: str) -> str:
    """Return a text in one line, in which signs that are not printed are escaped."""
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text)


def _length(codec: SequenceCodec, text: str) -> int:
    return len(codec.alphabet.tokens(text))


def _counts(codec: SequenceCodec, texts: Sequence[str]) -> Int64[np.ndarray, " k"]:
    tokens = [token for text in texts for token in codec.alphabet.tokens(text)]
    return np.bincount(np.asarray(tokens, np.int64), minlength=len(codec.alphabet)).astype(np.int64)


def _legend(axes: Axes, theme: Theme) -> None:
    for name, colour, x, side in (("held out", theme.blue, 0.0, "left"), ("samples", theme.orange, 1.0, "right")):
        axes.text(x, 1.02, name, color=colour, transform=axes.transAxes, ha=side, fontweight="bold")
