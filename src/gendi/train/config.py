"""The configuration of a run: a tree of plain dataclasses that is validated before anything is allocated.

This module imports neither torch nor NumPy, so that the command line can parse and print a configuration in a tenth of
a second. A configuration holds names of registry entries and plain numbers. It is stored as TOML in the folder of a run
and as JSON in a bundle. `RunConfig.from_dict` refuses unknown keys, wrong types and values out of range, and names the
field. Each layer defines its own options; the configuration of a run is composed of them.
"""

import dataclasses
import math
import typing
from dataclasses import dataclass, field
from typing import Any, Literal, Self

from gendi.data.cells.config import CellsConfig
from gendi.data.tables.config import TableConfig
from gendi.diffusion.config import ConditionConfig
from gendi.diffusion.discrete.config import MASKED_SAMPLERS, TokensConfig
from gendi.diffusion.discrete.config import validate as validate_tokens
from gendi.diffusion.gaussian.config import (
    LEARNED,
    STUDENTS,
    VARIANCE_PRESERVING,
    DistilConfig,
    ObjectiveConfig,
    ProcessConfig,
    SampleConfig,
)
from gendi.diffusion.gaussian.objectives.registry import validate as validate_objective
from gendi.diffusion.gaussian.schedule.registry import SCHEDULES
from gendi.diffusion.networks.config import NetworkConfig
from gendi.diffusion.networks.registry import NETWORKS, check_way_in
from gendi.diffusion.networks.registry import validate as validate_network
from gendi.errors import UsageError
from gendi.storage.fields import read_fields
from gendi.storage.toml import dump_toml


@dataclass(frozen=True)
class OptimConfig:
    """The optimiser and its schedule."""

    name: Literal["adamw", "muon"] = "adamw"
    """`muon` orthogonalises the momentum of matrices and kernels and leaves the rest to AdamW."""
    lr: float = 1e-3
    """Peak learning rate (Muon's updates are scaled to AdamW's size)."""
    betas: tuple[float, float] = (0.9, 0.99)
    """AdamW's decay rates."""
    weight_decay: float = 0.0
    """Decoupled weight decay."""
    warmup: float = 0.02
    """Share of the budget over which the learning rate rises linearly."""
    decay: float = 0.3
    """Share of the budget, at its end, over which the learning rate falls linearly to zero."""
    muon_precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Arithmetic of Muon's products of matrices; `auto` takes the fastest."""
    clip: float = 1.0
    """Largest gradient norm (0 = no clipping)."""
    ema_images: float = 12_000
    """Horizon of the exponential moving average, in images; at first a tenth of the images seen, if that is less."""
    posthoc_every: int = 0
    """Images between snapshots for averages of any length after training (`gendi ema`; Karras et al. 2024); 0 = none.
    """


@dataclass(frozen=True)
class TrainConfig:
    """How to go through the data, and what to write during training."""

    batch_size: int = 128
    """Images per optimiser step, over all processes together."""
    accumulate: int = 1
    """Number of parts in which a process computes its share of a batch, one after the other: less memory, the same
    step. 0 = start with one part, and double the parts whenever memory runs out.
    """
    seed: int = 0
    """Seed of all random draws of the run."""
    flip: bool = False
    """Mirror half of the images, left to right; which half changes from epoch to epoch."""
    crop: float = 1.0
    """Cut images out of copies of themselves that are up to this many times as large, anew each time (1 = no cuts)."""
    smoothing: float = 0.0
    """Standard deviation of the noise that training rows of tables get, anew each time, so that few rows are not learnt
    by heart; -1 = by the number of rows (0 = none).
    """
    checkpoint_every: float = 120.0
    """Seconds between checkpoints (0: after every step)."""
    preview_every: int = 25_000
    """Images between preview grids and held-out losses (0 = none); a slow machine begins with shorter intervals."""
    evaluate_every: int = 0
    """Images between evaluations of some samples, from which the best model is kept (0 = none; most presets have some).
    """
    stop_when_level: bool = False
    """End the run before the end of its budget when two evaluations in a row find no more improvement."""
    log_every: int = 10
    """Steps per line of metrics.jsonl."""
    keep: int = 2
    """How many checkpoints to keep."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Arithmetic of the network; `auto` takes the fastest."""
    layout: Literal["auto", "contiguous", "channels-last"] = "auto"
    """Memory layout of images; `auto` takes the fastest."""
    workers: int = 0
    """Threads that compute equal shares of a batch at the same time, each on an equal share of the cores; 0 takes the
    fastest number, or one thread if precision and layout are given.
    """
    recompute: bool = False
    """Compute the activations of each block again in the backward pass: less memory, a third more time."""
    compile: bool = False
    """Let torch.compile make kernels for the network: it takes minutes before the first step, which long runs may win
    back.
    """
    shard: bool = False
    """Divide weights, gradients, averages and moments among the processes (FSDP2), if a network does not fit on one."""
    timeout: float = 600.0
    """Seconds that processes wait for one another before the run ends."""


@dataclass(frozen=True)
class RunConfig:
    """Everything that decides what a run computes, except the data."""

    preset: str = "mnist"
    network: NetworkConfig = field(default_factory=NetworkConfig)
    process: ProcessConfig = field(default_factory=ProcessConfig)
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    sample: SampleConfig = field(default_factory=SampleConfig)
    conditions: tuple[ConditionConfig, ...] = ()
    """The conditions that the network is given; empty for an unconditional model."""
    cells: CellsConfig = field(default_factory=CellsConfig)
    tokens: TokensConfig = field(default_factory=TokensConfig)
    table: TableConfig = field(default_factory=TableConfig)

    def __str__(self) -> str:
        """Return the lines of config.toml."""
        return dump_toml(self.to_dict())

    def options_of(self, kind: str) -> Any:
        """Return the options of this configuration for a kind of data, or None if it has none."""
        return {"cells": self.cells, "table": self.table}.get(kind)

    def to_dict(self) -> dict[str, Any]:
        """Return nested plain dicts, lists, numbers, strings and None."""
        return dataclasses.asdict(self)

    def concerning(self, kind: str) -> dict[str, Any]:
        """Return `to_dict` without the tables that have no meaning for data of `kind`; `from_dict` reads it back.

        These are the options of cells, of tables, of tokens and of students. A table of them that was changed stays.
        """
        table = self.to_dict()
        if kind != "cells" and self.cells == CellsConfig():
            del table["cells"]
        if self.tokens == TokensConfig():
            del table["tokens"]
        if self.table == TableConfig():
            del table["table"]
        if self.objective.loss not in STUDENTS and self.objective.distil == DistilConfig():
            del table["objective"]["distil"]
        return table

    @classmethod
    def from_dict(cls, data: object) -> Self:
        """Read what `to_dict` wrote. Raises `UsageError` naming the field for unknown keys, wrong types, bad values."""
        config = typing.cast(Self, read_fields(cls, data, "config"))
        config.validate()
        return config

    def validate(self) -> None:
        """Raise `UsageError` naming the first field whose value cannot work."""
        network = self.network
        if not network.channels:
            raise UsageError("network.channels is empty: give the width of at least one level, for instance 64 128.")
        for name, low, high, value in self._ranges():
            if not (low <= value <= high) or (isinstance(value, float) and not math.isfinite(value)):
                raise UsageError(f"{name} = {value!r} is out of range: it must lie between {low:g} and {high:g}.")
        validate_network(network)
        if self.process.schedule != LEARNED and self.process.schedule not in SCHEDULES:
            known = ", ".join(map(repr, (*SCHEDULES, LEARNED)))
            raise UsageError(f"process.schedule = {self.process.schedule!r} is unknown. Known: {known}.")
        self._validate_conditions()
        validate_objective(self.objective, self.process)
        self._validate_tokens()
        if network.time_input == "step" and self.process.steps is None:
            raise UsageError("network.time_input = 'step' needs process.steps, the T of the chain.")
        if network.fourier_fade and network.time_input != "log-snr":
            raise UsageError("network.fourier_fade reads the noise level from network.time_input = 'log-snr'.")
        if network.output == "bytes":
            self._validate_bytes()
        if self.objective.parameterisation.flow_map:
            self._validate_flow_map()
        if self.optim.warmup + self.optim.decay > 1:
            raise UsageError("optim.warmup + optim.decay is more than 1: together they exceed the budget.")
        if self.train.stop_when_level and not self.train.evaluate_every:
            raise UsageError(
                "train.stop_when_level needs evaluations: give train.evaluate_every, the images between two of them."
            )
        if self.train.workers > 1 and self.network.dropout > 0:
            raise UsageError("train.workers above 1 needs network.dropout = 0: workers would draw from one stream.")
        if self.train.compile and (self.train.workers > 1 or self.train.recompute or self.train.shard):
            raise UsageError(
                "train.compile cannot be combined with train.workers above 1, train.recompute or train.shard."
            )
        if self.train.shard and self.train.layout == "channels-last":
            raise UsageError("train.shard needs train.layout = 'auto' or 'contiguous': no shard can be channels-last.")

    def _validate_tokens(self) -> None:
        """Raise `UsageError` for options of tokens that cannot work, alone or with the network."""
        validate_tokens(self.tokens)
        kind, takes = self.network.kind, NETWORKS[self.network.kind].tokens
        if takes and not self.tokens.used:
            raise UsageError(
                f"network.kind = {kind!r} takes tokens, and tokens.process = 'none' is for numbers: take "
                "tokens.process = 'absorbing'."
            )
        if self.tokens.used and not takes:
            known = ", ".join(repr(name) for name in NETWORKS.built_in if NETWORKS[name].tokens)
            raise UsageError(
                f"network.kind = {kind!r} takes numbers, and tokens.process = {self.tokens.process!r} is for tokens: "
                f"take network.kind = {known}."
            )

        if self.tokens.process == "uniform" and self.sample.sampler in MASKED_SAMPLERS:
            raise UsageError(
                f"sample.sampler = {self.sample.sampler!r} lifts masks, and tokens.process = 'uniform' has none: take "
                "sample.sampler = 'ancestral'."
            )

    def _validate_bytes(self) -> None:
        """Raise `UsageError` unless the network answers with v, and can tell alpha and sigma from what it sees."""
        objective, process, who = self.objective, self.process, "network.output = 'bytes'"
        if objective.prediction != "v" or objective.precondition or objective.variance != "fixed":
            raise UsageError(
                f"{who} is a mean of bytes, stated as v: it needs objective.prediction = 'v', no "
                "objective.precondition and objective.variance = 'fixed'."
            )
        if process.schedule not in VARIANCE_PRESERVING or self.network.time_input != "log-snr":
            known = ", ".join(map(repr, VARIANCE_PRESERVING))
            raise UsageError(
                f"{who} reads the noise level from network.time_input = 'log-snr', under a process.schedule with "
                f"alpha^2 + sigma^2 = 1: {known}."
            )
        if self.train.compile:
            raise UsageError(f"{who} is computed a few rows at a time, which train.compile would unroll: leave it out.")

    def _validate_flow_map(self) -> None:
        """Raise `UsageError` for a network or a step that no flow map can have."""
        who = f"objective.loss = {self.objective.loss!r}"
        if self.network.output == "bytes":
            raise UsageError(
                f"{who} learns average velocities, and network.output = 'bytes' can only say the mean of a byte: take "
                "network.output = 'linear', or --method ect to distil such a model."
            )
        if self.train.compile or self.train.shard:
            which = "train.compile" if self.train.compile else "train.shard"
            raise UsageError(f"{who} differentiates the network along the path, which {which} prevents: leave it out.")

    def _validate_conditions(self) -> None:
        """Raise `UsageError` if conditions share a name, or a condition has more or fewer names than its size."""
        names = [condition.name for condition in self.conditions]
        for condition in self.conditions:
            name = condition.name
            if not name.replace("-", "_").replace(":", "_").isidentifier() or names.count(name) > 1:
                raise UsageError(
                    f"conditions: {name!r} cannot be a name: it must be a word that no other condition has."
                )
            if condition.names and len(condition.names) != condition.size:
                raise UsageError(f"conditions: {name} has {len(condition.names)} names for a size of {condition.size}.")
            if condition.kind == "image" and condition.via == "embedding":
                raise UsageError(f"conditions: {name} is an image: it enters via 'channels' or 'tokens'.")
            if condition.kind != "image" and condition.via == "channels" and condition.size >= 0:
                raise UsageError(f"conditions: {name} is no image: it enters via 'embedding' or 'tokens'.")
            check_way_in(self.network, f"conditions: {name}", condition.kind, condition.via)

    def _ranges(self) -> list[tuple[str, float, float, float]]:
        proc, obj, opt, train = self.process, self.objective, self.optim, self.train
        return [
            *self.network.ranges(),
            *((f"conditions.{c.name}.size", -1, 1_000_000, c.size or math.nan) for c in self.conditions),
            *((f"conditions.{c.name}.dropout", 0.0, 1.0, c.dropout) for c in self.conditions),
            *((f"conditions.{c.name}.mean", -1e30, 1e30, c.mean) for c in self.conditions),
            *((f"conditions.{c.name}.std", 1e-30, 1e30, c.std) for c in self.conditions),
            ("cells.factors", 1, 1000, self.cells.factors),
            ("cells.genes", 0, 1_000_000, self.cells.genes),
            ("cells.clusters", -1, 1000, self.cells.clusters),
            ("tokens.steps", 1, 1_000_000, 1 if self.tokens.steps is None else self.tokens.steps),
            ("tokens.vocabulary", 0, 65_536, self.tokens.vocabulary),
            ("process.steps", 1, 1_000_000, 1 if proc.steps is None else proc.steps),
            ("objective.log_sigma_mean", -20.0, 20.0, obj.log_sigma_mean),
            ("objective.log_sigma_std", 1e-3, 20.0, obj.log_sigma_std),
            ("objective.log_snr_min", -60.0, 60.0, obj.log_snr_min),
            ("objective.log_snr_max", -60.0, 60.0, obj.log_snr_max),
            ("objective.vlb_weight", 1e-12, 1e6, obj.vlb_weight),
            ("objective.distil.stages", 1, 20, obj.distil.stages),
            ("objective.distil.ratio", 1.01, 1e6, obj.distil.ratio),
            ("objective.distil.calls", 1, 1_000_000, obj.distil.calls),
            ("objective.distil.guidance", 0.0, 100.0, obj.distil.guidance),
            ("objective.min_snr_gamma", 1e-6, 1e6, obj.min_snr_gamma),
            ("optim.lr", 1e-12, 100.0, opt.lr),
            ("optim.betas[0]", 0.0, 0.999999, opt.betas[0]),
            ("optim.betas[1]", 0.0, 0.9999999, opt.betas[1]),
            ("optim.weight_decay", 0.0, 100.0, opt.weight_decay),
            ("optim.warmup", 0.0, 1.0, opt.warmup),
            ("optim.decay", 0.0, 1.0, opt.decay),
            ("optim.clip", 0.0, 1e9, opt.clip),
            ("optim.ema_images", 1.0, 1e12, opt.ema_images),
            ("optim.posthoc_every", 0, 1e15, opt.posthoc_every),
            ("train.batch_size", 1, 1_000_000, train.batch_size),
            ("train.accumulate", 0, train.batch_size, train.accumulate),
            ("train.workers", 0, 1024, train.workers),
            ("train.timeout", 1.0, 1e6, train.timeout),
            ("train.crop", 1.0, 4.0, train.crop),
            ("train.smoothing", -1.0 if train.smoothing == -1 else 0.0, 10.0, train.smoothing),
            ("train.seed", 0, 2**63 - 1, train.seed),
            ("train.checkpoint_every", 0.0, 1e9, train.checkpoint_every),
            ("train.preview_every", 0, 1e15, train.preview_every),
            ("train.evaluate_every", 0, 1e15, train.evaluate_every),
            ("train.log_every", 1, 1_000_000, train.log_every),
            ("train.keep", 1, 1_000_000, train.keep),
            ("sample.steps", 1, 1_000_000, self.sample.steps),
            ("sample.guidance", 0.0, 100.0, self.sample.guidance),
        ]
