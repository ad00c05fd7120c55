"""Tables as aligned text, for terminals, and as HTML, for notebooks."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape


def table(rows: Iterable[Sequence[object]], head: Sequence[str] = (), indent: str = "  ") -> str:
    """Return rows of cells as aligned text; columns of numbers, gaps ("-") among them, are aligned to the right."""
    body = [list(row) for row in rows]
    lines = [[cell(value) for value in row] for row in body]
    if head:
        lines.insert(0, list(head))
    columns = range(max((len(line) for line in lines), default=0))
    right = {i for i in columns if body and all(i < len(row) and _is_number(row[i]) for row in body)}
    widths = [max(len(line[i]) for line in lines if i < len(line)) for i in columns]
    return "\n".join(
        (
            indent + "  ".join(c.rjust(widths[i]) if i in right else c.ljust(widths[i]) for i, c in enumerate(line))
        ).rstrip()
        for line in lines
    )


def cell(value: object) -> str:
    """Return one value as a person reads it: thousands grouped, four digits of a float, "-" for nothing."""
    match value:
        case None | "":
            return "-"
        case bool():
            return "yes" if value else "no"
        case int():
            return f"{value:,}"
        case float():
            return f"{value:.4g}" if abs(value) < 10_000 else f"{value:,.0f}"
    return str(value)


def _is_number(value: object) -> bool:
    return value in (None, "", "-") or (isinstance(value, int | float) and not isinstance(value, bool))


def html_table(rows: Iterable[Sequence[object]], head: Sequence[str] = ()) -> str:
    """Return rows of cells as an HTML table, whose texts are escaped."""
    top = "".join(f"<th>{escape(name)}</th>" for name in head)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell(value))}</td>" for value in row) + "</tr>" for row in rows)
    return f"<table>{f'<tr>{top}</tr>' if head else ''}{body}</table>"


def html_card(title: str, facts: Mapping[str, object], png: bytes | None = None, note: str = "") -> str:
    """Return what a notebook shows of an object: a title, facts by name, a PNG file and a note."""
    from base64 import b64encode

    picture = ""
    if png is not None:
        data = b64encode(png).decode("ascii")
        picture = f'<img style="image-rendering: pixelated" src="data:image/png;base64,{data}">'
    below = f"<div>{escape(note)}</div>" if note else ""
    return f"<div><b>{escape(title)}</b>{html_table(facts.items())}{picture}{below}</div>"
