"""Scenes: frames one under another, and a slider that shows one of them (`film.js`, as for the film of previews).

Sliders of one group move together. Without JavaScript, and on paper, the frame at which a scene starts is shown.
"""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gendi.report.film import LARGE, QUALITY
from gendi.report.page import Html, fill
from gendi.report.tiles import grid, png


@dataclass(frozen=True)
class Frame:
    """One state of a scene: what is shown, and the line of text below it."""

    body: Html
    text: str


def scene(frames: Sequence[Frame], *, label: str, start: int = 0, group: str = "", still: Html | None = None) -> Html:
    """Return a scene.

    Args:
        frames: the states in order, at least two.
        label: what the slider moves, for readers who cannot see it.
        start: the frame that is shown first.
        group: scenes of one name, which have as many frames, move together.
        still: what stays below the frames, such as a chart whose marks `film.js` moves.
    """
    shown = [
        fill(
            '<div class="frame" data-text="{text}"{hidden}>{body}</div>',
            text=frame.text,
            hidden=Html("") if i == start else Html(" hidden"),
            body=frame.body,
        )
        for i, frame in enumerate(frames)
    ]
    return fill(
        '<figure class="film scene" data-group="{group}" data-start="{start}">{shown}{still}'
        '<div class="controls" hidden><button type="button">Play</button>'
        '<input type="range" min="0" max="{last}" value="{start}" step="1" aria-label="{label}"></div>'
        "<figcaption><output>{text}</output></figcaption></figure>",
        group=group,
        start=start,
        shown=shown,
        still=still or "",
        last=len(frames) - 1,
        label=label,
        text=frames[start].text,
    )


def term(picture: Html, name: Html | str, note: str = "") -> Html:
    """Return a picture with its name, and a note, below it."""
    return fill(
        '<div class="term">{picture}<div class="name">{name}</div>{note}</div>',
        picture=picture,
        name=name,
        note=fill('<div class="said">{note}</div>', note=note) if note else "",
    )


def operator(sign: str) -> Html:
    """Return the sign between two pictures of a sum."""
    return fill('<div class="operator">{sign}</div>', sign=sign)


def terms(*parts: Html) -> Html:
    """Return pictures and the signs between them in one row."""
    columns = " ".join("auto" if 'class="operator"' in part else "minmax(0,1fr)" for part in parts)
    return fill(
        '<div class="terms" style="grid-template-columns:{columns}">{parts}</div>', columns=columns, parts=parts
    )


def tile(pixels: NDArray[np.uint8], alt: str, side: int = 168) -> Html:
    """Return one picture (H, W, C) as markup that holds its bytes."""
    return sheet(pixels[None], 1, alt, side=side)


def sheet(pixels: NDArray[np.uint8], columns: int, alt: str, *, side: int = 96) -> Html:
    """Return pictures (N, H, W, C) laid out in rows of `columns`, as markup that holds their bytes.

    Large ones in colour are kept as JPEG, which takes a tenth of the room; the others are exact.
    """
    factor = max(1, side // max(pixels.shape[1:3]))  # the browser enlarges small pixels, so they need no room
    laid = grid(pixels, columns, side=max(pixels.shape[1:3]), gap=max(1, 4 // factor))
    data, kind = png(laid), "png"
    if len(data) > LARGE and laid.mode == "RGBA":
        out = io.BytesIO()
        backed = Image.new("RGB", laid.size, "white")
        backed.paste(laid, mask=laid.getchannel("A"))
        backed.save(out, "JPEG", quality=QUALITY, subsampling=0)
        data, kind = out.getvalue(), "jpeg"
    return fill(
        '<img class="tiles" src="data:image/{kind};base64,{data}" width="{w}" height="{h}" alt="{alt}">',
        kind=kind,
        data=base64.b64encode(data).decode(),
        w=laid.width * factor,
        h=laid.height * factor,
        alt=alt,
    )
