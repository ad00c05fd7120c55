"""What a run is: one tree of plain dataclasses, validated before anything is allocated.

This module imports neither torch nor NumPy, so the command line can parse and print it in a tenth of a second. A
configuration names entries of closed registries and holds plain numbers; it travels as TOML in the run folder and as
JSON in a bundle, and `RunConfig.from_dict` refuses unknown keys, wrong types and values out of range, naming the field.
"""

import dataclasses
import math
import types
import typing
from dataclasses import dataclass, field
from typing import Any, Literal, Self

from gendi.errors import UsageError

ScheduleName = Literal["linear", "cosine", "sigmoid", "variance-exploding", "sub-vp", "rectified-flow"]
Prediction = Literal["eps", "x0", "v"]
Weighting = Literal["simple", "min-snr", "edm", "uniform"]
TimeSampling = Literal["discrete", "uniform", "log-normal"]


@dataclass(frozen=True)
class NetworkConfig:
    """The U-Net."""

    channels: tuple[int, ...] = (64, 128)
    """Width of each level, finest first; each level after the first halves height and width."""
    blocks: int = 2
    """Residual blocks per level on the way down (one more on the way up)."""
    patch: int = 1
    """Patchify at the stem: patch x patch pixels become channels, so every level is that much cheaper."""
    attention: tuple[int, ...] = ()
    """Levels (0 = finest) that get self-attention."""
    heads: int = 4
    """Attention heads."""
    dropout: float = 0.0
    """Dropout probability inside each residual block."""
    time_dim: int = 256
    """Width of the time embedding."""
    groups: int = 8
    """Groups of GroupNorm (the paper's network: 32)."""
    classes: int = 0
    """Number of class labels the network is told (0 = unconditional, -1 = as many classes as the data have)."""
    time_input: Literal["log-snr", "step"] = "log-snr"
    """What the sinusoids see: a quarter of the log signal-to-noise ratio's half (EDM's c_noise), or the paper's integer
    step.
    """


@dataclass(frozen=True)
class ProcessConfig:
    """The forward process q."""

    schedule: ScheduleName = "linear"
    """Noise schedule."""
    steps: int | None = 1000
    """T of the discrete chain; none trains and samples in continuous time."""


@dataclass(frozen=True)
class ObjectiveConfig:
    """What the network predicts and which noise levels count how much."""

    prediction: Prediction = "v"
    """What the network's output means; conversions happen once, at the denoiser's border."""
    precondition: bool = False
    """EDM's preconditioning (Karras et al. 2022, table 1): input, skip and output scaled by sigma_data; overrides
    `prediction`.
    """
    weighting: Weighting = "simple"
    """Loss weight over noise levels: `simple` is L_simple (unit weight on the eps error)."""
    time_sampling: TimeSampling = "uniform"
    """`discrete` is Algorithm 1's integer t; `uniform` and `log-normal` are continuous with stratified draws."""
    log_sigma_mean: float = -0.4
    """Mean of ln(sigma / alpha) under `log-normal` time sampling (EDM: -1.2)."""
    log_sigma_std: float = 1.2
    """Standard deviation of ln(sigma / alpha) under `log-normal` time sampling."""
    min_snr_gamma: float = 5.0
    """Gamma of min-SNR weighting (Hang et al. 2023)."""
    label_dropout: float = 0.1
    """Probability that a training sample's class label is replaced by the null label (conditional networks)."""


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
    clip: float = 1.0
    """Largest gradient norm (0 = no clipping)."""
    ema_images: float = 12_000
    """Horizon of the exponential moving average, in images; warmed up, so that it never exceeds a tenth of what was
    seen.
    """


@dataclass(frozen=True)
class TrainConfig:
    """How much to train, and what to write down on the way."""

    batch_size: int = 128
    """Images per optimiser step."""
    seed: int = 0
    """Seed of every draw of the run."""
    checkpoint_every: float = 120.0
    """Seconds between checkpoints."""
    preview_every: int = 25_000
    """Images between preview grids and held-out losses (0 = none)."""
    log_every: int = 10
    """Steps per line of metrics.jsonl."""
    keep: int = 2
    """Checkpoints kept."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Arithmetic of the network; `auto` measures."""
    layout: Literal["auto", "contiguous", "channels-last"] = "auto"
    """Memory layout of images; `auto` measures."""


@dataclass(frozen=True)
class SampleConfig:
    """How samples are drawn when nobody says otherwise."""

    sampler: str = "ancestral-karras"
    """Sampler: see `gendi.samplers.SAMPLERS`."""
    steps: int = 20
    """Network calls per sample."""
    clip: bool = False
    """Clip the predicted x0 to the range of pixels at every step (samples are clipped to bytes at the end in any
    case).
    """


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

    def to_dict(self) -> dict[str, Any]:
        """Return nested plain dicts, lists, numbers, strings and None."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, data: object) -> Self:
        """Read what `to_dict` wrote. Raises `UsageError` naming the field on unknown keys, wrong types and bad
        values.
        """
        config = typing.cast(Self, _read(cls, data, "config"))
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
        for width in network.channels:
            if width % network.groups:
                raise UsageError(
                    f"network.channels has {width}, which network.groups = {network.groups} does not divide evenly."
                )
        for level in network.attention:
            if not 0 <= level < len(network.channels):
                raise UsageError(f"network.attention names level {level}; levels are 0 to {len(network.channels) - 1}.")
            if network.channels[level] % network.heads:
                raise UsageError(f"network.heads = {network.heads} does not divide width {network.channels[level]}.")
        if self.objective.time_sampling == "discrete" and self.process.steps is None:
            raise UsageError("objective.time_sampling = 'discrete' needs process.steps, the T of the chain.")
        if network.time_input == "step" and self.process.steps is None:
            raise UsageError("network.time_input = 'step' needs process.steps, the T of the chain.")
        if self.optim.warmup + self.optim.decay > 1:
            raise UsageError("optim.warmup + optim.decay is more than 1: together they exceed the budget.")

    def _ranges(self) -> list[tuple[str, float, float, float]]:
        net, proc, obj, opt, train = self.network, self.process, self.objective, self.optim, self.train
        return [
            *((f"network.channels[{i}]", 1, 8192, c) for i, c in enumerate(net.channels)),
            ("len(network.channels)", 1, 8, len(net.channels)),
            ("network.blocks", 1, 64, net.blocks),
            ("network.patch", 1, 64, net.patch),
            ("network.heads", 1, 256, net.heads),
            ("network.dropout", 0.0, 0.99, net.dropout),
            ("network.time_dim", 8, 8192, net.time_dim),
            ("network.groups", 1, 8192, net.groups),
            ("network.classes", -1, 1_000_000, net.classes),
            ("process.steps", 1, 1_000_000, 1 if proc.steps is None else proc.steps),
            ("objective.log_sigma_mean", -20.0, 20.0, obj.log_sigma_mean),
            ("objective.log_sigma_std", 1e-3, 20.0, obj.log_sigma_std),
            ("objective.min_snr_gamma", 1e-6, 1e6, obj.min_snr_gamma),
            ("objective.label_dropout", 0.0, 1.0, obj.label_dropout),
            ("optim.lr", 1e-12, 100.0, opt.lr),
            ("optim.betas[0]", 0.0, 0.999999, opt.betas[0]),
            ("optim.betas[1]", 0.0, 0.9999999, opt.betas[1]),
            ("optim.weight_decay", 0.0, 100.0, opt.weight_decay),
            ("optim.warmup", 0.0, 1.0, opt.warmup),
            ("optim.decay", 0.0, 1.0, opt.decay),
            ("optim.clip", 0.0, 1e9, opt.clip),
            ("optim.ema_images", 1.0, 1e12, opt.ema_images),
            ("train.batch_size", 1, 1_000_000, train.batch_size),
            ("train.seed", 0, 2**63 - 1, train.seed),
            ("train.checkpoint_every", 0.0, 1e9, train.checkpoint_every),
            ("train.preview_every", 0, 1e15, train.preview_every),
            ("train.log_every", 1, 1_000_000, train.log_every),
            ("train.keep", 1, 1_000_000, train.keep),
            ("sample.steps", 1, 1_000_000, self.sample.steps),
        ]


def _read(kind: Any, data: object, path: str) -> Any:
    """Read `data` as `kind`: a dataclass, tuple, Literal, union or scalar; `path` names the field in errors."""
    if dataclasses.is_dataclass(kind):
        return _read_dataclass(typing.cast(type, kind), data, path)
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin is Literal:
        if data not in args:
            raise UsageError(f"{path} = {data!r} is unknown. Known: {', '.join(map(repr, args))}.")
        return data
    if origin in (typing.Union, types.UnionType):
        if data is None and type(None) in args:
            return None
        return _read(next(a for a in args if a is not type(None)), data, path)
    if origin is tuple:
        if not isinstance(data, list | tuple):
            raise UsageError(f"{path} = {data!r} must be a list.")
        if args[-1] is not Ellipsis and len(args) != len(data):
            raise UsageError(f"{path} has {len(data)} entries; it must have {len(args)}.")
        return tuple(_read(args[0], item, f"{path}[{i}]") for i, item in enumerate(data))
    if kind is float and isinstance(data, int) and not isinstance(data, bool):
        return float(data)
    if not isinstance(data, kind) or (kind is int and isinstance(data, bool)):
        raise UsageError(f"{path} = {data!r} must be of type {kind.__name__}.")
    return data


def _read_dataclass(kind: type, data: object, path: str) -> Any:
    if not isinstance(data, dict):
        raise UsageError(f"{path} must be a table of fields, not {type(data).__name__}.")
    hints = typing.get_type_hints(kind)
    if unknown := sorted(set(map(str, data)) - set(hints)):
        raise UsageError(f"{path} has unknown field(s) {', '.join(unknown)}. Known: {', '.join(hints)}.")
    return kind(**{name: _read(hints[name], value, f"{path}.{name}") for name, value in data.items()})
