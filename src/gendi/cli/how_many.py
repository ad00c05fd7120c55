"""How many samples `gendi evaluate` draws where --n does not say it."""

import dataclasses
import time
from pathlib import Path
from typing import TYPE_CHECKING

from gendi.cli.values import format_duration
from gendi.errors import DataError

if TYPE_CHECKING:
    from gendi.api.models import Models
    from gendi.api.request import Request
    from gendi.data import Data
    from gendi.machine.stopping import Poll

USUAL, MANY = 1000, 5000
MOST_SECONDS = 60.0
"""Longest time that drawing `MANY` samples may take."""
WARM, TRIAL = 8, 64
"""Samples drawn to get up to speed, and samples whose time is taken."""


def affordable(data: "Data") -> int:
    """Return how many samples there are enough pictures for: as many training and as many held-out ones as samples."""
    return MANY if min(len(data.train), len(data.heldout)) >= MANY else USUAL


def drawn_before(archive: Path, request: "Request") -> int | None:
    """Return the number of samples in a run's archive if the request asks for these, but for their number."""
    from gendi.api.request import read_request

    if not archive.is_file():
        return None
    try:
        old = read_request(archive)
    except DataError:
        return None
    same = dataclasses.replace(old, run=request.run, n=request.n) == request
    return old.n if same and old.n in (USUAL, MANY) else None


def how_many(request: "Request", models: "Models", poll: "Poll") -> tuple[int, str]:
    """Return `MANY` if drawing so many takes under a minute here, else `USUAL`; and what to say of it.

    The time is that of a few samples of the same request, which are the first of those that are drawn afterwards, as
    sample i of a seed does not depend on their number.
    """
    from gendi.api.prepared import prepare
    from gendi.api.sample import draw
    from gendi.machine.distributed import team

    seconds = 0.0
    for n in (WARM, TRIAL):
        start = time.perf_counter()
        draw(prepare(dataclasses.replace(request, n=n), models), poll)
        seconds = time.perf_counter() - start
    estimate: float = team().gathered(seconds * MANY / TRIAL / team().size)[0]
    about = format_duration(round(estimate))
    if estimate < MOST_SECONDS:
        return MANY, f"{MANY:,} samples, as drawing them takes about {about}; --n {USUAL} draws fewer"
    return USUAL, f"{USUAL:,} samples, as {MANY:,} would take about {about}; --n {MANY} draws them"
