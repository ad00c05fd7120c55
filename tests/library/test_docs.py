"""The docs name functions and tests that exist."""

import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted([*(ROOT / "docs").glob("*.md"), *(ROOT / "docs" / "book").glob("*.md")])
NAME = re.compile(r"`(gendi(?:\.\w+)+)`")
TEST = re.compile(r"`((?:\w+/)+test_\w+\.py)::(test_\w+)`")
LINK = re.compile(r"\]\((?!https?:)([^)#]+)\)")


def found(name: str) -> bool:
    """Return whether `name` is a module, or an attribute (of an attribute ...) of one."""
    parts = name.split(".")
    for cut in range(len(parts), 0, -1):
        try:
            thing = importlib.import_module(".".join(parts[:cut]))
        except ModuleNotFoundError:
            continue
        for part in parts[cut:]:
            if not hasattr(thing, part):
                return False
            thing = getattr(thing, part)
        return True
    return False


@pytest.mark.parametrize("page", [*PAGES, ROOT / "README.md"], ids=lambda page: page.name)
def test_every_name_on_a_page_exists(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert [name for name in NAME.findall(text) if not found(name)] == []
    missing = [
        f"{file}::{test}"
        for file, test in TEST.findall(text)
        if not re.search(rf"^def {test}\(", _read(ROOT / "tests" / file), re.MULTILINE)
    ]
    assert missing == []
    assert [link for link in LINK.findall(text) if not (page.parent / link).exists()] == []


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else ""


def test_a_name_that_is_not_there_is_noticed() -> None:
    assert found("gendi.diffusion.gaussian.process.Process.sample") and not found(
        "gendi.diffusion.gaussian.process.Process.smaple"
    )
    assert not found("gendi.nowhere.thing")


def test_the_page_of_equations_names_a_function_and_a_test_for_each() -> None:
    text = (ROOT / "docs" / "equations.md").read_text(encoding="utf-8")
    rows = [line for line in text.partition("## Mistakes")[0].splitlines() if line.startswith("| ")]
    body = [row for row in rows if not row.startswith(("| equation", "| formula", "| source"))]
    assert len(body) > 10
    assert [row for row in body if not (NAME.search(row) and TEST.search(row))] == []
