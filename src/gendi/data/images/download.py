"""Fetching small public files over HTTP. Every wait has a time limit, and every answer a size limit."""

import http.client
import queue
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from urllib.parse import urlsplit

from gendi.errors import DataError

PROBE_SECONDS = 3.0
"""How long a mirror may take to hand over its smallest file."""
STALL_SECONDS = 10.0
FILE_SECONDS = 600.0


class SourceError(Exception):
    """A source of a data set failed; the text goes into the list of sources that were tried."""


def fetch(url: str, most: int, *, stall: float = STALL_SECONDS, seconds: float = FILE_SECONDS) -> bytes:
    """Return the body of `url`, at most `most` bytes long.

    Raises:
        SourceError: the server is unreachable or answers with an error, sends nothing for `stall` seconds, is not done
            within `seconds`, or sends too much.
    """
    end = time.monotonic() + seconds
    data = bytearray()
    try:
        request = urllib.request.Request(url, headers={"User-Agent": "gendi"})
        with urllib.request.urlopen(request, timeout=stall) as answer:
            while chunk := answer.read1(1 << 18):
                data += chunk
                if len(data) > most:
                    raise SourceError(f"the file is larger than the {most} bytes expected")
                if time.monotonic() > end:
                    raise SourceError(f"not done within {seconds:g} s")
            if answer.length:  # what is still to come of a declared length
                raise SourceError(f"the connection closed {answer.length} bytes early")
    except urllib.error.HTTPError as error:
        error.close()
        raise SourceError(f"HTTP {error.code} {error.reason}") from error
    except urllib.error.URLError as error:
        raise SourceError(str(error.reason)) from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise SourceError(str(error) or type(error).__name__) from error
    return bytes(data)


def answering(
    mirrors: Sequence[str], file: str, most: int, check: Callable[[bytes], object], failed: Callable[[str, str], None]
) -> Iterator[str]:
    """Yield the mirrors that send `file` in time and in a form that `check` accepts, the quickest first.

    All mirrors are tried at once. Daemon threads do this, because a look-up of a name that hangs cannot be cancelled.
    The whole takes no longer than `PROBE_SECONDS`. `failed(mirror, reason)` is called for each of the other mirrors.
    """
    answers: queue.Queue[tuple[str, str | None]] = queue.Queue()

    def probe(mirror: str) -> None:
        try:
            check(fetch(mirror + file, most, stall=PROBE_SECONDS, seconds=PROBE_SECONDS))
        except (SourceError, DataError) as error:
            answers.put((mirror, str(error)))
        else:
            answers.put((mirror, None))

    waiting = list(mirrors)
    for mirror in mirrors:
        threading.Thread(target=probe, args=(mirror,), daemon=True).start()
    end = time.monotonic() + PROBE_SECONDS
    while waiting:
        try:
            mirror, reason = answers.get(timeout=max(0.0, end - time.monotonic()))
        except queue.Empty:
            break
        waiting.remove(mirror)
        if reason is None:
            yield mirror
        else:
            failed(mirror, reason)
    for mirror in waiting:
        failed(mirror, f"no answer within {PROBE_SECONDS:g} s")


def host(url: str) -> str:
    """Return the host of a URL, for messages."""
    return urlsplit(url).netloc or url
