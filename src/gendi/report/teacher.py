"""A student beside its teacher: samples from the same noise, in few calls and in many, and the metrics of both.

The teacher's samples are those that `gendi distil` kept (`gendi.api.teacher`): a student's run needs no teacher.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gendi.api.models import Models
from gendi.api.prepared import prepare
from gendi.api.request import Request, read_request
from gendi.api.sample import draw
from gendi.api.teacher import KEPT, evaluations_of, read_evaluation, teacher_now
from gendi.data.images.sample_files import read_samples
from gendi.diffusion.gaussian.config import STUDENTS
from gendi.errors import DataError, GendiError, UsageError
from gendi.evaluate.comparison import Difference, compare
from gendi.evaluate.result import Evaluation
from gendi.machine.stopping import Poll
from gendi.report.metrics import MEANINGS, Meaning, split_name, written
from gendi.report.page import Gallery, Html, absent, figures_table, fill, section
from gendi.report.run import Run
from gendi.report.tiles import grid
from gendi.train.kept.belongings import TEACHER_EVALUATION, TEACHER_SAMPLES
from gendi.train.kept.bundle import Bundle

CALLS = (1, 2, 4)
"""The calls in which a student draws for the picture, beside those that it was made for."""

Row = tuple[str, NDArray[np.uint8]]
"""What the samples of a row are, in words, and the samples (N, H, W, C)."""


def is_student(run: Run) -> bool:
    """Return whether the model of a run is a student that began with the weights of a teacher."""
    begun = isinstance(run.meta.get("start"), dict)
    return begun and run.config is not None and run.config.objective.loss in STUDENTS


def student_rows(bundle: Bundle, n: int = KEPT, seed: int = 0, poll: Poll | None = None) -> list[Row]:
    """Return the first n samples of a student in 1, 2 and 4 calls, as far as it knows them, and in those that it was
    made for.
    """
    own, chain, objective = bundle.config.sample.steps, bundle.config.process.steps, bundle.config.objective
    rows = []
    for calls in sorted(k for k in {own, *CALLS} if objective.knows(k) and (chain is None or k <= chain)):
        request = Request.of(bundle, n, {"steps": calls, "seed": seed})
        rows.append((f"student, {in_words(calls)}", draw(prepare(request, Models(bundle)), poll)))
    return rows


def in_words(calls: int) -> str:
    """Return a number of calls in words."""
    return f"{calls} call{'' if calls == 1 else 's'}"


def teacher_row(folder: Path) -> tuple[Row, Request] | None:
    """Return the teacher's samples in the folder of a student's run, and how they were drawn; None if there are none.

    Raises `DataError` if the file is damaged.
    """
    path = folder / TEACHER_SAMPLES
    if not path.is_file():
        return None
    request = read_request(path)
    return (f"teacher, {in_words(request.how.steps)}", read_samples(path)), request


def teacher_section(run: Run, gallery: Gallery, poll: Poll | None = None) -> Html | None:
    """Return the section on a student and its teacher; None for a model that is no student."""
    if run.bundle is None or not is_student(run):
        return None
    text: list[object] = [
        "The teacher follows the path from the noise to an image in many calls of its network; the student says where "
        "it ends. Every column starts from the same noise."
    ]
    kept, notes = None, list[Html]()
    try:
        kept = teacher_row(run.shipped or run.folder)
    except DataError as error:
        notes.append(absent(f"The teacher's samples could not be read: {error}"))
    if kept is None and not notes:
        notes.append(absent("The teacher's samples were not kept when this student was made."))
    rows = [] if kept is None else [kept[0]]
    n, seed = (KEPT, 0) if kept is None else (kept[1].n, kept[1].how.seed)
    try:
        rows += student_rows(run.bundle, n, seed, poll)
    except GendiError as error:
        notes.append(absent(f"The student's samples could not be drawn: {error}"))
    if kept is not None:
        guidance, sampler = kept[1].guidance, kept[1].how.sampler
        guided = "" if guidance is None else f", guided by {guidance.scale:g} as the student is"
        text.append(
            f"The teacher's row was drawn by {sampler}, without fresh noise{guided}, when the student was made; it is "
            "kept in the run's folder, as a student needs no teacher."
        )
    if len(rows) > 2 and run.bundle.config.objective.loss == "consistency":
        text.append(
            "With one call, the student's image should be the teacher's. Between several calls it is noised anew, so "
            "that it may become another image."
        )
    picture = _picture(rows, gallery)
    return section("teacher", "Beside its teacher", text, [picture, *notes, _metrics(run, kept and kept[1])])


def _picture(rows: list[Row], gallery: Gallery) -> Html:
    """Return the rows of samples with their names beside them."""
    cells = []
    for name, images in rows:
        n = len(images)
        side = min(84, 1000 // max(n, 1))
        image = gallery.image(name.replace(", ", "-").replace(" ", "-"), grid(images, n, side=side), f"{n}: {name}")
        cells.append(fill("<span>{name}</span>{image}", name=name, image=image))
    return fill('<div class="compared">{cells}</div>', cells=cells)


def _metrics(run: Run, teacher: Request | None) -> Html:
    """Return the table of the metrics of both, or the sentence that says why there is none."""
    ours = [found for found in (run.evaluation, *run.others) if found is not None]
    theirs = _teachers(run)
    for mine in ours:
        for other in theirs:
            try:
                return _table(compare(other, mine), other, mine)
            except UsageError:  # they are not on the same scale
                continue
    if not ours or not theirs:
        who = "Neither was" if not ours and not theirs else "The teacher was not" if ours else "The student was not"
        return absent(f"{who} evaluated: after gendi evaluate of both, their metrics stand side by side here.")
    return absent("The evaluations of both are not on the same scale: evaluate both with the same settings.")


def _teachers(run: Run) -> list[Evaluation]:
    """Return what was measured of the teacher: now, if it is still there, or when the student was made."""
    start = run.settings.get("start") or {}
    found: list[Evaluation] = []
    if (teacher := teacher_now(start.get("from"), start.get("sha256"))) is not None:
        found = evaluations_of(teacher, start["from"])
    kept = read_evaluation((run.shipped or run.folder) / TEACHER_EVALUATION)
    return found if kept is None else [*found, kept]


def _table(differences: list[Difference], teacher: Evaluation, student: Evaluation) -> Html:
    floors = {metric.name: metric for metric in student.metrics}
    order = {name: i for i, name in enumerate(MEANINGS)}
    body = []
    for each in differences:
        metric = floors[each.name]
        base, features = split_name(metric)
        if base not in MEANINGS or not each.graded:
            continue
        meaning = MEANINGS.get(base, Meaning(each.name, ""))
        better = {"a": "teacher", "b": "student", None: "tie" if each.tie else "—"}[each.winner]
        numbers = [written(value, meaning.form, meaning.factor) for value in (each.a, each.b, metric.floor)]
        row = fill(
            '<tr><th scope="row">{title}{features}</th>{numbers}<td class="number">{better}</td></tr>',
            title=meaning.title,
            features=fill(' <span class="aim">{f}</span>', f=features) if features else Html(""),
            numbers=[fill('<td class="number">{number}</td>', number=number) for number in numbers],
            better=better,
        )
        body.append((order[base], row))
    heads = (f"Teacher{_calls(teacher)}", f"Student{_calls(student)}", "Floor", "Better")
    table = figures_table(f"{student.n:,} samples of each", heads, [row for _, row in sorted(body, key=lambda b: b[0])])
    note = "A tie is a difference that chance explains, by the 95% intervals of both."
    return fill('<div>{table}<p class="note">{note}</p></div>', table=table, note=note)


def _calls(evaluation: Evaluation) -> str:
    calls = evaluation.source.get("steps")
    return f", {in_words(calls)}" if isinstance(calls, int) else ""
