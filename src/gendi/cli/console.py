"""Results go to stdout, progress to stderr; `--json` prints one object."""

import json
import os
import shutil
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from gendi.machine.streams import print_result, tell
from gendi.storage.plain import plain


def program() -> str:
    """Return how the user calls gendi, for commands to copy: `gendi`, or its path where it is not on PATH."""
    called = Path(sys.argv[0])
    if called.name != "gendi" or shutil.which("gendi") is not None:
        return "gendi"
    near = os.path.relpath(called)
    return near if len(near) < len(str(called)) else str(called)


def say(message: str) -> None:
    """Print a line of progress to stderr."""
    tell(message)


def show(text: str = "", *, needed: bool = True) -> None:
    """Print a line of the result to stdout. Raises `ResourceError` if it is lost, unless it is not `needed`."""
    print_result(text, needed=needed)


def show_json(value: Any) -> None:
    """Print one JSON object to stdout; NaN and infinity, which JSON lacks, become null, and paths become strings."""
    print_result(json.dumps(plain(value), indent=1, ensure_ascii=False, allow_nan=False))


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
