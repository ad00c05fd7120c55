"""HTML of the page: templates that escape the values filled into them, pictures, sections, and the whole document."""

import base64
import html
import io
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from matplotlib.figure import Figure
from PIL import Image

from gendi.report import style, tiles
from gendi.report.style import DARK, LIGHT, Theme
from gendi.storage.files import atomic_write
from gendi.storage.record import RunRecord


class Html(str):
    """Text that is already markup. A template takes it as it is, and escapes everything else."""

    __slots__ = ()


def fill(template: str, **values: object) -> Html:
    """Fill the {fields} of a template: `Html` goes in as it is, lists are joined, anything else is escaped."""
    return Html(template.format_map({name: _escaped(value) for name, value in values.items()}))


def _escaped(value: object) -> str:
    if isinstance(value, Html):
        return value
    if isinstance(value, list | tuple):
        return "".join(map(_escaped, value))
    return html.escape(str(value))


class Gallery:
    """Writes pictures to a run's `pictures` folder, and returns markup that shows them and contains their bytes."""

    def __init__(self, folder: Path, record: RunRecord) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.record = folder, record
        self.names: list[str] = []

    def _save(self, name: str, data: bytes) -> tuple[str, tuple[int, int]]:
        self.record.claim(self.folder / name)
        atomic_write(self.folder / name, data)
        self.names.append(name)
        kind = "gif" if name.endswith(".gif") else "png"
        with Image.open(io.BytesIO(data)) as picture:
            size = picture.size
        return f"data:image/{kind};base64,{base64.b64encode(data).decode()}", size

    def figure(self, name: str, draw: Callable[[Theme], Figure], alt: str, *, gradients: bool = False) -> Html:
        """Draw a figure in both themes, as NAME.png and NAME.dark.png; the page shows the one that the reader uses."""
        light, size = self._save(f"{name}.png", style.png(draw(LIGHT), LIGHT, gradients=gradients))
        dark, _ = self._save(f"{name}.dark.png", style.png(draw(DARK), DARK, gradients=gradients))
        return fill(
            '<picture><source media="screen and (prefers-color-scheme: dark)" srcset="{dark}">'
            '<img src="{light}" width="{w}" height="{h}" alt="{alt}"></picture>',
            light=light,
            dark=dark,
            w=size[0] // 2,
            h=size[1] // 2,
            alt=alt,
        )

    def image(self, name: str, image: Image.Image, alt: str) -> Html:
        """Write an image as NAME.png and return the markup that shows it."""
        uri, (w, h) = self._save(f"{name}.png", tiles.png(image))
        return fill('<img class="tiles" src="{uri}" width="{w}" height="{h}" alt="{alt}">', uri=uri, w=w, h=h, alt=alt)

    def film(self, name: str, film: bytes, still: Image.Image, alt: str) -> Html:
        """Write NAME.gif and its last frame, NAME.png, which is shown on paper and to readers who want less motion."""
        moving, (w, h) = self._save(f"{name}.gif", film)
        fixed, _ = self._save(f"{name}.png", tiles.png(still))
        return fill(
            '<picture><source media="print, (prefers-reduced-motion: reduce)" srcset="{fixed}">'
            '<img class="tiles" src="{moving}" width="{w}" height="{h}" alt="{alt}"></picture>',
            moving=moving,
            fixed=fixed,
            w=w,
            h=h,
            alt=alt,
        )


def figures_table(first: str, heads: Sequence[str], body: Sequence[Html]) -> Html:
    """Return a table of rows `body` that scrolls by itself; the columns after the first one are of numbers."""
    return fill(
        '<div class="scroll"><table><thead><tr><th scope="col">{first}</th>{heads}</tr></thead><tbody>{body}</tbody>'
        "</table></div>",
        first=first,
        heads=[fill('<th class="number" scope="col">{h}</th>', h=h) for h in heads],
        body=body,
    )


def figure(picture: Html, caption: object, ticks: Sequence[str] = ()) -> Html:
    """Return a picture with its caption; below it stand the `ticks` in equal columns, one per column of tiles."""
    below = fill(
        '<div class="ticks" style="grid-template-columns:repeat({n},1fr)">{items}</div>',
        n=len(ticks),
        items=[fill("<span>{tick}</span>", tick=tick) for tick in ticks],
    )
    return fill(
        "<figure>{picture}{below}<figcaption>{caption}</figcaption></figure>",
        picture=picture,
        below=below if ticks else "",
        caption=caption,
    )


def aside(picture: Html, caption: object) -> Html:
    """Return a picture with its caption beside it where the page is wide enough."""
    return fill(
        '<figure class="aside">{picture}<figcaption>{caption}</figcaption></figure>', picture=picture, caption=caption
    )


def row(*figures: Html) -> Html:
    """Set figures side by side where the page is wide enough."""
    return fill('<div class="row">{figures}</div>', figures=figures)


def section(key: str, title: str, text: Sequence[object], body: Iterable[Html]) -> Html:
    """Return a section: its heading and short text beside its pictures."""
    return fill(
        '<section id="{key}"><header><h2>{title}</h2>{text}</header><div class="body">{body}</div></section>',
        key=key,
        title=title,
        text=[fill("<p>{part}</p>", part=part) for part in text],
        body=list(body),
    )


def absent(text: str) -> Html:
    """Return the sentence that stands where something is missing; the marks of commands in texts for terminals go."""
    return fill('<p class="absent">{text}</p>', text=text.replace("`", ""))


def page(
    title: str,
    hero: Html,
    sections: Sequence[tuple[str, str, Html]],
    footer: object,
    *,
    scripts: Sequence[str] = (),
    styles: Sequence[str] = ("page.css",),
    refresh: int | None = None,
) -> str:
    """Return the whole document.

    Args:
        title: the title of the window.
        hero: the top of the page.
        sections: (key, name in the table of contents, markup) of each.
        footer: the last line.
        scripts: the files beside this module whose JavaScript the page contains.
        styles: the files beside this module with its style sheets.
        refresh: seconds after which a browser reads the file again; None for a page that stays as it is.
    """
    css = Html("".join(map(_beside, styles)))
    return fill(
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n{again}<title>{title}</title>\n<style>\n'
        "{css}</style>\n</head>\n"
        "<body>\n"
        '{hero}\n<nav aria-label="Contents">{contents}</nav>\n<main>\n{sections}\n</main>\n<footer>{footer}</footer>\n'
        "{scripts}</body>\n</html>\n",
        title=title,
        css=css,
        hero=hero,
        contents=[fill('<a href="#{key}">{name}</a>', key=key, name=name) for key, name, _ in sections],
        sections=[markup for _, _, markup in sections],
        footer=footer,
        again="" if refresh is None else fill('<meta http-equiv="refresh" content="{s}">\n', s=refresh),
        scripts=[fill("<script>\n{code}</script>\n", code=Html(_beside(name))) for name in scripts],
    )


def _beside(name: str) -> str:
    """Return the text of a file beside this module."""
    return (Path(__file__).parent / name).read_text(encoding="utf-8")
