import contextlib
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from gendi.data.images import download
from gendi.data.images.download import SourceError, answering, fetch, host
from gendi.errors import DataError

Answer = Callable[[BaseHTTPRequestHandler], None]


def send(handler: BaseHTTPRequestHandler, body: bytes, declared: int | None = None) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(body) if declared is None else declared))
    handler.end_headers()
    handler.wfile.write(body)


@pytest.fixture
def release() -> Iterator[threading.Event]:
    """Lets go of the servers that hang."""
    event = threading.Event()
    yield event
    event.set()


@pytest.fixture
def mirror(release: threading.Event, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A server on this machine whose first path segment says how it behaves."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")

    def drip(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        while not release.wait(0.02):
            handler.wfile.write(b"x")

    answers: dict[str, Answer] = {
        "good": lambda handler: send(handler, b"good bytes"),
        "wrong": lambda handler: send(handler, b"other bytes"),
        "missing": lambda handler: handler.send_error(404, "Not Found"),
        "hang": lambda handler: release.wait() and None,
        "drip": drip,
        "short": lambda handler: send(handler, b"good", declared=10),
    }

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            with contextlib.suppress(OSError):  # the client has had enough
                answers[self.path.split("/")[1]](self)

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/"
    release.set()
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_file_is_fetched(mirror: str) -> None:
    assert fetch(f"{mirror}good/file", most=10) == b"good bytes"


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [("missing", "HTTP 404"), ("hang", "timed out"), ("drip", "not done within"), ("short", "early")],
)
def test_a_bad_mirror_is_given_up(mirror: str, behaviour: str, reason: str) -> None:
    with pytest.raises(SourceError, match=reason):
        fetch(f"{mirror}{behaviour}/file", most=1000, stall=0.3, seconds=0.3)


def test_a_file_larger_than_expected_is_not_read_to_its_end(mirror: str) -> None:
    with pytest.raises(SourceError, match="larger than the 9 bytes"):
        fetch(f"{mirror}good/file", most=9)


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/x", "http://name.invalid/x", "http://[broken/", "nonsense"])
def test_an_address_without_a_server_is_given_up(url: str) -> None:
    with pytest.raises(SourceError):
        fetch(url, most=10, stall=1)


def test_mirrors_are_asked_at_once_and_the_bad_ones_are_named(mirror: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "PROBE_SECONDS", 0.5)

    def check(data: bytes) -> None:
        if data != b"good bytes":
            raise DataError("wrong bytes")

    failed: dict[str, str] = {}
    names = ["hang/", "missing/", "wrong/", "good/", "drip/"]
    found = answering([mirror + name for name in names], "file", 100, check, failed.__setitem__)
    assert list(found) == [f"{mirror}good/"]
    assert failed.keys() == {mirror + name for name in names} - {f"{mirror}good/"}
    assert failed[f"{mirror}wrong/"] == "wrong bytes"
    assert "404" in failed[f"{mirror}missing/"]


def test_a_name_server_that_hangs_is_not_waited_for(release: threading.Event, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "PROBE_SECONDS", 0.1)
    monkeypatch.setattr(download, "fetch", lambda *args, **kwargs: b"late" if release.wait() else b"")
    failed: dict[str, str] = {}
    assert list(answering(["http://a/", "http://b/"], "file", 9, len, failed.__setitem__)) == []
    assert list(failed.values()) == ["no answer within 0.1 s"] * 2


def test_host() -> None:
    assert host("https://example.org/a/b") == "example.org"
