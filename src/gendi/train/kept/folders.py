"""Where the model is that a RUN argument names, and the folders of a run. This module imports no torch."""

import difflib
import glob
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gendi.errors import BundleError, Mend, UsageError, diverged
from gendi.storage.files import read_json
from gendi.storage.folders import current_folder
from gendi.train.kept.shipped import RESULTS, shipped_folder, shipped_names
from gendi.train.kept.status import read_status

CONFIG, WEIGHTS = "config.json", "model.safetensors"
"""Files of a bundle."""
BUNDLE, BEST = "bundle", "bundle-best"
"""The folders of a run with its last model, and with the best of those that were evaluated while it trained."""
UNFINISHED = "progress"
"""The field of a bundle's meta that only the bundle of a run in progress has: the share of the budget that is spent."""
FOLDERS = ("checkpoints", "previews", BUNDLE, BEST, "codec", "ema", "pictures")
"""Folders that a run, or a report on it, writes in the run's folder."""


@dataclass(frozen=True)
class Place:
    """What a RUN argument names.

    Args:
        folder: the folder of the run or of the bundle; that of a shipped model is in the package.
        home: where results about it go unless the user says otherwise: the folder of the run, or runs/shipped/NAME;
            None for a bundle alone.
        shipped: whether it is a model that comes with gendi.
    """

    folder: Path
    home: Path | None
    shipped: bool = False


def place_of(run: str | Path) -> Place:
    """Return what a RUN argument names. Whether there is a model is for others to say.

    A folder in the current directory comes before a shipped model of its name.
    """
    path = Path(run)
    if (inside := shipped_folder(path)) is not None and not current_folder(path).is_dir():
        return Place(inside, RESULTS / inside.name, shipped=True)
    return Place(path, path if (path / BUNDLE).is_dir() else None)


def ambiguity(run: str | Path) -> str | None:
    """Return a sentence for a RUN argument that might mean two models: which one is meant. None for any other."""
    path = Path(run)
    if shipped_folder(path) is None:
        return None
    if not place_of(run).shipped:
        return (
            f"{path} is taken as the folder of that name here, not as the model of the same name that comes with gendi."
        )
    own = Path("runs") / path
    return f"{path} is taken as the model that comes with gendi; {own} is another model." if own.is_dir() else None


def check_folders(run: Path, names: Sequence[str] = FOLDERS) -> None:
    """Raise `BundleError` if a file or a broken link stands where a run has one of its folders."""
    for name in names:
        path = run / name
        if not path.is_dir() and (path.exists() or path.is_symlink()):
            what = "a link that leads nowhere" if path.is_symlink() else "a file"
            raise BundleError(f"{path} is {what}, and a folder of the run belongs there. Move it away.")


def has_ended(run: Path) -> bool:
    """Return whether the bundle of a run is that of its end, and not of a checkpoint on the way."""
    path = current_folder(run / BUNDLE) / CONFIG
    try:
        data = read_json(path) if path.is_file() else None
    except BundleError:
        return path.exists()  # whoever loads it says what is wrong
    meta = data.get("meta") if isinstance(data, dict) else None
    return data is not None and not (isinstance(meta, dict) and UNFINISHED in meta)


def version_of(folder: Path) -> tuple[int, int, int] | None:
    """Return what tells a folder from the one that takes its place later; None if it is not there."""
    try:
        found = folder.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_mtime_ns


def is_diverged(run: Path) -> bool:
    """Return whether a run says of itself that its training diverged."""
    try:
        return (read_status(run) or {}).get("status") == "diverged"
    except BundleError:
        return False


def elsewhere(run: Path) -> Mend:
    """Return the mend of a command line that begins a second run beside `run`."""
    names = (run.with_name(f"{run.name}-{i}") for i in itertools.count(2))
    return Mend(add=("--out", str(next(name for name in names if not name.exists()))))


def bundle_folder(path: Path) -> Path:
    """Return the bundle's folder for `path`: a run's folder, a bundle, or the name of a model that comes with gendi.

    Raises `UsageError` if it is none of them, `BundleError` if a file stands in the bundle's place, and `DivergedError`
    if the training ended without one.
    """
    place = place_of(path)
    if place.shipped:
        return place.folder / BUNDLE
    inside = current_folder(path / BUNDLE)
    if inside.is_dir():
        return inside
    if path.is_dir():
        check_folders(path, (BUNDLE,))
    path = current_folder(path)
    if not path.is_dir():
        near = near_models(path)
        hint = f" Perhaps you meant {' or '.join(map(_in_words, near))}." if near else ""
        error = UsageError(f"There is no folder {path}.{hint} Give the folder of a run (runs/NAME) or of a bundle.")
        raise error.mended_by(*(Mend(put={str(path): name}) for name in near))
    if (path / CONFIG).exists() or (path / WEIGHTS).exists():
        return path
    if is_diverged(path):
        raise diverged(f"{path} is a run without a bundle: its loss was not finite.")
    if (path / "checkpoints").is_dir():
        raise UsageError(
            f"{path} is a run without a bundle yet: the first one is written with its first checkpoint, within about "
            "two minutes of training, and when the training stops. Train it first."
        )
    named = [str(run.parent) for run in (path.parent / "runs").glob(f"{glob.escape(path.name)}/config.toml")]
    hint = "".join(f" Perhaps you meant {name}." for name in named)
    if shipped_folder(path) is not None:
        hint += (
            f" The folder hides {path}, the model that comes with gendi: call gendi elsewhere, or rename the folder."
        )
    raise UsageError(
        f"{path} is neither a run nor a bundle: it has no {CONFIG}.{hint} Give runs/NAME or runs/NAME/bundle."
    ).mended_by(*(Mend(put={str(path): name}) for name in named))


def newest_run(home: Path = Path("runs")) -> str | None:
    """Return the run in `home` that was begun last; None if there is none."""
    found = sorted(home.glob("*/config.toml"), key=lambda path: path.stat().st_mtime_ns)
    return str(found[-1].parent) if found else None


def near_models(path: Path) -> list[str]:
    """Return what can be given in the place of `path`, which is not there: the run beside it, or below `runs`, whose
    name is most like its own, and the shipped model whose name is.
    """
    found = list[str]()
    for place in (path.parent, path.parent / "runs"):
        runs = {run.parent.name: str(run.parent) for run in place.glob("*/config.toml")}
        if not found and (near := difflib.get_close_matches(path.name, runs, n=1)):
            found.append(runs[near[0]])
    return found + (difflib.get_close_matches(str(path), shipped_names(), n=1) if path == Path(path.name) else [])


def _in_words(name: str) -> str:
    return f"{name}, which comes with gendi" if shipped_folder(Path(name)) is not None else name
