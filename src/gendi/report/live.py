"""The page of a run while it trains: RUN/report.html, written again from time to time, which a browser reads again.

It is made of the files that the run writes anyway: `metrics.jsonl`, the previews, and what is said to the user. Nothing
is drawn or computed for it, so a page takes about as long as a training step.

**Cost.** A page is written at most every `EVERY` seconds, and so seldom that all pages together take at most the share
`SHARE` of the time. The run's weights do not depend on it. When the run ends, however it ends, the page is written once
more, then with its previews inside, and no browser reads it again after that. `gendi report` writes the full page.
"""

import contextlib
import json
import math
import shlex
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from gendi.errors import GendiError, ResourceError, UsageError
from gendi.machine.units import duration_in_words
from gendi.report.chart import Line, line_chart
from gendi.report.curves import QUARTILES, column, smoothed
from gendi.report.film import SCRIPT, film, frames_of
from gendi.report.hero import card, unit
from gendi.report.page import Html, absent, figure, fill, page, row, section
from gendi.storage.files import atomic_write
from gendi.storage.record import RunRecord
from gendi.train.kept.folders import BUNDLE, version_of
from gendi.train.kept.status import METRICS, read_status
from gendi.train.progress.telling import Console

EVERY = 10.0
"""The least seconds between two pages."""
SHARE = 0.01
PATIENCE = 300.0
"""Seconds after which a page that was not written again says so."""
SAID = 14
"""How many of the last lines that the run said are shown."""
ENDS = {
    "finished": "The training has finished",
    "interrupted": "The training was stopped by Ctrl-C",
    "preempted": "The training was stopped by the system",
    "diverged": "The training has diverged",
    "failed": "The training has failed",
}
"""How a run ends, by the status in status.json."""


@dataclass
class Tail:
    """The lines of a `.jsonl` file that grows; each is read once."""

    path: Path
    lines: list[dict[str, Any]] = field(default_factory=list)
    _at: int = 0

    def read(self) -> list[dict[str, Any]]:
        """Return all lines so far that are whole."""
        with contextlib.suppress(OSError):
            size = self.path.stat().st_size
            if size < self._at:  # the run has dropped lines
                self.lines, self._at = [], 0
            with self.path.open("rb") as file:
                file.seek(self._at)
                new = file.read()
            whole = new[: new.rfind(b"\n") + 1]
            self._at += len(whole)
            for text in whole.splitlines():
                with contextlib.suppress(ValueError):
                    line = json.loads(text)
                    if isinstance(line, dict) and isinstance(line.get("step"), int):
                        self.lines.append(line)
        return self.lines


class LivePage:
    """A console of a run that also keeps the page of the run current; use it as a context manager.

    Args:
        console: shows the run to the user.
        run: the run's folder, which may not be there yet.
        noun: what the rows of the data are called.
    """

    def __init__(self, console: Console, run: Path, noun: str = "images") -> None:
        self.console, self.run, self.noun = console, run, noun
        self.path = run / "report.html"
        self.tail = Tail(run / METRICS)
        self._said: list[str] = []
        self._done: float = 0.0
        self._fields: dict[str, Any] = {}
        self._next = -math.inf
        self._period = EVERY
        self._version: tuple[int, int, int] | None = None
        self._off = False

    def say(self, line: str) -> None:
        """Print the line, and keep it for the page."""
        self.console.say(line)
        self._said = [*self._said, line][-SAID:]

    def progress(self, done: float, **fields: Any) -> None:
        """Show the progress, and write the page if it is time to."""
        self.console.progress(done, **fields)
        self._done, self._fields = done, fields
        if not self._off and time.monotonic() >= self._next:
            self._write("running")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._version is None or self._off:  # this sitting has trained nothing
            return
        status = "failed"
        with contextlib.suppress(GendiError):
            status = str((read_status(self.run) or {}).get("status", status))
        if status == "finished":
            self._done = 1.0
        self._write(status, why="" if error is None else str(error))

    def _write(self, status: str, why: str = "") -> None:
        begun, record = time.monotonic(), RunRecord(self.run)
        first = self._version is None
        try:
            if first:
                record.claim(self.path)
            elif version_of(self.path) != self._version:
                self._off = True
                self.say(f"note: {self.path} was written by another command: it stays, and is not kept current.")
                return
            atomic_write(self.path, self._page(status, why))
        except UsageError as error:
            self._off = True
            self.say(f"note: {error} There is no page of this run.")
        except ResourceError:
            pass  # a full disk is reported at the next checkpoint
        else:
            self._version = version_of(self.path)
            if first:
                self.say(f"page: {self.path.resolve()} shows the progress of the training and updates itself")
        took = time.monotonic() - begun
        self._period = max(EVERY, took / SHARE)
        self._next = time.monotonic() + self._period

    # --- the page

    def _page(self, status: str, why: str) -> str:
        ended, lines = status in ENDS, self.tail.read()
        frames, sections = frames_of(self.run, lines), list[tuple[str, str, Html]]()

        def add(key: str, name: str, text: Sequence[object], body: Html) -> None:
            sections.append((key, name, section(key, name, text, [body])))

        early = "The first preview comes within about a minute of training."
        shown = film(frames, self.noun, inside=ended) if frames else absent(early if not ended else "There is none.")
        add("previews", "Previews", ["The same noises every time, turned into samples by the averaged weights."], shown)
        add("loss", "Loss", LOSS_TEXT, row(*self._charts(lines)) if lines else absent("No step is logged yet."))
        commands = self._commands(status)
        if commands is not None:
            add("use", "Use it", [commands[0]], fill("<pre>{text}</pre>", text=commands[1]))
        add("log", "What the run said", [], fill("<pre>{text}</pre>", text="\n".join(self._said) or "Nothing yet."))
        now = time.time()
        refresh = None if ended else math.ceil(self._period)
        patience = max(PATIENCE, 10 * self._period)
        footer = fill(
            "Written at {at}.{every}", at=time.strftime("%H:%M:%S", time.localtime(now)), every=_again(refresh)
        )
        scripts = [SCRIPT] if ended else [SCRIPT, "stale.js"]
        top = self._hero(status, why, lines, now, patience)
        return page(f"{self._name} · gendi", top, sections, footer, scripts=scripts, refresh=refresh)

    @property
    def _name(self) -> str:
        return self.run.resolve().name

    def _hero(self, status: str, why: str, lines: list[dict[str, Any]], now: float, patience: float) -> Html:
        step, images, left = (self._fields.get(name) for name in ("step", "images", "seconds_left"))
        where = f"step {step or 0:,}, {images or 0:,} {self.noun} seen"
        if status in ENDS:
            lead = f"{ENDS[status]}: {where}.{f' {why}' if why else ''}"
        else:
            lead = f"In training: {where}. {'' if left is None else f'{_left(left).capitalize()}.'}"
        stale = fill(
            '<p class="lead" data-written="{at}" data-patience="{p}" hidden>This page was last written at {clock}. A '
            "run in training writes it more often, so this run has ended or is stuck.</p>",
            at=f"{now:.0f}",
            p=f"{patience:.0f}",
            clock=time.strftime("%H:%M", time.localtime(now)),
        )
        return fill(
            '<div class="hero"><div class="hero-text"><p class="kind">gendi · {kind}</p><h1>{name}</h1>'
            '<p class="lead">{lead}</p>{stale}</div></div>\n<div class="cards">{cards}</div>',
            kind="in training" if status not in ENDS else "a denoising diffusion model",
            name=self._name,
            lead=lead,
            stale=stale if status not in ENDS else "",
            cards=self._cards(lines),
        )

    def _cards(self, lines: list[dict[str, Any]]) -> list[Html]:
        rate, left, verdict = (self._fields.get(name) for name in ("images_per_second", "seconds_left", "verdict"))
        bar = fill('<div class="bar"><i style="width:{p}%"></i></div>', p=f"{100 * self._done:.1f}")
        rest = "" if left is None or self._done >= 1 else _left(left)
        cards = [card("Done", unit(f"{100 * self._done:.0f}", "%"), bar, rest)]
        if rate is not None:
            speed = f"{rate:,.0f}" if rate >= 10 else f"{rate:.2g}"
            cards.append(card("Speed", unit(speed, f"{self.noun}/s"), "at present"))
        losses, heldout = column(lines, "loss")[1], column(lines, "heldout")[1]
        if len(losses):
            cards.append(card("Loss", f"{smoothed(losses)[-1]:.4f}", f"of the last {self.noun} trained on"))
        if len(heldout):
            before = f"{heldout[0]:.4f} at first" if len(heldout) > 1 else f"on {self.noun} never trained on"
            cards.append(card("Held-out loss", f"{heldout[-1]:.4f}", before))
        if verdict is not None:
            cards.append(card("Verdict", verdict, "of the last evaluations"))
        return cards

    def _charts(self, lines: list[dict[str, Any]]) -> list[Html]:
        x, y = column(lines, "loss")
        both = [Line(x, y, "", "s0 pale"), Line(x, smoothed(y), "training", "s0")] if len(x) > 1 else []
        drawn = {"Training loss": both, "Held-out loss, and that of each quarter": _heldout(lines)}
        charts = [(name, line_chart(found, name, self.noun)) for name, found in drawn.items()]
        return [figure(chart, f"{name}.") for name, chart in charts if chart]

    def _commands(self, status: str) -> tuple[str, str] | None:
        """Return a sentence and the commands that work now; None before the first checkpoint."""
        if not (self.run / BUNDLE).is_dir():
            return None
        run = shlex.quote(str(self.run))
        lines = [f"gendi sample {run} --n 64", f"gendi evaluate {run}"]
        if status in ENDS:
            return "What to do with the model.", "\n".join([*lines, f"gendi report {run}"])
        return (
            "These work while it trains, with the averaged weights of the newest checkpoint.",
            "\n".join(lines),
        )


LOSS_TEXT = (
    "The network learns to undo noise; the loss is its weighted squared error, and never reaches zero.",
    "The held-out loss is computed with the averaged weights on data that are never trained on, always with the same "
    "noise. Its quarters divide the noise levels from the least to the most.",
)


def _heldout(lines: Sequence[Mapping[str, Any]]) -> list[Line]:
    rows = [
        {**line, **{f"q{i}": value for i, value in enumerate(line.get("heldout_q") or ())}}
        for line in lines
        if isinstance(line.get("heldout"), int | float)
    ]
    names = [(f"q{i}", name, f"s{i}") for i, name in enumerate(QUARTILES)] + [("heldout", "all", "s4")]
    found = [Line(*column(rows, key), name, style) for key, name, style in names]
    return [line for line in found if np.size(line.x)]


def _again(refresh: int | None) -> str:
    if refresh is None:
        return " The run has ended, so this page stays as it is."
    return f" A browser reads it again every {refresh} seconds."


def _left(seconds: float) -> str:
    """Return how much longer a run trains, in words."""
    return f"about {duration_in_words(seconds)} left" if seconds >= 1 else "nearly done"
