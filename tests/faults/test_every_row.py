"""Each fault has its row on docs/reliability.md and names a test: a row without one would be a promise alone.

That the tests which a page names are there is seen to for all pages together, in tests/library/test_docs.py.
"""

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
PAGE = TESTS.parent / "docs" / "reliability.md"
POINTER = re.compile(r"`[\w/]+\.py::\w+`")


def rows() -> list[tuple[str, str]]:
    """Return (fault, tests) of the table of faults."""
    lines = PAGE.read_text().partition("| fault |")[2].partition("\n## ")[0].splitlines()[2:]
    cells = [[cell.strip() for cell in line.strip().strip("|").split(" | ")] for line in lines if line.startswith("|")]
    return [(row[0], row[-1]) for row in cells]


@pytest.mark.parametrize(("fault", "tests"), rows())
def test_every_fault_names_a_test(fault: str, tests: str) -> None:
    assert POINTER.search(tests), fault


@pytest.mark.parametrize(
    "fault",
    [
        *("SIGKILL", "SIGTERM", "Ctrl-C", "disk full", "no write permission", "two processes", "flipped bit"),
        *("truncated", "newer version", "configuration changed", "data changed", "processes changed", "dies"),
        *("pickle", "huge header", "10^9 channels", "NaN or inf", "out of memory in training", "bomb", "animated GIF"),
        *("out of memory in sampling", "text named .png", "10000x1", "empty or missing folder", "fewer images"),
        *("npz", "h5ad", "network down", "a typo"),
    ],
)
def test_every_fault_that_is_promised_has_a_row(fault: str) -> None:
    assert any(fault.lower() in row.lower() for row, _ in rows())
