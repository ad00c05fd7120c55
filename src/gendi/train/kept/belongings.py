"""What belongs to a run in its folder: which files it may write, and which a fresh start deletes."""

from pathlib import Path

from gendi.data.places import refuse_among_data
from gendi.errors import GendiError
from gendi.storage.disk import disk_error
from gendi.storage.record import RunRecord, require_own_folder
from gendi.train.kept.folders import BEST, BUNDLE
from gendi.train.kept.identity import read_identity, refuse_strangers

WRITTEN = ("config.toml", "status.json", "metrics.jsonl", "timings.jsonl", "train.log")
"""The files that every run writes."""
TEACHER_SAMPLES, TEACHER_EVALUATION = "teacher.npz", "teacher.json"
"""What the run of a student keeps of its teacher: see `gendi.api.teacher`."""
RESULTS = (
    *WRITTEN,
    *("codec", "checkpoints", "previews", BUNDLE, BEST, "ema", "pictures", "samples"),
    *("bad_steps.jsonl", "samples.npz", "samples.png", "evaluation.json", "evaluations", "timings.json", "report.html"),
    *(TEACHER_SAMPLES, TEACHER_EVALUATION),
)
"""The files and folders of a run that a fresh start deletes, as far as gendi wrote them."""


def check_place(run: Path, spec: object) -> None:
    """Raise `UsageError` if no run can be in the folder `run`: it holds other things, or holds or lies in the data."""
    refuse_among_data(run, spec)
    require_own_folder(run)


def take_over(run: Path, fresh: bool, fits_codec: bool) -> list[str]:
    """Prepare the folder of a run for this sitting; return remarks for the user. The caller holds the lock.

    Args:
        run: the folder.
        fresh: whether the run starts over, which deletes what gendi wrote there before.
        fits_codec: whether the run fits a codec, and so writes one.

    Raises:
        BundleError: there is a checkpoint of another run.
        UsageError: a file or folder that the run would write is there, and gendi did not write it.
        ResourceError: the record cannot be written, or a file cannot be deleted.
    """
    try:
        read_identity(run)
    except GendiError:  # config.toml is damaged: a fresh start replaces it
        if not fresh:
            raise
    else:
        refuse_strangers(run)
    record, remarks = RunRecord(run), []
    files = (*WRITTEN, BUNDLE, *(("codec",) if fits_codec else ()))
    for name in files:
        record.check(run / name)
    record.begin()
    if fresh:
        try:
            left = record.remove(RESULTS)
        except OSError as error:
            raise disk_error(error, run, 0) from error
        remarks = [f"note: {folder} holds files that gendi did not write: they stay." for folder in left]
    for name in files:
        if name != BUNDLE:  # it is claimed when it is written
            record.claim(run / name)
    return remarks
