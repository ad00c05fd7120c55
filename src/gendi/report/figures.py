"""Figures 1 to 7 of the GENDI report, and its table of metrics, for any run of pictures: `gendi report RUN --figures`.

    figure-1.png    a one-dimensional distribution: the data along their first principal component
    figure-2.png    what the process makes of it at steps 0, 1, 100, 300 and 1000
    figure-3a.png   the training loss on a logarithmic axis
    figure-3b.png   its later part on a linear one
    figure-4.png    a picture on its way into noise
    figure-5.png    a sample on its way out of noise
    figure-6.png    64 samples
    figure-7.png    the classes of the samples
    table.md        FID on Inception features and the classifier's confidence, beside those of the report

What a run has not got (figure 7 and the table need `gendi evaluate`) is left out and named.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from gendi.data import Data
from gendi.errors import UsageError
from gendi.evaluate.result import GENDI_REPORT, Evaluation
from gendi.machine.stopping import Poll, may_stop
from gendi.report import tiles
from gendi.report.classes import class_figure
from gendi.report.curves import column, loss_figure
from gendi.report.plane import REPORT_STEPS, marginals_figure
from gendi.report.processes import forward_strip
from gendi.report.run import Run, read_run
from gendi.report.sections import GRID, tile_side
from gendi.report.style import LIGHT, png
from gendi.report.write import film_of
from gendi.storage.files import atomic_write
from gendi.storage.record import RunRecord, is_run

ROWS = 5000
"""Training pictures of which the first principal component is taken."""
STAGES = 11
NAMES: Mapping[str, str] = {"fid-inception": "FID, Inception features", "confidence": "confidence of the classifier"}


def write_figures(run: Path, folder: Path, *, poll: Poll | None = None) -> tuple[list[Path], list[str]]:
    """Write the figures and the table to `folder`, and return their paths, and a sentence for each that is left out.

    Args:
        run: the folder of a run of pictures, or a model that comes with gendi.
        folder: made if it is not there; files of these names that gendi wrote are replaced.
        poll: called between figures and between sampling steps; raise from it to stop.

    Raises:
        UsageError: no such run, a run of something else, or files in `folder` that gendi did not write.
        ResourceError: the disk is full.
    """
    found = read_run(run)
    if not found.pictures:
        raise UsageError(f"The figures of the GENDI report are of pictures, and {run} is a run of {found.noun}.")
    if folder.exists() and not is_run(folder) and not (folder.is_dir() and not any(folder.iterdir())):
        raise UsageError(
            f"{folder} is there and gendi did not write it: name an empty folder, or one that is not there."
        )
    folder.mkdir(parents=True, exist_ok=True)
    record, written, missing = RunRecord(folder), list[Path](), list[str]()
    record.begin()
    for name, make in _figures(found, poll).items():
        may_stop(poll)
        data = make()
        if isinstance(data, bytes):
            path = folder / name
            record.claim(path)
            atomic_write(path, data)
            written.append(path)
        else:
            missing.append(f"{name} is left out: {data}")
    return written, missing


def _figures(run: Run, poll: Poll | None) -> dict[str, Callable[[], bytes | str]]:
    """Return what makes each file: its bytes, or a sentence that says what is missing."""
    return {
        "figure-1.png": lambda: _marginals(run, (0,)),
        "figure-2.png": lambda: _marginals(run, REPORT_STEPS),
        "figure-3a.png": lambda: _loss(run, zoom=False),
        "figure-3b.png": lambda: _loss(run, zoom=True),
        "figure-4.png": lambda: _forward(run),
        "figure-5.png": lambda: _reverse(run, poll),
        "figure-6.png": lambda: _samples(run),
        "figure-7.png": lambda: _classes(run),
        "table.md": lambda: _table(run.evaluation),
    }


def first_component(data: Data, rows: int = ROWS) -> NDArray[np.float64]:
    """Return the training pictures (n,) along the direction of their greatest variance, standardised."""
    raw = np.asarray(data.train.batch(range(min(rows, len(data.train)))), np.float64)
    pixels = raw.reshape(len(raw), -1)
    centred = pixels - pixels.mean(0)
    _, _, directions = np.linalg.svd(centred[:1000], full_matrices=False)
    along = centred @ directions[0]
    return np.asarray(along / along.std())


def _marginals(run: Run, steps: tuple[int, ...]) -> bytes | str:
    if run.bundle is None or run.data is None:
        return _why(run, "bundle" if run.bundle is None else "data")
    return png(marginals_figure(first_component(run.data), run.bundle.schedule(), steps), LIGHT)


def _loss(run: Run, *, zoom: bool) -> bytes | str:
    if len(column(run.lines, "loss")[0]) < 2:
        return "the run has no losses."
    return png(loss_figure(run.lines, zoom=zoom, noun=run.noun), LIGHT)


def _forward(run: Run) -> bytes | str:
    if run.bundle is None or run.data is None:
        return _why(run, "bundle" if run.bundle is None else "data")
    times = torch.linspace(0, 1, STAGES, dtype=torch.float64)
    return _strip(forward_strip(run.bundle, run.data.heldout.batch([0])[0], times))


def _reverse(run: Run, poll: Poll | None) -> bytes | str:
    film = film_of(run, poll)
    if film is None:
        return _why(run, "bundle")
    stages = np.unique(np.linspace(0, film.steps, STAGES).round().astype(int))
    return _strip(film.noisy[stages, 0])


def _samples(run: Run) -> bytes | str:
    if run.samples is None:
        return "the run has no samples yet; gendi evaluate or gendi sample draws some."
    shown = run.samples[:GRID]
    return tiles.png(tiles.grid(shown, 8, side=tile_side(shown, 8)))


def _classes(run: Run) -> bytes | str:
    record = None if run.evaluation is None else run.evaluation.classes
    if record is None:
        return "the classes of the samples are not known; gendi evaluate finds them."
    expected = np.asarray(record.expected if record.expected is not None else record.frequencies)
    return png(class_figure(record.histogram, expected, record.names), LIGHT)


def _table(evaluation: Evaluation | None) -> bytes | str:
    """Return the report's table with a column of ours, and one of real pictures in the samples' place."""
    found = {m.name: m for m in evaluation.metrics} if evaluation is not None else {}
    rows = [
        f"| {text} | {_number(name, found[name].value)} | {_number(name, found[name].floor)} | "
        f"{_number(name, GENDI_REPORT[name])} |"
        for name, text in NAMES.items()
        if name in found
    ]
    if evaluation is None or not rows:
        return "its metrics are not measured; gendi evaluate RUN --extractor inception digits does."
    head = f"| metric | this run, {evaluation.n:,} samples | real pictures | the GENDI report, 1,000 samples |"
    return "\n".join([head, "|---|---|---|---|", *rows, ""]).encode()


def _number(name: str, value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.2%}" if name == "confidence" else f"{value:.2f}"


def _strip(images: NDArray[np.uint8]) -> bytes:
    return tiles.png(tiles.grid(images, len(images), side=tile_side(images, len(images))))


def _why(run: Run, what: str) -> str:
    return run.problems.get(what, "there is no trained model yet.")
