"""The result of a likelihood: named terms, each a mean with its standard error, in nats per dimension."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float64
from torch import Tensor

LN2 = math.log(2)


@dataclass(frozen=True)
class Estimate:
    """A mean over samples and its standard error (NaN for a single sample), in nats per dimension."""

    nats: float
    error: float

    @property
    def bits(self) -> float:
        """The mean in bits per dimension."""
        return self.nats / LN2

    @property
    def bits_error(self) -> float:
        """The standard error in bits per dimension."""
        return self.error / LN2

    def __repr__(self) -> str:
        """Show both units: bits, which is how pictures are measured, and nats."""
        bits = _with_error(self.bits, self.bits_error)
        return f"{bits} bits per dimension ({_with_error(self.nats, self.error)} nats)"


def estimate(values: Float64[Tensor, " n"]) -> Estimate:
    """Return the mean of independent values (n,) and its standard error."""
    error = float(values.std() / math.sqrt(len(values))) if len(values) > 1 else math.nan
    return Estimate(float(values.mean()), error)


@dataclass(frozen=True, eq=False)
class Bound:
    """An upper bound on -log p(x_0), term by term; values per sample are (n,) float64, in nats per dimension.

    For bytes, with a discretised decoder, it bounds the code length of the bytes. For continuous data it bounds the
    negative log-density in model space, which another scaling of the data would shift.
    """

    prior_values: Float64[Tensor, " n"]
    kl_values: Float64[Tensor, " n"]
    decoder_values: Float64[Tensor, " n"]
    edges: Float64[Tensor, " edges"]
    """The rising times at which the parts of `cost` begin and end."""
    cost: Float64[Tensor, " parts"]
    """What each part of the range of t adds to the mean of `kl_values`."""
    error_t: float
    """The part of the standard error that comes from drawing t and the noise; 0 if every term was computed."""
    calls: int
    """Network calls per sample."""
    steps: int | None
    """Length of the chain; None in continuous time."""
    variance: str
    discretised: bool
    smallest: float
    """sigma / alpha of the level at which the decoder starts."""

    @property
    def values(self) -> Float64[Tensor, " n"]:
        """The bound of each sample."""
        return self.prior_values + self.kl_values + self.decoder_values

    @property
    def prior(self) -> Estimate:
        """KL(q(x_1 | x_0) || p(x_1))."""
        return estimate(self.prior_values)

    @property
    def kl(self) -> Estimate:
        """The sum over steps of KL(q(x_s | x_t, x_0) || p(x_s | x_t))."""
        return estimate(self.kl_values)

    @property
    def decoder(self) -> Estimate:
        """-log p(x_0 | x_t) at the first step."""
        return estimate(self.decoder_values)

    @property
    def total(self) -> Estimate:
        """The bound: the sum of its three terms."""
        return estimate(self.values)

    @property
    def bits(self) -> float:
        """The bound in bits per dimension."""
        return self.total.bits

    def __repr__(self) -> str:
        terms = ", ".join(
            f"{name} {part.bits if self.discretised else part.nats:.4g}"
            for name, part in (("prior", self.prior), ("steps", self.kl), ("decoder", self.decoder))
        )
        what = "upper bound" if self.discretised else "upper bound on the negative log-density in model space"
        return (
            f"Bound({_shown(self.total, self.discretised)} {_unit(self.discretised)} per dimension, {what} = {terms}; "
            f"n = {len(self.values):,}, {self.calls} calls each)"
        )


@dataclass(frozen=True, eq=False)
class Density:
    """-log p of the probability-flow ODE per sample, (n,) float64 in nats per dimension.

    If `dequantisation` is "none", `values` are negative log-densities of continuous data in model space. Otherwise they
    bound the code length of the bytes: the log-density of the dequantising noise is subtracted.
    """

    values: Float64[Tensor, " n"]
    error_probes: float
    """The part of the standard error that comes from Hutchinson's probes: 0 without probes, NaN for a single one."""
    calls: Float64[Tensor, " n"]
    """Network calls of each sample."""
    divergence: str
    dequantisation: str
    smallest: float
    """sigma / alpha at which the ODE starts."""
    rtol: float
    atol: float
    alpha_end: float
    """alpha at t = 1: the signal that is left there, which the prior N(0, sigma_1^2) ignores."""

    @property
    def total(self) -> Estimate:
        """The mean of `values`."""
        return estimate(self.values)

    @property
    def bits(self) -> float:
        """The mean of `values` in bits per dimension."""
        return self.total.bits

    def __repr__(self) -> str:
        bits = self.dequantisation != "none"
        what = f"{self.dequantisation} dequantisation" if bits else "the negative log-density in model space"
        return (
            f"Density({_shown(self.total, bits)} {_unit(bits)} per dimension by the probability-flow ODE, {what}; "
            f"n = {len(self.values):,}, {float(self.calls.mean()):.0f} calls each)"
        )


def _unit(bits: bool) -> str:
    return "bits" if bits else "nats"


def _shown(value: Estimate, bits: bool) -> str:
    return _with_error(value.bits, value.bits_error) if bits else _with_error(value.nats, value.error)


def _with_error(value: float, error: float) -> str:
    """Return a value with its standard error, to two digits of the error; to four digits where there is none."""
    if not math.isfinite(error) or error <= 0:
        return f"{value:.4g}"
    places = min(max(1 - math.floor(math.log10(error)), 0), 12)
    return f"{value:.{places}f} ± {error:.{places}f}"


def auroc(inside: Float64[Tensor, " n"], outside: Float64[Tensor, " m"]) -> float:
    """Return the area under the ROC curve of telling two sets of values apart; 0.5 is chance.

    It is the probability that a value of `outside` exceeds one of `inside`, where ties count half.
    """
    ordered = inside.sort().values
    below = torch.searchsorted(ordered, outside, right=False).double()
    up_to = torch.searchsorted(ordered, outside, right=True).double()
    return float((below + up_to).mean() / 2 / len(inside))
