"""`write_report` reads a run, draws every picture and writes one page."""

import time
from dataclasses import replace
from pathlib import Path

from gendi.api.request import Request
from gendi.data.places import refuse_among_data
from gendi.diffusion.gaussian.samplers import SAMPLERS
from gendi.errors import BundleError, DataError, DivergedError, UsageError
from gendi.machine.stopping import Poll, may_stop
from gendi.report import sections as s
from gendi.report.columns import columns_section
from gendi.report.details import details_section, reproduce_section
from gendi.report.film import SCRIPT
from gendi.report.hero import hero
from gendi.report.letters import letters_section
from gendi.report.page import Gallery, Html, page
from gendi.report.processes import STEPS, Film, reverse_film
from gendi.report.rows import gates_section, portrait_section
from gendi.report.run import Run, read_run
from gendi.report.teacher import teacher_section
from gendi.storage.files import atomic_write
from gendi.storage.record import RunRecord, is_run
from gendi.train.kept.folders import check_folders
from gendi.train.kept.shipped import begin_results

FILM_CALLS_MOST = 40


def write_report(run: Path, *, poll: Poll | None = None) -> Path:
    """Write `run`/report.html, one file that needs no network, and its pictures to `run`/pictures; return its path.
    The report on a model that comes with gendi, where `run` is its name, goes to runs/shipped/NAME.

    Where a run has no samples, evaluation or bundle yet, the page says so, or leaves the section out. Sections that
    show images stand on the pages of image models only. Existing files are replaced, each whole or not at all. `poll`
    is called between pictures and between sampling steps; raise from it to stop.

    Raises:
        UsageError: `run` is not the folder of a run; or there are files that gendi did not write, or the data, where it
            would write.
        BundleError: a file stands where the run has a folder.
        ResourceError: the disk is full, or does not allow the page to be written.
    """
    run, began = Path(run), time.perf_counter()
    found = read_run(run)
    folder = found.folder
    check_folders(folder)
    begin_results(folder)
    record = _writable(found)
    gallery = Gallery(folder / "pictures", record)
    film = film_of(found, poll)
    drawn: list[tuple[str, str, Html]] = []

    def add(key: str, name: str, markup: Html | None) -> None:
        if markup is not None:
            drawn.append((key, name, markup))
        may_stop(poll)

    top = hero(found, gallery)
    if found.pictures:
        add("samples", "Samples", s.samples_section(found, gallery, film))
        add("metrics", "Metrics", s.metrics_section(found))
        add("teacher", "Teacher", teacher_section(found, gallery, poll))
    else:
        if found.tokens:
            add("portrait", "Samples", letters_section(found, gallery))
        elif found.evaluation is None or found.evaluation.portrait is not None:
            add("portrait", "Samples", portrait_section(found, gallery))
        add("columns", "Columns", columns_section(found, gallery))
        add("metrics", "Metrics", gates_section(found))
    add("training", "Training", s.training_section(found, gallery))
    if found.pictures:
        add("forward", "Into noise", s.forward_section(found, gallery))
    if not found.tokens:
        add("density", "Variance", s.density_section(found, gallery))
    if found.pictures:
        add("reverse", "Out of noise", s.reverse_section(found, gallery, film))
        add("classes", "Classes", s.classes_section(found, gallery))
        add("neighbours", "Neighbours", s.neighbours_section(found, gallery, film, poll))
    add("details", "Settings", details_section(found, time.perf_counter() - began))
    add("reproduce", "Do it again", reproduce_section(found))
    footer = "Every picture is also a file in the run's folder pictures. This page loads nothing from anywhere."
    path = folder / "report.html"
    record.claim(path)
    scripts = [SCRIPT] if any('class="film"' in markup for _, _, markup in drawn) else []
    atomic_write(path, page(f"{found.name} · gendi", top, drawn, footer, scripts=scripts))
    return path


def _writable(run: Run) -> RunRecord:
    """Return the record of a run in whose folder a report can be written. Raises `UsageError` if it cannot."""
    if not is_run(run.folder):
        raise UsageError(f"{run.folder} is not the folder of a run of gendi, so no report is written there.")
    record, pictures = RunRecord(run.folder), run.folder / "pictures"
    refuse_among_data(pictures, run.spec, flag="the report's folder")
    record.check(run.folder / "report.html")
    if pictures.is_dir() and (foreign := sorted(path.name for path in pictures.iterdir() if not record.holds(path))):
        raise UsageError(
            f"{pictures} holds {foreign[0]}, which gendi did not write, so the pictures of a report are not written "
            "there. Move that folder away, or give the run a folder of its own."
        )
    return record


def film_of(run: Run, poll: Poll | None) -> Film | None:
    """Draw the first samples again and keep every step; None where there is no model that can.

    They are drawn as the run's samples were, if that takes few calls of the network; otherwise in 20 steps.
    """
    if run.bundle is None or not run.pictures:
        return None
    own, n = run.bundle.config, s.GRID if run.samples is None else s.FILM_ROWS * s.FILM_COLUMNS
    if run.drawn is None:
        request = Request.of(run.bundle, n, {"steps": STEPS, "seed": own.train.seed})
    else:
        how, known = run.drawn.how, SAMPLERS.get(run.drawn.how.sampler)
        short = known is not None and known.quick and how.steps <= FILM_CALLS_MOST
        request = replace(run.drawn, n=n, how=replace(how, steps=how.steps if short else STEPS))
    try:
        return reverse_film(run.bundle, request, poll=poll)
    except (BundleError, DataError, DivergedError, UsageError) as error:
        run.problems["bundle"] = str(error)
        return None
