"""From values on a lattice to a density: noise q fills each value's bin, and its density is subtracted again.

    log P(bin) = log integral over the bin of p(y) dy >= E_q[log p(y) - log q(y)]        [Theis et al. 2016, eq. 9]

`uniform` fills the bin evenly: log q = -log(2 half_bin) per dimension, which is where the +log2 of the codec's scale
comes from when bits per dimension are counted (7.0 for bytes in [-1, 1]). It suits a model that was trained on data
with the same noise. A model trained on the bytes themselves knows the lattice, and its density at the noise level u is
a normal of that width around each value. `normal` matches it: a normal of standard deviation u, cut off at the bin's
edges.  [truncated-normal dequantisation: Zheng et al. 2023]
"""

import math

import numpy as np
import torch
from jaxtyping import Float, Float64
from scipy.special import ndtr, ndtri
from torch import Tensor

from gendi.errors import UsageError, unknown_name

KINDS = ("none", "uniform", "normal")


def dequantise(
    x_0: Float[Tensor, " batch *shape"],
    rngs: list[np.random.Generator],
    kind: str,
    half_bin: float | None,
    std: float,
) -> tuple[Float64[Tensor, " batch *shape"], Float64[Tensor, " batch"]]:
    """Return y drawn from q(. | x_0), and log q(y) per dimension (0 for `none`), float64.

    Args:
        x_0: data (B, ...).
        rngs: one random stream per row.
        kind: one of KINDS.
        half_bin: half the distance between neighbouring values; None for continuous data.
        std: the standard deviation of `normal`.

    Raises:
        UsageError: the kind is unknown, or noise is requested for data without bins.
    """
    if kind not in KINDS:
        raise unknown_name("dequantisation", kind, KINDS)
    x = x_0.double()
    if kind == "none":
        return x, torch.zeros(len(x), dtype=torch.float64)
    if half_bin is None:
        raise UsageError(f"dequantisation = {kind!r} needs the data's half_bin; continuous data have none.")
    uniform = np.stack([rng.random(x_0.shape[1:]) for rng in rngs])
    if kind == "uniform":
        y = x + torch.from_numpy((2 * uniform - 1) * half_bin).to(x.device)
        return y, torch.full((len(x),), -math.log(2 * half_bin), dtype=torch.float64)
    tail = float(ndtr(-half_bin / std))
    normal = np.clip(ndtri(tail + uniform * (1 - 2 * tail)), -half_bin / std, half_bin / std)
    log_q = -0.5 * normal**2 - math.log(std) - 0.5 * math.log(2 * math.pi) - math.log1p(-2 * tail)
    y = x + torch.from_numpy(normal * std).to(x.device)
    return y, torch.from_numpy(log_q.reshape(len(x), -1).mean(1))
