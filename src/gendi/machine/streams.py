"""Standard output and standard error that may be closed or full: work goes on, and what could not be printed is known.

Progress goes to standard error, and may be lost: `lost` says why, so that a run can write it into its log. A result on
standard output must not be lost without a word: `ResourceError` (exit code 5) is raised if it cannot be printed,
unless the caller has closed the stream. This module imports only the standard library.
"""

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol, TextIO, cast, runtime_checkable

from gendi.errors import ResourceError

_LOST: list[str] = []


@runtime_checkable
class Stream(Protocol):
    """What a standard stream can do."""

    def write(self, text: str, /) -> int: ...
    def flush(self) -> None: ...
    def isatty(self) -> bool: ...
    def fileno(self) -> int: ...


def lost() -> str | None:
    """Return why the first text was lost that standard error did not take; None if it took all."""
    return _LOST[0] if _LOST else None


def tell(line: str) -> None:
    """Print a line to standard error, or lose it."""
    if sys.stderr is None:  # a program without one, or the shell's 2>&-
        _lose("it is closed")
        return
    try:
        print(line, file=sys.stderr, flush=True)
    except (OSError, ValueError) as error:
        _lose(_reason(error))


def print_result(text: str, *, needed: bool = True) -> None:
    """Print a line to standard output.

    Raises `ResourceError` if it cannot be printed, and `BrokenPipeError` if its reader is gone; it is lost without a
    word if it is not `needed`.
    """
    try:
        print(text, flush=True)
    except OSError as error:
        if needed:
            raise _unprinted(error) from error
        _let_go(sys.stdout)


def flush_results() -> None:
    """Print what waits in standard output. Raises as `print_result` does."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError as error:
        raise _unprinted(error) from error


@contextlib.contextmanager
def standing_streams() -> Iterator[None]:
    """Give the block streams that are there: one that is closed leads nowhere, and standard error never fails.

    Characters that a terminal's encoding lacks are escaped. Without descriptors 0 to 2, the next file to be opened
    would take such a number, and what a library prints to standard error would be written into it.
    """
    _LOST.clear()
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            nowhere = os.open(os.devnull, os.O_RDWR)
            if nowhere != descriptor:
                os.dup2(nowhere, descriptor)
                os.close(nowhere)
    before = sys.stdout, sys.stderr
    for stream in before:
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    if sys.stdout is None:
        sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115  as long as the process lasts
    ours = cast(TextIO, _Steadfast(sys.stderr))
    sys.stderr = ours
    try:
        yield
    finally:
        for stream in before:
            _let_go(stream, unless_flushed=True)
        if sys.stderr is ours:
            sys.stderr = before[1]


class _Steadfast:
    """A stream that loses what the stream in it does not take. It has all attributes of that stream."""

    def __init__(self, stream: Stream | None) -> None:
        self._stream = stream
        self.encoding = getattr(stream, "encoding", "utf-8")

    def write(self, text: str) -> int:
        if self._stream is None:
            _lose("it is closed")
            return len(text)
        try:
            self._stream.write(text)
        except (OSError, ValueError) as error:
            _lose(_reason(error))
        return len(text)

    def flush(self) -> None:
        try:
            if self._stream is not None:
                self._stream.flush()
        except (OSError, ValueError) as error:
            _lose(_reason(error))

    def isatty(self) -> bool:
        return self._stream is not None and self._stream.isatty()

    def __getattr__(self, name: str) -> Any:
        if self._stream is None:
            raise AttributeError(name)
        return getattr(self._stream, name)


def _let_go(stream: Stream | None, *, unless_flushed: bool = False) -> None:
    """Lead a stream nowhere, so that what waits in it does not fail when the interpreter ends."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        try:
            if unless_flushed and stream is not None:
                stream.flush()
                return
        except OSError:
            pass
        if stream is not None:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)


def _lose(reason: str) -> None:
    if not _LOST:
        _LOST.append(reason)


def _reason(error: OSError | ValueError) -> str:
    return (getattr(error, "strerror", None) or str(error)).lower()


def _unprinted(error: OSError) -> OSError | ResourceError:
    if isinstance(error, BrokenPipeError):
        return error
    return ResourceError(
        f"The result could not be printed: {_reason(error)} on standard output. Files that were written are whole. "
        "Free some space, or send the output elsewhere."
    )
