"""Embeddings of the noise level, and of the input."""

import math
from collections.abc import Sequence
from typing import TypeVar

import torch
import torch.nn.functional as F
from jaxtyping import Float, Float32
from torch import Tensor, nn

# c_noise = ln(sigma / alpha) / 4 goes from about -2 to 2, and the paper's step from 1 to 1000.
TIME_SCALE = {"log-snr": 250.0, "step": 1.0}

M = TypeVar("M", bound=nn.Module)


def zero(layer: M) -> M:
    """Return the layer with its weights set to zero, so that its output starts at zero."""
    for p in layer.parameters():
        nn.init.zeros_(p)
    return layer


class Sinusoids(nn.Module):
    """Sinusoidal features of a scalar, (B,) -> (B, dim) float32: cos and sin of `scale` * value at several frequencies.

    By default the frequencies form a geometric sequence from 1 to 1/10000. The DDPM paper takes them from the
    Transformer; they are meant for values of order 1000. `scale` brings other inputs to this order, since the sinusoids
    of
    an unscaled number in [0, 1] would hardly vary.  [Vaswani et al. 2017, section 3.5]
    """

    frequencies: Tensor

    def __init__(self, dim: int, scale: float = 1.0, max_period: float = 10_000.0) -> None:
        super().__init__()
        if dim < 2 or dim % 2:
            raise ValueError(f"a sinusoidal embedding needs an even dimension; got {dim}.")
        # computed on the CPU, for arithmetic on tensors without memory would load torch's compiler, which takes seconds
        exponent = torch.arange(dim // 2, dtype=torch.float64, device="cpu") / (dim // 2)
        frequencies = (scale * torch.exp(-math.log(max_period) * exponent)).float()
        self.register_buffer("frequencies", frequencies.to(torch.get_default_device()), persistent=False)

    def forward(self, value: Float[Tensor, " b"]) -> Float32[Tensor, " b dim"]:
        angles = value.float()[:, None] * self.frequencies
        return torch.cat([angles.cos(), angles.sin()], dim=-1)


def fourier_features(
    x: Float[Tensor, " b c h w"], exponents: Sequence[int], time_value: Float[Tensor, " b"] | None = None
) -> Float[Tensor, " b c_out h w"]:
    """Return sin and cos of 2^(n-7) pi y for N exponents n, where y = 127.5 (x + 1) is x (B, C, H, W) in bytes.

    The result (B, 2 N C, H, W) has the dtype of x. For n = 8 the period is one byte, so the features show how far x is
    from the nearest value that data can take, over the whole range. With 2^n pi x, as in the source, the phase would
    drift by one period from black to white. The features are computed in the precision of x, so that a network that
    runs in bf16 still sees changes of x below 2^-8.  [Kingma et al. 2021, appendix C]

    Where noise is larger than a period, such features are as good as random. With the `time_value`
    ln(sigma / alpha) / 4 (B,) they fade: a wave of angular frequency w in x_0 is multiplied by exp(-(w sigma / alpha)^2
    / 2), its mean under the noise, so that what a network makes of x has no waves that only the noise passes through.
    """
    return _waves(x + 1, [2.0 ** (n - 7) * math.pi * 127.5 for n in exponents], time_value)


def vector_features(
    x: Float[Tensor, "b d"], exponents: Sequence[int], time_value: Float[Tensor, " b"] | None = None
) -> Float[Tensor, "b d_out"]:
    """Return sin and cos of 2^n pi x for N exponents n, (B, 2 N D), of x (B, D); with a `time_value` they fade.

    They show a network of few dimensions where it is on a finer scale than a linear layer does.  [Tancik et al. 2020]
    """
    return _waves(x, [2.0**n * math.pi for n in exponents], time_value)


def _waves(x: Tensor, rates: Sequence[float], time_value: Tensor | None) -> Tensor:
    """Return sines, then cosines, of the rates times x (B, C, ...) along the second axis; see `fourier_features`."""
    angles = torch.cat([rate * x for rate in rates], dim=1)
    waves = torch.cat([angles.sin(), angles.cos()], dim=1)
    if time_value is None:
        return waves
    rate = torch.tensor(rates, dtype=torch.float64, device=x.device).repeat_interleave(x.shape[1]).repeat(2)
    left = torch.exp(-0.5 * (rate * torch.exp(4 * time_value.double())[:, None]).square())
    return waves * left.to(waves).reshape(*left.shape, *(1 for _ in x.shape[2:]))


def pad_to_multiple(x: Float[Tensor, " b c h w"], unit: int) -> Float[Tensor, " b c h2 w2"]:
    """Return x (B, C, H, W) with its last row and column repeated until `unit` divides height and width."""
    right, below = -x.shape[-1] % unit, -x.shape[-2] % unit
    return F.pad(x, (0, right, 0, below), mode="replicate") if right or below else x


class TimeEmbedding(nn.Module):
    """Sinusoids -> linear -> SiLU -> linear: (B,) -> (B, dim). There are `features` sinusoids, dim / 2 if it is 0."""

    def __init__(self, dim: int, time_input: str, features: int = 0) -> None:
        super().__init__()
        features = features or dim // 2 // 2 * 2
        self.sinusoids = Sinusoids(features, TIME_SCALE[time_input])
        self.mlp = nn.Sequential(nn.Linear(features, dim), nn.SiLU(), nn.Linear(dim, dim))

    def forward(self, value: Tensor) -> Tensor:
        out: Tensor = self.mlp(self.sinusoids(value))
        return out
