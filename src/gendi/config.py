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
from gendi.network_config import NetworkConfig as NetworkConfig

ScheduleName = Literal["linear", "cosine", "sigmoid", "variance-exploding", "sub-vp", "rectified-flow", "learned"]
Prediction = Literal["eps", "x0", "v", "mu"]
Weighting = Literal["simple", "min-snr", "edm", "uniform", "bound"]
TimeSampling = Literal["discrete", "uniform", "log-normal", "log-snr", "loss-aware"]
Loss = Literal["simple", "vlb", "hybrid"]

TAKEN = (
    *("denoiser", "x", "x_t", "t", "times", "noise", "calls", "eta", "churn", "churn_from", "churn_to", "churn_noise"),
    *("order", "rule", "correct", "variance", "moments", "spread", "predictor", "snr", "tau", "rtol", "atol"),
)
"""Arguments of denoisers and samplers, which no condition can be called."""
STEPWISE = ("discrete", "loss-aware")
"""The time samplings that draw steps of a chain."""


@dataclass(frozen=True)
class ConditionConfig:
    """One thing the network is told about a sample; see `gendi.conditions` for the kinds."""

    name: str
    """Its name: a keyword of the denoiser, and the name of what the data hold."""
    kind: Literal["class", "tags", "value", "vector", "image"] = "class"
    """What its rows are."""
    size: int = -1
    """Classes, tags, numbers or channels; -1 = kind, size, names, mean and std are what the data say."""
    dropout: float = 0.1
    """Probability that a training sample is not told, which trains the null that guidance needs."""
    via: Literal["embedding", "channels", "tokens"] = "embedding"
    """How it enters: beside the time, as channels beside the picture, or as tokens that are attended to."""
    required: bool = True
    """Whether data without it are refused; if not, the model is trained without."""
    names: tuple[str, ...] = ()
    """Names of the classes, tags or numbers, where they have some."""
    mean: float = 0.0
    """Mean of a value in the training data."""
    std: float = 1.0
    """Standard deviation of a value in the training data."""


@dataclass(frozen=True)
class ProcessConfig:
    """The forward process q."""

    schedule: ScheduleName = "linear"
    """Noise schedule; `learned` trains a monotone curve from objective.log_snr_max to log_snr_min for the least
    variance of the loss (Kingma et al. 2021), in continuous time.
    """
    steps: int | None = 1000
    """T of the discrete chain; none trains and samples in continuous time."""


@dataclass(frozen=True)
class ObjectiveConfig:
    """What the network predicts and which noise levels count how much."""

    prediction: Prediction = "v"
    """What the network's output means; conversions happen once, at the denoiser's border. `mu` is the mean of the
    chain's step from t to t - 1/T (Ho et al. 2020, section 3.2).
    """
    precondition: bool = False
    """EDM's preconditioning (Karras et al. 2022, table 1): input, skip and output scaled by sigma_data; overrides
    `prediction`.
    """
    loss: Loss = "simple"
    """`simple` is the weighted squared error; `vlb` is the variational bound, one of its T terms at a time; `hybrid`
    adds `vlb_weight` times the bound to `simple`, for the learned variance alone (Nichol & Dhariwal 2021).
    """
    variance: Literal["fixed", "learned"] = "fixed"
    """`learned` gives the network a second output: the place of a step's log variance between `small` and `large`."""
    fixed_variance: Literal["small", "large"] = "small"
    """The variance of a step that `vlb` assumes where none is learned: beta-tilde or beta."""
    vlb_weight: float = 1e-3
    """Weight of the bound, summed over the T steps, in `hybrid`."""
    weighting: Weighting = "simple"
    """Weight over noise levels of `simple` and `hybrid`: `simple` is L_simple (unit weight on the eps error); `bound`
    with uniform times is the bound in continuous time, in nats per dimension (Kingma et al. 2021, eq. 17).
    """
    time_sampling: TimeSampling = "uniform"
    """`discrete` is Algorithm 1's integer t; `loss-aware` draws steps as often as their loss is large, and weighs it
    back (Nichol & Dhariwal 2021); the others are continuous with stratified draws: uniform in t, normal in ln(sigma /
    alpha) (`log-normal`), or uniform in the log signal-to-noise ratio (`log-snr`: with weighting `simple` the bound in
    continuous time).
    """
    log_sigma_mean: float = -0.4
    """Mean of ln(sigma / alpha) under `log-normal` time sampling (EDM: -1.2)."""
    log_sigma_std: float = 1.2
    """Standard deviation of ln(sigma / alpha) under `log-normal` time sampling."""
    log_snr_min: float = -8.0
    """Lowest log signal-to-noise ratio, ln(alpha^2 / sigma^2), of `log-snr` time sampling and the learned schedule."""
    log_snr_max: float = 13.0
    """Highest log signal-to-noise ratio of the same."""
    min_snr_gamma: float = 5.0
    """Gamma of min-SNR weighting (Hang et al. 2023)."""

    @property
    def outputs(self) -> int:
        """How many tensors of the data's shape the network gives: a prediction, and a variance where it is learned."""
        return 2 if self.variance == "learned" else 1


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
    posthoc_every: int = 0
    """Images between snapshots for averages of any length after training (`gendi ema`; Karras et al. 2024); 0 = none.
    """


@dataclass(frozen=True)
class TrainConfig:
    """How much to train, and what to write down on the way."""

    batch_size: int = 128
    """Images per optimiser step, in all, however many processes share them."""
    accumulate: int = 1
    """Parts in which a process goes through its share of a batch, one after the other: less memory, the same step;
    0 = one, and twice as many whenever memory runs out.
    """
    seed: int = 0
    """Seed of every draw of the run."""
    flip: bool = False
    """Mirror half of the images, left to right, each time anew."""
    crop: float = 1.0
    """Cut images out of copies up to so many times as large, each time anew (1 = whole images)."""
    checkpoint_every: float = 120.0
    """Seconds between checkpoints (0: after every step)."""
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
    shard: bool = False
    """Share weights, gradients, averages and moments out among the processes (FSDP2): for networks that do not fit."""
    timeout: float = 600.0
    """Seconds that several processes wait for one another before the run ends."""


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
class CellsConfig:
    """What stands between a cell's counts and the network; for data of cells alone."""

    model: Literal["copula", "log", "latent"] = "copula"
    """`copula`: the normal scores of negative binomials, in linear factors; `log`: log-normalised genes; `latent`: an
    autoencoder with a negative-binomial decoder.
    """
    factors: int = 15
    """Dimensions of the factors or of the latent space."""
    genes: int = 0
    """How many highly variable genes are modelled (0 = all)."""


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
    """What the network is told; empty for an unconditional model."""
    cells: CellsConfig = field(default_factory=CellsConfig)

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
        network.validate()
        self._validate_conditions()
        self._validate_chain()
        self._validate_objective()
        self._validate_continuous()
        if self.optim.warmup + self.optim.decay > 1:
            raise UsageError("optim.warmup + optim.decay is more than 1: together they exceed the budget.")
        if self.train.shard and self.train.layout == "channels-last":
            raise UsageError("train.shard needs train.layout = 'auto' or 'contiguous': no shard can be channels-last.")

    def _validate_conditions(self) -> None:
        """Refuse conditions that share a name, or whose names are not as many as they say."""
        names = [condition.name for condition in self.conditions]
        for condition in self.conditions:
            name = condition.name
            if not name.replace("-", "_").replace(":", "_").isidentifier() or names.count(name) > 1:
                raise UsageError(f"conditions: {name!r} cannot be a name: it must be a word, and the only one such.")
            if name in TAKEN:
                raise UsageError(f"conditions: {name!r} cannot be a name: samplers have an argument of that name.")
            if condition.names and len(condition.names) != condition.size:
                raise UsageError(f"conditions: {name} has {len(condition.names)} names for a size of {condition.size}.")
            if condition.kind == "image" and condition.via == "embedding":
                raise UsageError(f"conditions: {name} is an image: it enters via 'channels' or 'tokens'.")
            if condition.kind != "image" and condition.via == "channels" and condition.size >= 0:
                raise UsageError(f"conditions: {name} is no image: it enters via 'embedding' or 'tokens'.")
            self.network.check_way_in(f"conditions: {name}", condition.kind, condition.via)

    def _validate_chain(self) -> None:
        """Refuse what speaks of the steps of a chain where there is none."""
        objective = self.objective
        needs = {
            "objective.prediction = 'mu'": objective.prediction == "mu",
            f"objective.loss = {objective.loss!r}": objective.loss != "simple",
            f"objective.time_sampling = {objective.time_sampling!r}": objective.time_sampling in STEPWISE,
            "network.time_input = 'step'": self.network.time_input == "step",
        }
        for setting in (name for name, needed in needs.items() if needed and self.process.steps is None):
            raise UsageError(f"{setting} needs process.steps, the T of the chain.")

    def _validate_objective(self) -> None:
        """Refuse combinations in which a part of the network would not be trained, or two settings disagree."""
        objective = self.objective
        if objective.precondition and objective.prediction == "mu":
            raise UsageError(
                "objective.prediction = 'mu' and objective.precondition are two different outputs: drop one of them."
            )
        if objective.variance == "learned" and objective.loss == "simple":
            raise UsageError(
                "objective.variance = 'learned' with objective.loss = 'simple': nothing would train the variance. Use "
                "objective.loss = 'hybrid' or 'vlb'."
            )
        if objective.variance == "fixed" and objective.loss == "hybrid":
            raise UsageError(
                "objective.loss = 'hybrid' is for objective.variance = 'learned': its bound trains the variance alone. "
                "With a fixed one use objective.loss = 'simple' or 'vlb'."
            )
        if objective.loss != "simple" and objective.time_sampling not in STEPWISE:
            raise UsageError(
                f"objective.loss = {objective.loss!r} is a sum over the chain's steps: objective.time_sampling = "
                f"{objective.time_sampling!r} must be 'discrete' or 'loss-aware'."
            )
        if objective.log_snr_min >= objective.log_snr_max:
            raise UsageError(
                f"objective.log_snr_min = {objective.log_snr_min:g} must lie below objective.log_snr_max = "
                f"{objective.log_snr_max:g}."
            )

    def _validate_continuous(self) -> None:
        """Refuse a learned schedule, or the weights of the bound, where the loss is no continuous-time bound."""
        process, objective = self.process, self.objective
        learned, bound = process.schedule == "learned", objective.weighting == "bound"
        who = "process.schedule = 'learned'" if learned else "objective.weighting = 'bound'"
        if (learned or bound) and process.steps is not None:
            raise UsageError(f"{who} is for continuous time: process.steps = {process.steps} must be none.")
        needs = {"loss": "simple", "weighting": "bound", "time_sampling": "uniform"}
        for name, needed in needs.items() if learned or bound else ():
            if getattr(objective, name) != needed:
                raise UsageError(
                    f"{who} takes the loss to be the bound in continuous time: objective.{name} = "
                    f"{getattr(objective, name)!r} must be {needed!r}."
                )

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
            ("process.steps", 1, 1_000_000, 1 if proc.steps is None else proc.steps),
            ("objective.log_sigma_mean", -20.0, 20.0, obj.log_sigma_mean),
            ("objective.log_sigma_std", 1e-3, 20.0, obj.log_sigma_std),
            ("objective.log_snr_min", -60.0, 60.0, obj.log_snr_min),
            ("objective.log_snr_max", -60.0, 60.0, obj.log_snr_max),
            ("objective.vlb_weight", 1e-12, 1e6, obj.vlb_weight),
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
            ("train.timeout", 1.0, 1e6, train.timeout),
            ("train.crop", 1.0, 4.0, train.crop),
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
        members = [a for a in args if a is not type(None)]
        sequence = isinstance(data, list | tuple)
        fitting = [a for a in members if (typing.get_origin(a) is tuple) is sequence]
        return _read((fitting or members)[0], data, path)
    if origin is tuple:
        if not isinstance(data, list | tuple):
            raise UsageError(f"{path} = {data!r} must be a list.")
        if args[-1] is not Ellipsis and len(args) != len(data):
            raise UsageError(f"{path} has {len(data)} entries; it must have {len(args)}.")
        return tuple(_read(args[0], item, f"{path}[{i}]") for i, item in enumerate(data))
    if kind is float and isinstance(data, int) and not isinstance(data, bool):
        try:
            return float(data)
        except OverflowError:
            raise UsageError(f"{path} is a whole number of {len(str(abs(data)))} digits: it is out of range.") from None
    if not isinstance(data, kind) or (kind is int and isinstance(data, bool)):
        raise UsageError(f"{path} = {data!r} must be of type {kind.__name__}.")
    return data


def _read_dataclass(kind: type, data: object, path: str) -> Any:
    if not isinstance(data, dict):
        raise UsageError(f"{path} must be a table of fields, not {type(data).__name__}.")
    hints = typing.get_type_hints(kind)
    if unknown := sorted(set(map(str, data)) - set(hints)):
        raise UsageError(f"{path} has unknown field(s) {', '.join(unknown)}. Known: {', '.join(hints)}.")
    for f in dataclasses.fields(kind):
        if f.name not in data and f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING:
            raise UsageError(f"{path} lacks the field {f.name}.")
    return kind(**{name: _read(hints[name], value, f"{path}.{name}") for name, value in data.items()})
