"""Check a site that was built: every link inside it leads somewhere, and no page asks another server for anything.

    python docs/check_site.py docs/_build/html

Links to other sites are listed, not fetched: they cannot be reached from every machine.
"""

import sys
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

LOADED = {("script", "src"), ("img", "src"), ("link", "href"), ("iframe", "src"), ("source", "src")}
"""What a browser fetches by itself. Of `link` only those that are loaded count, not the address of the next page."""
FETCHED = {"stylesheet", "icon", "preload", "prefetch", "modulepreload"}


class Page(HTMLParser):
    """The identifiers, the links and what is loaded by a page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what a tag says."""
        found = {name: value or "" for name, value in attrs}
        self.ids |= {found[name] for name in ("id", "name") if name in found}
        if tag == "a" and "href" in found:
            self.links.append(found["href"])
        for name, value in found.items():
            if (tag, name) in LOADED and (tag != "link" or set(found.get("rel", "").split()) & FETCHED):
                self.loaded.append(value)


def problems(site: Path) -> tuple[list[str], Counter[str]]:
    """Return what is wrong with a site, and how often it links to which other hosts."""
    pages = {path.resolve(): Page(path) for path in sorted(site.rglob("*.html"))}
    wrong: list[str] = []
    hosts: Counter[str] = Counter()
    for path, page in pages.items():
        name = path.relative_to(site.resolve())
        wrong += [f"{name} loads {address}" for address in page.loaded if urlsplit(address).netloc]
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme in ("http", "https"):
                hosts[parts.netloc] += 1
                continue
            if parts.scheme:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if not target.exists():
                wrong.append(f"{name} links to {link}, which is not there")
            elif parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].ids:
                wrong.append(f"{name} links to {link}, and there is no such place on that page")
    if not pages:
        wrong.append(f"there is no page in {site}")
    return wrong, hosts


if __name__ == "__main__":
    found, others = problems(Path(sys.argv[1]))
    print("links to other sites, not fetched:", ", ".join(f"{host} ({n})" for host, n in others.most_common()))
    sys.exit("\n".join(found) if found else 0)
