"""What the run of a student keeps of its teacher, so that a report can show both: samples, and what was measured.

    RUN/teacher.npz     the first samples of seed 0, drawn without fresh noise from the noise that the student gets too
    RUN/teacher.json    the evaluation of the teacher, if it had been evaluated, as in its own evaluation.json

They are written once, when the student's training first ends; the student never needs them.
"""

import dataclasses
import json
from pathlib import Path

from gendi.api.guidance import Guidance
from gendi.api.models import Models
from gendi.api.prepared import prepare
from gendi.api.request import Request
from gendi.api.sample import draw
from gendi.data.kinds import kind_of
from gendi.errors import BundleError, DataError, GendiError
from gendi.evaluate import Evaluation
from gendi.machine.distributed import team
from gendi.storage.edited import read_table
from gendi.storage.files import atomic_write
from gendi.storage.record import RunRecord
from gendi.train.config import RunConfig
from gendi.train.kept.belongings import TEACHER_EVALUATION, TEACHER_SAMPLES
from gendi.train.kept.bundle import Bundle, load_bundle
from gendi.train.kept.folders import place_of
from gendi.train.kept.start import digest
from gendi.train.progress.telling import Console

KEPT = 10
"""How many samples are kept: of each digit one."""
CALLS, SAMPLER = 20, "dpmpp-2m"
"""How the teacher draws them: a sampler of the probability-flow ODE, whose ends of paths the student is to know."""
MOST_EVALUATION = 2**28


def keep_teacher(model: Bundle | str | Path, run: Path, student: RunConfig, console: Console) -> None:
    """Write what the run of a student keeps of its teacher; what is there already stays.

    A file that cannot be written is left out with a warning, as the student is whole without it. Nothing is written
    where the data are no pictures.

    Args:
        model: the teacher: a bundle, or the RUN argument that names it.
        run: the folder of the student's run.
        student: the student's configuration, whose guidance the teacher is drawn with.
        console: where the warning goes.
    """
    source = None if isinstance(model, Bundle) else model
    teacher = model if isinstance(model, Bundle) else load_bundle(model)
    kind = kind_of(teacher.codec.kind)
    if not kind.pictures:
        return
    members, record = team(), RunRecord(run)
    try:
        if not members.from_first((run / TEACHER_SAMPLES).exists):
            request = teacher_request(teacher, guidance_of(student), str(source or ""))
            images = draw(prepare(request, Models.read(teacher, request.guidance)))

            def write() -> None:
                record.claim(run / TEACHER_SAMPLES)
                kind.write(run / TEACHER_SAMPLES, images, request.texts)

            members.from_first(write)
        measured = evaluation_of(teacher, source)
        if measured is not None and members.first:
            record.claim(run / TEACHER_EVALUATION)
            atomic_write(run / TEACHER_EVALUATION, json.dumps(measured.to_dict(), ensure_ascii=False) + "\n")
    except GendiError as error:
        console.say(f"warning: {error} The report will show the student without its teacher.")


def guidance_of(student: RunConfig) -> float:
    """Return the guidance that a student samples with: built in, or told where it samples."""
    distil = student.objective.distil
    return student.sample.guidance if distil.guidance_range else distil.guidance


def teacher_request(teacher: Bundle, guidance: float, run: str = "", n: int = KEPT) -> Request:
    """Return the request of the teacher's samples: with the student's guidance, and as many calls as the chain has at
    most.
    """
    calls = min(CALLS, teacher.config.process.steps or CALLS)
    request = Request.of(teacher, n, {"steps": calls, "sampler": SAMPLER}, run=run)
    return dataclasses.replace(request, guidance=None if guidance == 1 else Guidance(guidance), weights=teacher.sha256)


def evaluation_of(teacher: Bundle, source: str | Path | None) -> Evaluation | None:
    """Return the newest evaluation of a teacher that `source` names; None if there is none of these very weights."""
    return next(iter(evaluations_of(teacher, source)), None)


def evaluations_of(teacher: Bundle, source: str | Path | None) -> list[Evaluation]:
    """Return the evaluations of a teacher that `source` names, the newest first, as far as they are of its weights."""
    if source is None or teacher.sha256 is None:
        return []
    place = place_of(source)
    folders = [folder for folder in (place.home, place.folder) if folder is not None]
    files = [file for folder in folders for file in (folder / "evaluation.json", *folder.glob("evaluations/*.json"))]
    found = [measured for file in dict.fromkeys(files) if (measured := read_evaluation(file)) is not None]
    return [measured for measured in found if measured.source.get("weights") == teacher.sha256]


def read_evaluation(path: Path) -> Evaluation | None:
    """Return the evaluation in a file; None if there is no such file, or it is damaged."""
    try:
        return Evaluation.from_dict(read_table(path, None, MOST_EVALUATION)) if path.is_file() else None
    except (BundleError, DataError):
        return None


def teacher_now(source: object, sha256: object) -> Bundle | None:
    """Return a student's teacher if it is still where it was, with the same weights.

    Args:
        source: the RUN argument that named it.
        sha256: the SHA-256 of its averaged weights, as the student's config.toml has it.
    """
    if not isinstance(source, str) or not place_of(source).folder.is_dir():
        return None
    try:
        found = load_bundle(source)
    except GendiError:
        return None
    return found if digest(found.state) == sha256 else None
