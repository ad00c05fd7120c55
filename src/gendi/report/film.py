"""The previews of a run as a film: one picture under another, and a slider that shows one of them.

The slider is a few lines of JavaScript in the page (`film.js`), so it works offline. Without JavaScript, and on paper,
the last preview is shown.
"""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from gendi.report.page import Html, fill

FRAMES = 24
"""The most pictures of a film. Of more previews, as many are taken at equal distances, the first and the last included.
"""
SCRIPT = "film.js"
"""What a page with a film needs beside it."""
LARGE = 60_000
"""Bytes above which a picture in colour is put into the page as JPEG."""
QUALITY = 88


@dataclass(frozen=True)
class Frame:
    """A preview: its file, and when it was made."""

    path: Path
    step: int
    images: float

    def text(self, noun: str) -> str:
        """Return when it was made, in words."""
        return f"Step {self.step:,}: {self.images:,.0f} {noun} seen"


def frames_of(run: Path, lines: Sequence[Mapping[str, Any]], most: int = FRAMES) -> list[Frame]:
    """Return the previews of a run in order, at most `most` of them.

    Only previews count whose held-out loss is in metrics.jsonl: files of steps that were not kept are left out.

    Args:
        run: the run's folder.
        lines: those of metrics.jsonl.
        most: at least 2.
    """
    made = [line for line in lines if "heldout" in line]
    found = [
        Frame(path, int(line["step"]), float(line.get("images") or 0))
        for line in made
        if (path := run / "previews" / f"step_{int(line['step']):08d}.png").is_file()
    ]
    if len(found) <= most:
        return found
    return [found[round(i * (len(found) - 1) / (most - 1))] for i in range(most)]


def film(frames: Sequence[Frame], noun: str, *, inside: bool = True) -> Html:
    """Return the film of `frames`, of which there is at least one, and nothing where none can be read.

    Args:
        frames: the pictures in order.
        noun: what the rows of the data are called.
        inside: whether the page contains the pictures. If not, it refers to their files, which stand beside it.
    """
    pictures = [(frame.text(noun), found) for frame in frames if (found := _picture(frame, inside)) is not None]
    if not pictures:
        return Html("")
    last = len(pictures) - 1
    shown = [
        fill(
            '<img class="tiles frame" src="{uri}" width="{w}" height="{h}" alt="{text}"{hidden}>',
            uri=uri,
            w=width,
            h=height,
            text=text,
            hidden=" hidden" if i < last else "",
        )
        for i, (text, (uri, width, height)) in enumerate(pictures)
    ]
    if not last:
        return fill("<figure>{p}<figcaption>{text}</figcaption></figure>", p=shown, text=pictures[0][0])
    return fill(
        '<figure class="film" data-keep="gendi-film">{pictures}<div class="controls" hidden>'
        '<button type="button">Play</button>'
        '<input type="range" min="0" max="{last}" value="{last}" step="1" aria-label="Preview"></div>'
        "<figcaption><output>{text}</output></figcaption></figure>",
        pictures=shown,
        last=last,
        text=pictures[-1][0],
    )


def _picture(frame: Frame, inside: bool) -> tuple[str, int, int] | None:
    """Return the address of a frame, its width and its height; None if its file is no picture."""
    try:
        data = frame.path.read_bytes()
        with Image.open(io.BytesIO(data)) as picture:
            width, height = picture.size
            if not inside:
                return f"previews/{frame.path.name}", width, height
            kind = "png"
            if len(data) > LARGE and picture.mode == "RGB":
                out = io.BytesIO()
                picture.save(out, "JPEG", quality=QUALITY, subsampling=0)
                kind, data = "jpeg", out.getvalue()
    except (OSError, ValueError):
        return None
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}", width, height
