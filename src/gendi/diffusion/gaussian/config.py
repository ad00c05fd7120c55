"""Options of the Gaussian process, its losses and its sampling. This module imports neither torch nor NumPy."""

from dataclasses import dataclass, field
from typing import Literal

ScheduleName = Literal["linear", "cosine", "sigmoid", "variance-exploding", "sub-vp", "rectified-flow", "learned"]
Prediction = Literal["eps", "x0", "v", "mu"]
Weighting = Literal["simple", "min-snr", "edm", "uniform", "bound"]
TimeSampling = Literal["discrete", "uniform", "log-normal", "log-snr", "loss-aware"]
Loss = Literal["simple", "vlb", "hybrid", "consistency", "progressive", "mean-flow", "distribution-matching"]
STUDENTS = ("consistency", "progressive", "mean-flow", "distribution-matching")
"""The objectives whose models are students, which take large steps along the probability-flow ODE."""
FLOW_MAPS = ("mean-flow",)
"""The objectives whose networks are flow maps, and know E[x_0 | x_t] too."""
TOLD = ("consistency", "mean-flow", "distribution-matching")
"""The objectives whose networks can be told the scale of guidance."""
FAR = {"distribution-matching": 5.0}
"""The noise level, in standard deviations of the data, above which networks of these objectives are told no higher.
On more noise their teacher answers with the mean of the data, whatever the noise is. A student that began so would have
to find out first that noises differ (Zhou et al. 2024, "Score identity Distillation": sigma_init = 2.5 for 0.5).
"""
LEARNED = "learned"
"""The schedule that training shapes; it has no entry in the registry of schedules."""
VARIANCE_PRESERVING = ("linear", "cosine", "sigmoid", LEARNED)
"""The schedules with alpha^2 + sigma^2 = 1."""
STEPWISE = ("discrete", "loss-aware")
"""The time samplings that draw steps of a chain."""


@dataclass(frozen=True)
class ProcessConfig:
    """The forward process q."""

    schedule: ScheduleName | str = "linear"
    """Noise schedule; `learned` trains a monotone curve from objective.log_snr_max to log_snr_min for the least
    variance of the loss (Kingma et al. 2021), in continuous time.
    """
    steps: int | None = 1000
    """T of the discrete chain; `none` means continuous time in training and in sampling."""


@dataclass(frozen=True)
class Parameterisation:
    """What the outputs of a network mean to its denoiser; see `ObjectiveConfig` for the fields."""

    prediction: Prediction = "v"
    precondition: bool = False
    variance: Literal["fixed", "learned"] = "fixed"
    flow_map: bool = False
    """Whether the network is told how far to go, and is a flow map (`gendi.diffusion.gaussian.flow_map.network`)."""

    @property
    def outputs(self) -> int:
        """How many tensors of the data's shape the network returns: a prediction, and a variance if it is learned."""
        return 2 if self.variance == "learned" else 1


@dataclass(frozen=True)
class DistilConfig:
    """How a student learns to sample in a few calls; used only if `objective.loss` is one of `STUDENTS`.

    `gendi distil` sets these fields.
    """

    stages: int = 8
    """Number of parts that the budget is divided into; from one to the next, `consistency` divides the distance of its
    two times by `ratio`, and `progressive` halves the calls.
    """
    ratio: float = 2.0
    """q of `consistency` (Geng et al. 2024): the two times are (1 - q^-(stage + 1)) apart, or nearer to the noise."""
    calls: int = 1
    """Calls of a `progressive` student at the end; it begins with calls times 2^(stages - 1). For
    `distribution-matching`, the largest number of calls.
    """
    guidance: float = 1.0
    """Guidance of the teacher that the student has built in; 1 is none."""
    guidance_range: tuple[float, ...] = ()
    """Lowest and highest guidance scale; a student is told a scale between them for each row, in training and in
    sampling. None by default; not for `progressive`.
    """
    derivative: Literal["auto", "forward", "differences"] = "auto"
    """How `mean-flow` differentiates along the path: forward-mode differentiation, central differences in fp32, or the
    first where the network allows it.
    """


@dataclass(frozen=True)
class ObjectiveConfig:
    """What the network predicts, and how much each noise level counts."""

    prediction: Prediction = "v"
    """What the network's output means; conversions happen once, at the denoiser's border. `mu` is the mean of the
    chain's step from t to t - 1/T (Ho et al. 2020, section 3.2).
    """
    precondition: bool = False
    """EDM's preconditioning (Karras et al. 2022, table 1): input, skip and output scaled by sigma_data; overrides
    `prediction`.
    """
    loss: Loss | str = "simple"
    """`simple` is the weighted squared error; `vlb` is the variational bound, one of its T terms at a time; `hybrid`
    adds `vlb_weight` times the bound to `simple`, for the learned variance alone (Nichol & Dhariwal 2021);
    `consistency`, `progressive`, `mean-flow` and `distribution-matching` train models that sample in a few calls
    (`gendi distil`).
    """
    variance: Literal["fixed", "learned"] = "fixed"
    """`learned` gives the network a second output: the position of a step's log variance between `small` and `large`.
    """
    fixed_variance: Literal["small", "large"] = "small"
    """The variance of a step that `vlb` assumes where none is learned: beta-tilde (`small`) or beta (`large`)."""
    vlb_weight: float = 1e-3
    """Weight of the bound, summed over the T steps, in `hybrid`."""
    weighting: Weighting | str = "simple"
    """Weight over noise levels of `simple` and `hybrid`: `simple` is L_simple (unit weight on the eps error); `bound`
    with uniform times is the bound in continuous time, in nats per dimension (Kingma et al. 2021, eq. 17).
    """
    time_sampling: TimeSampling | str = "uniform"
    """`discrete` is Algorithm 1's integer t; `loss-aware` draws steps with a large loss more often and makes up for it
    by a weight (Nichol & Dhariwal 2021); the others are continuous with stratified draws: uniform in t, normal in
    ln(sigma / alpha) (`log-normal`), or uniform in the log signal-to-noise ratio (`log-snr`: with weighting `simple`
    the bound in continuous time).
    """
    log_sigma_mean: float = -0.4
    """Mean of ln(sigma / alpha) under `log-normal` time sampling (EDM: -1.2)."""
    log_sigma_std: float = 1.2
    """Standard deviation of ln(sigma / alpha) under `log-normal` time sampling."""
    log_snr_min: float = -8.0
    """Lowest log signal-to-noise ratio, ln(alpha^2 / sigma^2), of `log-snr` time sampling and the learned schedule."""
    log_snr_max: float = 13.0
    """Highest log signal-to-noise ratio of `log-snr` time sampling and the learned schedule."""
    min_snr_gamma: float = 5.0
    """Gamma of min-SNR weighting (Hang et al. 2023)."""
    distil: DistilConfig = field(default_factory=DistilConfig)

    @property
    def parameterisation(self) -> Parameterisation:
        """What the network's outputs mean, which is all that a denoiser needs to know."""
        return Parameterisation(self.prediction, self.precondition, self.variance, self.loss in FLOW_MAPS)

    def knows(self, calls: int) -> bool:
        """Return whether a model of this objective can sample in so many calls.

        One of `progressive` knows its own steps alone, and one of `distribution-matching` the times of its own calls,
        among which are those of their divisors. All others know every time.
        """
        if self.loss == "progressive":
            return calls == self.distil.calls
        return self.loss != "distribution-matching" or (calls > 0 and self.distil.calls % calls == 0)


@dataclass(frozen=True)
class SampleConfig:
    """How samples are drawn unless a request says otherwise."""

    sampler: str = "dpmpp-2m-sde-half"
    """Sampler: see `gendi.diffusion.gaussian.samplers.SAMPLERS`."""
    steps: int = 20
    """Network calls per sample."""
    guidance: float = 1.0
    """How strongly samples are guided towards their conditions, where a model has conditions and was trained without
    them too; 1 is no guidance. Edits are guided only where they are asked to be.
    """
    clip: bool = False
    """Clip the predicted x0 to the range of pixels at every step (samples are clipped to bytes at the end in any
    case).
    """
