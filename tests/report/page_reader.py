"""Reads a report as a browser would: what it refers to, what it shows, what it says."""

from html.parser import HTMLParser

VOID = {"meta", "img", "source", "br", "link", "input", "hr"}


class PageReader(HTMLParser):
    """Collects addresses, ids and text, and checks that every element is closed."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.addresses: list[str] = []
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.alts: list[str | None] = []
        self.words: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert not self._open, f"left open: {self._open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in VOID:
            self._open.append(tag)
        found = dict(attrs)
        self.addresses += [found[name] or "" for name in ("src", "href", "srcset", "action", "data") if name in found]
        if "id" in found:
            self.ids.append(found["id"] or "")
        if tag == "img":
            self.alts.append(found.get("alt"))

    def handle_endtag(self, tag: str) -> None:
        assert self._open, f"</{tag}> closes nothing"
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open[-1:] not in (["style"], ["script"]):
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())
