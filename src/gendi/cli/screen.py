"""What a person sees of a run while it trains: a bar or lines on standard error, and the page of the run."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from gendi.data.kinds import find_kind

if TYPE_CHECKING:
    from gendi.train.progress.telling import Console


@contextlib.contextmanager
def screen(run: Path, data: str, page: bool | None = None) -> "Iterator[Console]":
    """Yield the console of a run.

    Args:
        run: the run's folder.
        data: what it is trained on.
        page: whether to keep the page in the run's folder current; None does so where standard error is a terminal.
    """
    from gendi.train.progress.console import TerminalConsole, make_console

    with make_console() as console:
        if page or (page is None and isinstance(console, TerminalConsole)):
            from gendi.report.live import LivePage

            with LivePage(console, run, find_kind(data).noun) as live:
                yield live
        else:
            yield console
