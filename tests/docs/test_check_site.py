"""The checker of the built site finds links that lead nowhere and what is loaded from elsewhere."""

import importlib.util
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "docs" / "check_site.py"


def test_it_finds_what_is_wrong_and_nothing_else(tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("check_site", SCRIPT)
    assert spec is not None and spec.loader is not None
    checker = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(checker)
    (tmp_path / "b.html").write_text('<h1 id="here">b</h1><script src="_static/x.js"></script>')
    (tmp_path / "a.html").write_text(
        '<a href="b.html#here"></a><a href="b.html#away"></a><a href="c.html"></a><a href="#top"></a><p id="top"></p>'
        '<a href="https://example.org/x"></a><script src="https://cdn.example.org/k.js"></script>'
        '<link rel="next" href="https://example.org/next"><link rel="stylesheet" href="//example.org/s.css">'
    )
    wrong, hosts = checker.problems(tmp_path)
    assert wrong == [
        "a.html loads https://cdn.example.org/k.js",
        "a.html loads //example.org/s.css",
        "a.html links to b.html#away, and there is no such place on that page",
        "a.html links to c.html, which is not there",
    ]
    assert hosts == {"example.org": 1}
    assert checker.problems(tmp_path / "nowhere")[0] == [f"there is no page in {tmp_path / 'nowhere'}"]
