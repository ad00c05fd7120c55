"""The flags of `gendi train`, and what they ask for: configuration, budget, folder, data."""

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from gendi.cli.one_budget import one_budget
from gendi.cli.parse import (
    Count,
    CountFromZero,
    CountOrAuto,
    Duration,
    Folder,
    Number,
    Seed,
    Size,
    Text,
    named,
    shows,
)
from gendi.cli.values import parse_duration
from gendi.data.cells.config import CellsConfig
from gendi.data.kinds import claimed_by, find_kind
from gendi.data.sources import SPLIT_BY, with_split
from gendi.data.tables.config import TableConfig
from gendi.diffusion.config import ConditionConfig
from gendi.diffusion.discrete.config import TokensConfig
from gendi.diffusion.gaussian.config import ObjectiveConfig, ProcessConfig, SampleConfig
from gendi.diffusion.networks.config import NetworkConfig
from gendi.errors import UsageError
from gendi.train.config import OptimConfig, RunConfig, TrainConfig
from gendi.train.kept.inherit import usual_preset
from gendi.train.presets import get_preset

DEFAULT_PRESET = "mnist"
LATENTS = "latents"
"""The preset of a run that works in the latents of an autoencoder, if the user names none; its folder has the name."""


@dataclass(frozen=True)
class Train:
    """Train a model that draws what a data set holds, within a budget. The same command again continues where it
    stopped.
    """

    data: Annotated[tyro.conf.Positional[str], named("DATA", "(required)")] = ""
    """mnist, fashion-mnist, a folder of images (subfolders are classes) or of idx files, an .npz or a .npy; counts of
    cells as an .h5ad (several as a.h5ad,b.h5ad), a 10x .h5, a folder with matrix.mtx, or cells:FILE.csv; a table as a
    .csv or .parquet; sequences as a .fasta, .txt or .smi, or sequences:FILE.csv.
    """
    preset: str = DEFAULT_PRESET
    """Configuration to start from; `gendi presets` lists them, and every field is a flag below."""
    max_time: Annotated[Duration, shows("the preset's, if no other budget is given")] = None
    """Budget in time of training, in all: 90s, 8m, 1h30m."""
    images: Annotated[Count, shows("none")] = None
    """Budget in images seen, repeats counted: 500k, 2M."""
    steps: Annotated[Count, shows("none")] = None
    """Budget in optimiser steps."""
    out: Annotated[Folder, shows("runs/ and the name of the data")] = None
    """Folder of the run."""
    from_: Annotated[Folder, tyro.conf.arg(name="from", help_behavior_hint="(default: new weights)")] = None
    """Start from the weights of a run or bundle, with its network and codec; classes that it does not have get new
    weights.
    """
    autoencoder: Annotated[Folder, shows("none: pixels")] = None
    """Train on the latents of large pictures: the folder of an autoencoder that gendi train-autoencoder trained. The
    preset is then latents, unless you name another.
    """
    size: Annotated[Size, shows("the images' own")] = None
    """Bring all images to this size: 28, or 96x64 for height 96 and width 64."""
    max_bad: Annotated[CountFromZero, shows("1% of them")] = None
    """How many unreadable files may be skipped."""
    seed: Annotated[Seed, shows("0")] = None
    """Seed of every draw (also --train.seed)."""
    batch_size: Annotated[CountOrAuto, shows("the preset's")] = None
    """Images per step (also --train.batch-size). auto: the preset's batch, computed in as few parts as memory allows;
    the parts are doubled whenever it runs out.
    """
    keep: Annotated[Count, shows("the preset's")] = None
    """How many checkpoints to keep; the newest stay (also --train.keep)."""
    evaluate_every: Annotated[CountFromZero, shows("the preset's")] = None
    """Images between evaluations of some samples while training, at most 5% of the time (also --train.evaluate-every);
    0 = none. The best model is kept in bundle-best.
    """
    stop_when_level: bool = False
    """End before the budget when evaluations find no more improvement (also --train.stop-when-level)."""
    layer: Annotated[Text, shows("the one where counts are found")] = None
    """Cells: the layer of an .h5ad that has the counts."""
    recover_counts: bool = False
    """Cells: compute counts from normalised or log-normalised expression, where they can be computed."""
    split_by: Annotated[Text, shows("a random split of the rows")] = None
    """Cells and tables: the column (donor, batch, drug) whose groups are held out whole, so that none is on both sides
    of the split.
    """
    condition: Annotated[tuple[str, ...], shows("the preset's")] = ()
    """Names of the conditions that are given to the network with each image or row, for instance class dose; none
    switches them off. gendi data check lists the conditions of the data; low-res:4 is the picture itself, four times
    coarser.
    """
    condition_dropout: Annotated[tuple[float, ...], shows("0.1")] = ()
    """Probability that a condition is left out for a training image: one number for all conditions, or one for each."""
    condition_via: Annotated[tuple[Literal["embedding", "channels", "tokens"], ...], shows("what suits it")] = ()
    """How a condition enters: beside the time, as channels beside a picture, or as tokens. Give one word for all
    conditions, or one for each.
    """
    rule: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """Tables: what every row keeps, "start <= end", "gross = net + tax" or "combinations(city, country)"; gendi data
    check proposes some. The flag may be repeated.
    """
    flip: bool = False
    """Mirror half of the images, a new half in each epoch (also --train.flip)."""
    crop: Annotated[Number, shows("1, whole images")] = None
    """Cut images out of copies that are enlarged by up to this factor, anew each time, for instance 1.1 (also
    --train.crop).
    """
    page: bool = False
    """Keep the page report.html of the run's folder current while it trains: losses, previews, speed, time left. It
    takes at most 1% of the time, and comes by itself where standard error is a terminal.
    """
    no_page: bool = False
    """Do not keep that page."""
    dry_run: bool = False
    """Show what would happen (settings, parameters, FLOPs, memory, disk, speed of one step), and write nothing."""
    fresh: bool = False
    """Start over: delete what the run's folder holds."""
    allow_data_change: bool = False
    """Continue although the data are not those that the run began with."""
    json: bool = False
    """Print one JSON object."""
    network: NetworkConfig = field(default_factory=NetworkConfig)
    process: ProcessConfig = field(default_factory=ProcessConfig)
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    sample: SampleConfig = field(default_factory=SampleConfig)
    conditions: tyro.conf.Suppress[tuple[ConditionConfig, ...]] = ()
    cells: CellsConfig = field(default_factory=CellsConfig)
    tokens: TokensConfig = field(default_factory=TokensConfig)
    table: tyro.conf.Suppress[TableConfig] = field(default_factory=TableConfig)

    def config(self) -> RunConfig:
        """Return the configuration that the flags ask for. Raises `UsageError` naming the field that cannot be."""
        flip = True if self.flip else None
        given: dict[str, Any] = {"seed": self.seed, "keep": self.keep, "crop": self.crop, "flip": flip}
        if self.batch_size == "auto" and self.train.accumulate > 1:
            raise UsageError("--batch-size auto and --train.accumulate cannot be given together: auto finds the parts.")
        given |= {"evaluate_every": self.evaluate_every, "stop_when_level": True if self.stop_when_level else None}
        given |= {"accumulate": 0} if self.batch_size == "auto" else {"batch_size": self.batch_size}
        train = dataclasses.replace(self.train, **{name: value for name, value in given.items() if value is not None})
        config = RunConfig(
            self.preset,
            self.network,
            self.process,
            self.objective,
            self.optim,
            train,
            self.sample,
            self._conditions(),
            self.cells,
            self.tokens,
            TableConfig(self.rule) if self.rule else self.table,
        )
        config.validate()
        return config

    def _conditions(self) -> tuple[ConditionConfig, ...]:
        alone = self.condition == ("none",)  # no condition, unless the data have one of that name
        requested = tuple(ConditionConfig(name, required=not alone) for name in self.condition)
        conditions = requested if self.condition else self.conditions
        for field_, values in (("dropout", self.condition_dropout), ("via", self.condition_via)):
            if len(values) not in {0, 1, len(conditions)}:
                raise UsageError(
                    f"--condition-{field_} has {len(values)} values for {len(conditions)} condition(s): give one, or "
                    "one each."
                )
            each = values * len(conditions) if len(values) == 1 else values
            changes: list[dict[str, Any]] = [{field_: value} for value in each] or [{}] * len(conditions)
            conditions = tuple(dataclasses.replace(c, **p) for c, p in zip(conditions, changes, strict=True))
        return conditions

    def limits(self) -> dict[str, Any]:
        """Return the one budget, by its name in `Budget`. Raises `UsageError` if several are given."""
        given = one_budget(self.max_time, self.images, self.steps)
        return given or {"seconds": parse_duration(get_preset(self.preset).max_time)}

    def folder(self) -> Path:
        """Return the run's folder: as given, or runs/ and a name that data and preset decide."""
        if self.out is not None:
            return Path(self.out)
        home = self._home()
        if self.autoencoder is not None and self.preset in ("", LATENTS):
            return home if home.name == LATENTS else home.with_name(f"{home.name}-{LATENTS}")
        usual = usual_preset(self.data, self.size, home, self.fresh)
        return home if self.preset in (usual, home.name) else home.with_name(f"{home.name}-{self.preset}")

    def usual(self) -> str:
        """Return the preset that is meant where none is given. Raises `UsageError` for an object that is no data."""
        run = self._home() if self.out is None else Path(self.out)
        if self.autoencoder is None:
            return usual_preset(self.data, self.size, run, self.fresh)
        return usual_preset(self.data, self.size, self.folder() if self.out is None else run, self.fresh, LATENTS)

    def _home(self) -> Path:
        place = self.data.partition("?")[0]
        name = Path(place).resolve().stem if Path(place).exists() else place.partition(":")[0]
        if (kind := claimed_by(self.data)) is not None and kind.made:
            name = Path(kind.place(self.data)[0]).name or name
        elif kind is not None and len(kind.files(self.data)) > 1:
            name = kind.name
        return Path("runs") / name

    def spec(self) -> str:
        """Return the data to open, with the options that flags request. Raises `UsageError` if they are not for it."""
        if self.rule and find_kind(self.data).name != "table":
            raise UsageError(f"--rule is for tables (a .csv or .parquet), and {self.data} is none.")
        given = {"layer": self.layer, "recover": "yes" if self.recover_counts else None}
        words = [f"{name}={value}" for name, value in given.items() if value is not None]
        data = self.data
        if self.split_by is not None:
            if SPLIT_BY not in (kind := find_kind(data)).source_options:
                raise UsageError(
                    f"--split-by is for cells and tables, which have columns; {data} is read as {kind.title}."
                )
            data = with_split(data, self.split_by)
        if words and "layer" not in find_kind(self.data).source_options:
            flag = "--recover-counts" if self.layer is None else "--layer"
            raise UsageError(f"{flag} is for cells (an .h5ad), and {self.data} is none.")
        return f"{data}{'&' if '?' in data else '?'}{'&'.join(words)}" if words else data
