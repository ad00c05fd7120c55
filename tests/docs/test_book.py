"""The book has every numbered equation of both texts, and what its pages show is computed when they are built.

The report numbers its equations (1) to (59), and the page of equations (60) to (77); the paper has (1) to (16).
"""

import re
from collections import Counter
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
BOOK = sorted((DOCS / "book").glob("*.md"))
EQUATIONS = (DOCS / "equations.md").read_text(encoding="utf-8")
REPORT, PAPER = 77, 16
ROW = re.compile(r"^\| (?P<which>[^|]*) \| [^|]* \| `gendi[\w.]+` \| `[\w/.]+::\w+` \|$", re.MULTILINE)
CELL = re.compile(r"^```\{code-cell\} python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def section(title: str) -> str:
    return EQUATIONS.partition(f"## {title}\n")[2].partition("\n## ")[0]


def numbers(text: str) -> set[int]:
    """Return the numbers in `(3), (5) to (7)`: 3, 5, 6 and 7."""
    found: set[int] = set()
    for first, last in re.findall(r"\((\d+)\)(?: to \((\d+)\))?", text):
        found |= set(range(int(first), int(last or first) + 1))
    return found


def tags(letter: str) -> Counter[int]:
    pages = "\n".join(path.read_text(encoding="utf-8") for path in BOOK)
    return Counter(int(number) for number in re.findall(rf"\\tag\{{{letter}(\d+)\}}", pages))


@pytest.mark.parametrize(("title", "most"), [("The GENDI report", REPORT), ("The paper", PAPER)])
def test_every_equation_has_a_function_and_a_test(title: str, most: int) -> None:
    rows = [match["which"] for match in ROW.finditer(section(title))]
    assert set().union(*map(numbers, rows)) == set(range(1, most + 1))


@pytest.mark.parametrize(("letter", "most"), [("G", REPORT), ("P", PAPER)])
def test_every_equation_has_its_place_in_the_book_exactly_once(letter: str, most: int) -> None:
    assert tags(letter) == Counter(range(1, most + 1))


@pytest.mark.parametrize("page", BOOK, ids=lambda page: page.stem)
def test_every_page_is_in_the_table_of_contents_and_every_chapter_has_exercises(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert f"book/{page.stem}\n" in (DOCS / "index.md").read_text(encoding="utf-8")
    if page.stem == "impatient":  # commands alone
        return
    assert CELL.findall(text) and "## Exercises" in text
    assert text.count(":::{admonition} Answer") == len(re.findall(r"^\*\*\d\.\*\*", text, re.MULTILINE)) > 0


@pytest.mark.slow
@pytest.mark.parametrize("page", BOOK, ids=lambda page: page.stem)
def test_the_code_of_a_page_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import matplotlib.pyplot as plt

    plt.switch_backend("agg")
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for block in CELL.findall(page.read_text(encoding="utf-8")):
        exec(compile(block, str(page), "exec"), names)
    plt.close("all")


@pytest.mark.parametrize("page", sorted(DOCS.glob("*.md")), ids=lambda page: page.stem)
def test_the_code_of_reference_pages_is_python_and_imports_what_exists(page: Path) -> None:
    import ast
    import importlib

    for block in re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.partition(".")[0] == "gendi":
                module = importlib.import_module(node.module)
                assert [alias.name for alias in node.names if not hasattr(module, alias.name)] == []
