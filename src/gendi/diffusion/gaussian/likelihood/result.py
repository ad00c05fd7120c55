"""What a likelihood computation found: named terms, each a mean with its standard error, in nats per dimension."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float64
from torch import Tensor

LN2 = math.log(2)


@dataclass(frozen=True)
class Measured:
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


def measured(values: Float64[Tensor, " n"]) -> Measured:
    """Return the mean of independent values (n,) and its standard error."""
    error = float(values.std() / math.sqrt(len(values))) if len(values) > 1 else math.nan
    return Measured(float(values.mean()), error)


@dataclass(frozen=True, eq=False)
class Bound:
    """An upper bound on -log p(x_0), term by term; values per sample are (n,) float64, in nats per dimension.

    Of bytes (a discretised decoder) it bounds the code length of the bytes. Of continuous data (a density) it bounds
    the negative log-density in model space, which another scaling of the data shifts.
    """

    prior_values: Float64[Tensor, " n"]
    kl_values: Float64[Tensor, " n"]
    decoder_values: Float64[Tensor, " n"]
    edges: Float64[Tensor, " edges"]
    """Times, rising, between which lie the parts of `cost`."""
    cost: Float64[Tensor, " parts"]
    """What each part of the range of t adds to the mean of `kl_values`: which t costs how much."""
    error_t: float
    """Share of the standard error that comes from drawing t and the noise; 0 if every term was computed."""
    calls: int
    """Network calls per sample."""
    steps: int | None
    """Length of the chain; None for the limit in continuous time."""
    variance: str
    discretised: bool
    smallest: float
    """sigma / alpha of the level that the decoder starts from."""

    @property
    def values(self) -> Float64[Tensor, " n"]:
        """The bound of each sample."""
        return self.prior_values + self.kl_values + self.decoder_values

    @property
    def prior(self) -> Measured:
        """KL(q(x_1 | x_0) || p(x_1))."""
        return measured(self.prior_values)

    @property
    def kl(self) -> Measured:
        """The sum over steps of KL(q(x_s | x_t, x_0) || p(x_s | x_t))."""
        return measured(self.kl_values)

    @property
    def decoder(self) -> Measured:
        """-log p(x_0 | x_t) at the first step."""
        return measured(self.decoder_values)

    @property
    def total(self) -> Measured:
        """The bound."""
        return measured(self.values)


@dataclass(frozen=True, eq=False)
class Density:
    """-log p of the probability-flow ODE per sample, (n,) float64 in nats per dimension.

    `values` are those of continuous data in model space, or, where `dequantisation` is not "none", bounds on the code
    length of the bytes: the density of the dequantiser is taken off.
    """

    values: Float64[Tensor, " n"]
    error_probes: float
    """Share of the standard error that comes from Hutchinson's probes; 0 for the exact divergence, NaN for one."""
    calls: Float64[Tensor, " n"]
    """Network calls of each sample."""
    divergence: str
    dequantisation: str
    smallest: float
    """sigma / alpha where the ODE starts."""
    rtol: float
    atol: float
    alpha_end: float
    """Signal left at t = 1, which the prior N(0, sigma_1^2) takes for none."""

    @property
    def total(self) -> Measured:
        """The mean of `values`."""
        return measured(self.values)


def auroc(inside: Float64[Tensor, " n"], outside: Float64[Tensor, " m"]) -> float:
    """Return the probability that a value of `outside` exceeds one of `inside` (ties count half): the area under the
    ROC curve of telling them apart; 0.5 is chance.
    """
    ordered = inside.sort().values
    below = torch.searchsorted(ordered, outside, right=False).double()
    up_to = torch.searchsorted(ordered, outside, right=True).double()
    return float((below + up_to).mean() / 2 / len(inside))
