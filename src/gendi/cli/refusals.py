"""What tyro says is wrong with a command line, as one sentence.

tyro has no public way to hear of a refusal before it is printed: it draws a box on stderr and exits. (Its hook for
parse errors is private, and it says that any release may change or remove it.) So the words are read once more, on a
terminal so wide that no line is broken, and the sentence is taken out of the box. All that depends on how the box looks
stands here, and `tests/cli/test_refusals_of_tyro.py` fails when tyro draws another.
"""

import contextlib
import io
import os
from collections.abc import Callable, Iterator, Sequence

UNKNOWN = "The arguments could not be read."


def refusal(read: Callable[[], object]) -> str:
    """Return what is wrong with the words that `read` has tyro read, which prints a box and exits."""
    box = io.StringIO()
    plain = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")  # on which tyro draws lines, and in no colour
    with (
        contextlib.suppress(SystemExit),
        contextlib.redirect_stdout(plain),
        contextlib.redirect_stderr(box),
        _wide_terminal(),
    ):
        read()
    return first_section(box.getvalue())


def first_section(box: str) -> str:
    """Return the lines of a box of tyro's before its first rule, as one sentence."""
    lines: list[str] = []
    for line in box.splitlines():
        inside = line.strip("│ ").strip()
        if not inside or inside[0] in "╭╰":
            continue
        if set(inside) == {"─"}:
            break
        lines.append(inside)
    text = " ".join(lines).replace("Error parsing ", "")
    if lines and lines[0].startswith("Missing from "):
        text = _missing(lines[1:])
    if not text:
        return UNKNOWN
    return text if text[-1] in ".!?" else f"{text}."


def _missing(lines: Sequence[str]) -> str:
    """Return which arguments are missing, from lines of names, each with a line of help that ends in "(required)"."""
    found, name = list[tuple[str, str]](), ""
    for line in lines:
        if line.endswith("(required)"):
            found.append((name, line.removesuffix("(required)").strip()))
        else:
            name = line.split()[0]
    if len(found) < 2:
        return "".join(f"{name} is missing: {what}" for name, what in found)
    *first, last = (name for name, _ in found)
    return f"{', '.join(first)} and {last} are missing. {' '.join(f'{name}: {what}' for name, what in found)}"


@contextlib.contextmanager
def _wide_terminal() -> Iterator[None]:
    """Have tyro break no line of what it refuses."""
    old = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = "10000"
    try:
        yield
    finally:
        if old is None:
            del os.environ["COLUMNS"]
        else:
            os.environ["COLUMNS"] = old
