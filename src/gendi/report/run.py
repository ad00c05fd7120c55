"""Everything that a report needs, read from a run's folder.

A file that is missing or damaged does not stop the report: a sentence in `Run.problems` says what is wrong.
"""

import shlex
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from gendi.api.request import Request, read_request
from gendi.data import Data, open_data
from gendi.data.images.sample_files import read_samples
from gendi.data.kind import Kind
from gendi.data.kinds import find_kind, kind_of
from gendi.data.places import from_here
from gendi.errors import GendiError, UsageError
from gendi.evaluate.result import Evaluation
from gendi.storage.edited import read_table
from gendi.storage.folders import current_folder
from gendi.train.config import RunConfig
from gendi.train.kept.bundle import Bundle, load_bundle
from gendi.train.kept.folders import place_of
from gendi.train.kept.moment import moment_of
from gendi.train.kept.status import METRICS, TIMED, TIMINGS, read_lines, read_status
from gendi.train.kept.stored import stored_config, stored_tables

T = TypeVar("T")


@dataclass
class Run:
    """The contents of a run's folder. None stands for missing contents; `problems` says why, under the field's name."""

    folder: Path
    """Where the report goes, and where results were kept: for a shipped model, runs/shipped/NAME."""
    settings: dict[str, Any]
    """The tables of config.toml (config, data, budget), empty if there is none."""
    config: RunConfig | None = None
    bundle: Bundle | None = None
    data: Data | None = None
    lines: list[dict[str, Any]] = field(default_factory=list)
    speeds: list[dict[str, Any]] = field(default_factory=list)
    evaluation: Evaluation | None = None
    others: list[Evaluation] = field(default_factory=list)
    """Evaluations that stand beside the newest one."""
    samples: NDArray[np.uint8] | None = None
    """(N, H, W, C)."""
    drawn: Request | None = None
    """How the samples were drawn."""
    status: dict[str, Any] = field(default_factory=dict)
    timings: dict[str, Any] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)
    moment: str | None = None
    """A sentence on the step of the model, where the run has not finished."""
    shipped: Path | None = None
    """The folder in the package of a model that comes with gendi; None for a run."""

    @property
    def name(self) -> str:
        """The name of the folder."""
        return self.folder.resolve().name

    @property
    def argument(self) -> str:
        """What commands call the run: its folder, or the name of a shipped model."""
        return str(self.folder) if self.shipped is None else self.shipped.name

    @property
    def meta(self) -> dict[str, Any]:
        """What the bundle holds besides configuration and weights; empty without a bundle."""
        return self.bundle.meta if self.bundle is not None else {}

    @property
    def pictures(self) -> bool:
        """Whether the data are pictures, as far as anyone knows."""
        return self._kind.pictures

    @property
    def tokens(self) -> bool:
        """Whether the data are sequences of letters, as far as anyone knows."""
        return self._kind.name == "sequence"

    @property
    def noun(self) -> str:
        """What the rows of the data are called on the page."""
        return self._kind.noun

    @property
    def kind(self) -> str:
        """The name of the kind of the data."""
        return self._kind.name

    @property
    def _kind(self) -> Kind:
        """The kind of the data, from the bundle or the data, whichever is there."""
        if self.bundle is not None:
            return kind_of(self.bundle.codec.kind)
        return kind_of(self.data.kind) if self.data is not None else find_kind("")

    @property
    def spec(self) -> str | None:
        """The name or path of the data set, as `open_data` takes it here."""
        spec = self.meta.get("data_spec") or from_here(_table(self.settings, "data").get("spec"), self.folder)
        return spec if isinstance(spec, str) else None

    @property
    def size(self) -> tuple[int, int] | None:
        """Height and width to which all images were resized; None where they kept their own."""
        size = self.meta.get("size", _table(self.settings, "data").get("size"))
        match size:
            case int():
                return size, size
            case [int(height), int(width)]:
                return height, width
            case [int(side)]:
                return side, side
        return None

    @property
    def data_name(self) -> str:
        """The name of the data set, from the data, the bundle or the settings, whichever knows it."""
        found = self.data.name if self.data else self.meta.get("data") or _table(self.settings, "data").get("name")
        return str(found or self.spec or "unknown data")

    def number(self, name: str) -> float | None:
        """Return the step, images or seconds of training from the bundle or the status file; None if neither has it."""
        for source in (self.meta, self.status):
            if isinstance(source.get(name), int | float):
                return float(source[name])
        return None


def read_run(folder: Path) -> Run:
    """Read the run in `folder`, or the shipped model of this name, and open its data.

    Raises `UsageError` if `folder` is neither.
    """
    place = place_of(folder)
    if place.shipped and place.home is not None:
        run = Run(place.home, {}, shipped=place.folder)
        run.bundle = _try(run, "bundle", lambda: load_bundle(folder))
        _read_results(run)
        if run.evaluation is None and (place.folder / "evaluation.json").is_file():
            run.evaluation = _try(run, "evaluation", lambda: _evaluation(place.folder / "evaluation.json"))
        run.config = None if run.bundle is None else run.bundle.config
        run.data = _try(run, "data", lambda: _open(run))
        return run
    if not (folder / "config.toml").is_file() and not (folder / "bundle").is_dir():
        raise UsageError(
            f"{folder} is not a run: it has neither a config.toml nor a bundle. Give the folder that gendi train wrote."
        )
    run = Run(folder, {})
    run.settings = _try(run, "settings", lambda: stored_tables(folder)) or {}
    if current_folder(folder / "bundle").is_dir():
        run.bundle = _try(run, "bundle", lambda: load_bundle(folder))
    else:
        run.problems["bundle"] = "There is no trained model yet: the first one comes with the first checkpoint."
    if run.bundle is not None:
        run.config, run.moment = run.bundle.config, moment_of(folder, run.bundle)
    elif run.settings.get("config"):
        run.config = _try(run, "config", lambda: stored_config(folder))
    run.lines = _try(run, "lines", lambda: read_lines(folder / METRICS)) or []
    run.speeds = _try(run, "speeds", lambda: read_lines(folder / TIMINGS)) or []
    run.status = _try(run, "status", lambda: read_status(folder)) or {}
    _read_results(run)
    run.data = _try(run, "data", lambda: _open(run))
    return run


def _read_results(run: Run) -> None:
    """Read what was drawn and measured, and how long that took, from the folder of a run or of its results."""
    folder = run.folder
    if (folder / "timings.json").is_file():
        run.timings = _try(run, "timings", lambda: read_table(folder / "timings.json", TIMED)) or {}
    if (folder / "evaluation.json").is_file():
        run.evaluation = _try(run, "evaluation", lambda: _evaluation(folder / "evaluation.json"))
    for path in sorted((folder / "evaluations").glob("*.json")):
        if (other := _try(run, path.name, lambda path=path: _evaluation(path))) is not None:  # type: ignore[misc]
            run.others.append(other)
    samples = folder / "samples.npz"
    if samples.is_file():
        run.samples = _try(run, "samples", lambda: read_samples(samples))
        run.drawn = _try(run, "drawn", lambda: read_request(samples))


def _evaluation(path: Path) -> Evaluation:
    return Evaluation.from_dict(read_table(path, None, 2**28))


def _open(run: Run) -> Data:
    if run.spec is None:
        raise UsageError("The run does not say which data it was trained on.")
    data = open_data(run.spec, size=run.size)
    expected = run.meta.get("fingerprint") or _table(run.settings, "data").get("fingerprint")
    if expected is not None and expected != data.fingerprint:
        raise UsageError(
            f"The data at {run.spec} are not those the model was trained on: their fingerprint is "
            f"{data.fingerprint[:12]}, and was {str(expected)[:12]}."
        )
    return data


def _try(run: Run, what: str, read: Callable[[], T | None]) -> T | None:
    try:
        return read()
    except GendiError as error:
        run.problems[what] = str(error)
        return None


def advice(run: Run, sentence: str, *commands: str) -> str:
    """Return a sentence, and the commands that mend what it says; all of them need a model."""
    if run.bundle is None:
        return f"{sentence} There is no trained model yet."
    folder = shlex.quote(run.argument)
    return f"{sentence} This makes them: {', then '.join(f'gendi {name} {folder}' for name in commands)}."


def _table(data: dict[str, Any], name: str) -> dict[str, Any]:
    return _mapping(data.get(name))


def _mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
