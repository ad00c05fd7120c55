"""The record of the files that gendi wrote into the folder of a run; nothing else is ever deleted or overwritten there.

The record is `written.jsonl`: after a first line for people, each line is the name of a file or folder, as a JSON text.
Names of files outside the folder of the run are absolute. A name is added before the file is written.

A run of gendi 0.1.0 has no record. Its files are then recognised by what they hold, or by their names where only gendi
can have written them (`adopted`). This module imports neither torch nor NumPy.
"""

import base64
import contextlib
import json
import re
from collections.abc import Iterator
from pathlib import Path

from gendi.errors import Mend, UsageError
from gendi.storage.disk import disk_error
from gendi.storage.files import MANIFEST, atomic_write
from gendi.storage.folders import discard_folder, is_sealed_name
from gendi.storage.marks import bears_mark, drawn_by_matplotlib

RECORD = "written.jsonl"
_HEAD = {"about": "the files that gendi wrote for this run: --fresh and commands replace these and no others"}

LOGS = (
    "config.toml",
    "status.json",
    "metrics.jsonl",
    "timings.jsonl",
    "train.log",
    "bad_steps.jsonl",
    "timings.json",
)
"""Files of 0.1.0 that only gendi can have written in the folder of a run, since it wrote them from the first step."""
_NUMBERED = {
    "checkpoints": re.compile(r"(damaged-)?step_\d{8,15}(-\d+)?"),
    "ema": re.compile(r"images_\d{12,15}|length_[\d.e-]+(_images_\d+)?"),
}
_PREVIEW = re.compile(r"step_\d{8,15}\.png")
_CONFIG = (b"[config.network]", b"[config.train]")


class RunRecord:
    """What gendi wrote into the folder `run`; in a folder that is no run, nothing is recorded."""

    def __init__(self, run: Path) -> None:
        self.run = run
        self._names: set[str] = set()
        self._read: int | None = None

    @property
    def path(self) -> Path:
        """The file of the record."""
        return self.run / RECORD

    def begin(self) -> None:
        """Write the record if there is none, with what a run of 0.1.0 wrote. Raises `ResourceError`."""
        if not self.path.exists():
            self._write(adopted(self.run) if is_run(self.run) else set())

    def names(self) -> set[str]:
        """Return the recorded names; of a run of 0.1.0 those that it wrote, and of any other folder none."""
        try:
            size = self.path.stat().st_size
        except OSError:
            if self._read != -1:
                self._names, self._read = adopted(self.run) if is_run(self.run) else set(), -1
            return self._names
        if size != self._read:  # another process may have added names
            self._names, self._read = set(_lines(self.path)), size
        return self._names

    def holds(self, path: Path) -> bool:
        """Return whether gendi wrote `path` for this run."""
        return self._name(path) in self.names()

    def check(self, path: Path) -> None:
        """Raise `UsageError` if `path` holds something that gendi did not write.

        Raises `OSError` if its name is too long for the disk.
        """
        try:
            path.lstat()
        except (FileNotFoundError, NotADirectoryError, PermissionError):  # who writes there says what is wrong
            return
        if self.holds(path) or bears_mark(path):
            return
        if path.is_dir():
            with contextlib.suppress(OSError):
                if not any(path.iterdir()):
                    return
        raise UsageError(
            f"{path} is there already, and gendi did not write it: it is left as it is. Move it away, or choose "
            "another name with --out."
        )

    def claim(self, path: Path) -> None:
        """Record `path`, which is about to be written.

        Raises `UsageError` as `check` does, and `ResourceError` if the record cannot be written.
        """
        self.check(path)
        self.add(path)

    def add(self, path: Path) -> None:
        """Record `path` without a look at what it holds. Raises `ResourceError` if the record cannot be written."""
        name = self._name(path)
        if name in self.names() or not is_run(self.run):
            return
        self.begin()
        try:
            with self.path.open("ab", buffering=0) as file:
                file.write((json.dumps(name) + "\n").encode())
        except OSError as error:
            raise disk_error(error, self.path, len(name)) from error

    def remove(self, tops: tuple[str, ...]) -> list[Path]:
        """Delete what was recorded under the names `tops` of the run's folder, and what is empty then.

        Files that gendi did not write stay; those within a folder that it wrote are moved to `kept-NAME` beside it, so
        that NAME can be written again. Returns the folders that hold such files. Raises `OSError`.
        """
        mine = {name for name in self.names() if name.split("/")[0] in tops and not name.startswith("/")}
        for name in mine:
            path = self.run / name
            if path.is_symlink() or not path.is_dir():
                path.unlink(missing_ok=True)
            else:
                discard_folder(path, also=bears_mark)
        left = []
        for top in {name.split("/")[0] for name in mine}:
            folder = self.run / top
            with contextlib.suppress(OSError):
                folder.rmdir()
            if folder.is_dir():
                left.append(folder)
        self._write(self.names() - mine)
        return left

    def _write(self, names: set[str]) -> None:
        lines = [json.dumps(_HEAD), *map(json.dumps, sorted(names))]
        atomic_write(self.path, "".join(f"{line}\n" for line in lines))
        self._read = None

    def _name(self, path: Path) -> str:
        place = path.parent.resolve() / path.name
        with contextlib.suppress(ValueError):
            return place.relative_to(self.run.resolve()).as_posix()
        return place.as_posix()


def is_run(folder: Path) -> bool:
    """Return whether `folder` is that of a run: it has a record, or the files with which a run of 0.1.0 begins."""
    if (folder / RECORD).is_file():
        return True
    with contextlib.suppress(OSError):
        config = (folder / "config.toml").read_bytes()
        if all(table in config for table in _CONFIG):
            return True
    with contextlib.suppress(OSError, ValueError):
        status = json.loads((folder / "status.json").read_bytes())
        if isinstance(status, dict) and {"status", "pid", "host"} <= status.keys():
            return True
    return any(True for top in _NUMBERED for _ in _numbered(folder, top))


def require_own_folder(folder: Path) -> None:
    """Raise `UsageError` if a run cannot begin in `folder`: it is not empty, and holds no run. Dot files do not count.

    A folder that is missing, or that cannot be looked into, is left to those who write there.
    """
    try:
        others = sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
    except OSError:
        return
    if others and not is_run(folder):
        shown = ", ".join(others[:3]) + (", ..." if len(others) > 3 else "")
        raise UsageError(
            f"{folder} is not empty and holds no run ({shown}). A run needs a folder of its own: give another name, "
            f"for instance --out {folder / 'run'}."
        ).mended_by(Mend(add=("--out", str(folder / "run"))))


def adopted(run: Path) -> set[str]:
    """Return the names of what gendi 0.1.0 wrote into the folder of a run, as far as that can be verified."""
    found = {name for name in (*LOGS, "checkpoints/latest") if (run / name).is_file()}
    found |= {name for name in ("bundle", "codec", "classifier") if _is_sealed(run / name)}
    found |= {f"{top}/{path.name}" for top in _NUMBERED for path in _numbered(run, top)}
    found |= {f"previews/{path.name}" for path in _inside(run / "previews") if _PREVIEW.fullmatch(path.name)}
    marked = ("samples.png", "samples.npz", "samples.h5ad", "samples.parquet", "evaluated.npz", "evaluated.h5ad")
    found |= {name for name in (*marked, "evaluated.parquet", "evaluation.json") if bears_mark(run / name)}
    if "evaluation.json" in found and (run / "evaluated.csv").is_file():
        found.add("evaluated.csv")
    if drawn_by_matplotlib(run / "likelihood.png"):
        found.add("likelihood.png")
    samples = _inside(run / "samples")
    if samples and all(bears_mark(path) for path in samples):
        found.add("samples")
    if bears_mark(run / "report.html"):
        found.add("report.html")
        page = (run / "report.html").read_bytes()
        found |= {f"pictures/{path.name}" for path in _inside(run / "pictures") if _is_shown(path, page)}
    return found


def _is_shown(path: Path, page: bytes) -> bool:
    """Return whether a page contains the bytes of a picture."""
    return path.suffix in (".png", ".gif") and path.is_file() and base64.b64encode(path.read_bytes()) in page


def _numbered(run: Path, top: str) -> Iterator[Path]:
    for path in _inside(run / top):
        if _NUMBERED[top].fullmatch(path.name) and _is_sealed(path):
            yield path


def _is_sealed(folder: Path) -> bool:
    """Return whether a folder has the files of a checkpoint, bundle, codec, classifier or snapshot, whole or not."""
    names = {path.name for path in _inside(folder)}
    return folder.is_dir() and (MANIFEST in names or (bool(names) and all(map(is_sealed_name, names))))


def _inside(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []


def _lines(path: Path) -> Iterator[str]:
    with contextlib.suppress(OSError):
        for line in path.read_bytes().splitlines():
            with contextlib.suppress(ValueError, RecursionError):
                name = json.loads(line)
                if isinstance(name, str) and ".." not in Path(name).parts:
                    yield name
