"""What a run is asked to do, and what came of it."""

from dataclasses import dataclass
from pathlib import Path

from gendi.data import Data
from gendi.train.budget import Budget
from gendi.train.config import RunConfig
from gendi.train.kept.start import Start


@dataclass(frozen=True)
class Job:
    """The data, the configuration, the folder, the budget and the options of a call of `train`, which explains them."""

    data: Data
    config: RunConfig
    run: Path
    budget: Budget
    size: int | tuple[int, int] | None = None
    fresh: bool = False
    allow_data_change: bool = False
    start: Start | None = None


@dataclass(frozen=True)
class TrainResult:
    """The folder of the run, and how far training has come."""

    run: Path
    step: int
    images: int
    seconds: float
    finished: bool
    already_finished: bool = False
    level: bool = False
    """Whether the run ended because it was level, before its budget was spent."""
