"""The site: `make docs` builds it into docs/_build, offline; warnings are errors."""

import re
import shutil
from pathlib import Path
from typing import Any

from docutils import nodes

from gendi import __version__

HERE = Path(__file__).parent
ROOT = HERE.parent
REPOSITORY = "https://github.com/gendi-project/gendi/blob/main"

project = "gendi"
author = "The gendi authors"
copyright = "the gendi authors"
release = version = __version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinxcontrib.katex",
]
exclude_patterns = ["_build", "conf.py", "check_site.py", "_static/**", "slurm/**", ".jupyter_cache"]
suppress_warnings = ["mystnb.unknown_mime_type"]

# --- Markdown and notebooks
myst_enable_extensions = ["dollarmath", "amsmath", "colon_fence", "deflist"]
myst_dmath_double_inline = True
myst_dmath_allow_digits = False
myst_heading_anchors = 3
nb_custom_formats = {".py": ["jupytext.reads", {"fmt": "py:percent"}]}
nb_execution_mode = "cache"
nb_execution_cache_path = str(HERE / "_build" / "jupyter_cache")
nb_execution_raise_on_error = True
nb_execution_timeout = 1800  # of one cell, on a busy machine
nb_execution_excludepatterns = ["conf.py", "check_site.py"]
nb_merge_streams = True

# --- mathematics: script from the package, style sheet and fonts from _static; nothing is fetched
katex_css_path = "katex/katex.min.css"
katex_prerender = False
katex_options = r"""{
  strict: false,
  macros: {"\\abar": "\\bar{\\alpha}", "\\eps": "\\epsilon", "\\KL": "\\mathrm{KL}", "\\N": "\\mathcal{N}"}
}"""

# --- pages from docstrings
autodoc_member_order = "bysource"
autodoc_typehints = "none"
autodoc_preserve_defaults = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True

# --- looks
html_theme = "furo"
html_title = "gendi"
html_static_path = ["_static"]
html_css_files = ["gendi.css"]
html_show_sourcelink = True
html_copy_source = True
html_theme_options = {"source_repository": "", "navigation_with_keys": True}

# External links cannot be fetched everywhere, so the builder `linkcheck` is not part of `make docs`: a test lists them.


def setup(app: Any) -> None:
    """Copy the notebooks beside the pages; they live in the folder `notebooks` of the project."""
    there = HERE / "notebooks"
    shutil.rmtree(there, ignore_errors=True)
    there.mkdir()
    for path in sorted((ROOT / "notebooks").glob("*.py")):
        shutil.copy2(path, there / path.name)
    app.connect("source-read", with_addresses)
    app.connect("doctree-read", without_handles)
    app.connect("autodoc-process-docstring", as_rst, priority=400)  # before napoleon reads the sections


def with_addresses(app: Any, name: str, source: list[str]) -> None:
    """Turn links to files outside the pages (`../benchmarks/demo.py`) into links to the repository."""
    for up in ("../../benchmarks/", "../benchmarks/"):
        source[0] = source[0].replace(f"]({up}", f"]({REPOSITORY}/benchmarks/")
    source[0] = source[0].replace("](../SECURITY.md", f"]({REPOSITORY}/SECURITY.md")


HANDLES = re.compile(r"[\[(]*(Text\(|<matplotlib|<torch._C.Generator)|\(\([-\d.]+, [-\d.]+\)")
"""What functions of matplotlib and seeds return, as a notebook would print it below the last line of a cell."""


def without_handles(app: Any, tree: Any) -> None:
    """Leave out return values that say nothing to a reader; the figure stands below them."""
    for node in [*tree.findall(nodes.literal_block)]:
        if "text_plain" in node.get("classes", ()) and HANDLES.match(node.astext()):
            node.parent.remove(node)


SECTIONS = ("Args:", "Returns:", "Raises:", "Attributes:", "Yields:")


def as_rst(app: Any, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """Make a docstring plain reStructuredText: words in backticks are code, indented blocks are literal.

    gendi's docstrings are written to be read in the source: a star is a star, a bar is a bar.
    """
    out: list[str] = []
    literal = section = False
    for i, line in enumerate(lines):
        bare = line.strip()
        if bare and not line.startswith(" "):
            literal, section = False, bare in SECTIONS
        elif bare and not section and not literal and (i == 0 or not lines[i - 1].strip()):
            out += ["::", ""]
            literal = True
        out.append(line if literal else _escaped(line))
    lines[:] = out


def _escaped(line: str) -> str:
    parts = line.split("`")
    for i in range(0, len(parts), 2):
        for sign in "*|":
            parts[i] = parts[i].replace(sign, "\\" + sign)
        parts[i] = parts[i].replace("_ ", "\\_ ").replace("_,", "\\_,")
    return "``".join(parts)
