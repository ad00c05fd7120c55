"""A denoiser that knows that some numbers of a row are points: it answers with the mean of a point given its noise.

A row x has numbers first, and behind them groups of coordinates, each of which is one of K known points e_k in K - 1
dimensions, with share p_k: the words of a column of a table, for instance. Let y = x_t / alpha, which has noise of the
standard deviation u = sigma / alpha. By Bayes' rule

    p(k | x_t)  is proportional to  p_k exp(theta . e_k) exp(-|y - e_k|^2 / (2 u^2)),      x0_hat = sum_k p(k | x_t) e_k

theta are the network's outputs for the group: as many numbers as dimensions, which tilt the shares to any others. So
theta = 0 is the best denoiser of independent words, with their shares exact, and the network says only what the rest of
the row tells about the word. An affine output (c_skip x_t + c_out F) would have to compute the softmax itself.
[a categorical posterior mean: Austin et al. 2021, appendix A; of embedded words: Dieleman et al. 2022, section 3]

The answer is returned as the output F of EDM's preconditioning, so that nothing else of a denoiser changes.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

MOST_LOG_NOISE = 16.0
"""u is taken as e to a power between this number and its opposite."""


class PointPosterior(nn.Module):
    """The map from a network's outputs to F; it has no parameters, and its tensors are not part of a state.

    Args:
        points: of each group its points (K, K - 1), whose squared lengths are 1 / p_k - 1
            (`gendi.data.tables.points`). The groups are the last coordinates of a row, in this order.
    """

    def __init__(self, points: Sequence[Tensor]) -> None:
        super().__init__()
        self.dimensions = sum(each.shape[1] for each in points)
        self.groups = [each.shape[1] for each in points]
        for i, each in enumerate(points):
            self.register_buffer(f"points{i}", each.float(), persistent=False)

    def forward(
        self,
        x: Float[Tensor, "b d"],
        time_value: Float[Tensor, " b"],
        out: Float[Tensor, "b d"],
        sigma_data: float,
    ) -> Float[Tensor, "b d"]:
        """Return F (B, D) for c_in x_t (B, D), ln(sigma / alpha) / 4 (B,) and a network's outputs (B, D)."""
        u = (4 * time_value).clamp(-MOST_LOG_NOISE, MOST_LOG_NOISE).exp().to(x)[:, None]
        norm = (u**2 + sigma_data**2).sqrt()
        numbers = x.shape[1] - self.dimensions
        y = x[:, numbers:] * norm
        skip, scale = (sigma_data / norm) ** 2, norm / (u * sigma_data)
        parts, start = [out[:, :numbers]], 0
        for i, width in enumerate(self.groups):
            own = slice(start, start + width)
            points = self.get_buffer(f"points{i}").to(x)
            length = points.square().sum(1)
            tilt = out[:, numbers:][:, own] + y[:, own] / u**2
            logits = tilt @ points.T - length / (2 * u**2) - torch.log1p(length)
            mean = logits.softmax(1) @ points
            parts.append(scale * (mean - skip * y[:, own]))
            start += width
        return torch.cat(parts, dim=1)


def with_drawn_points(x: Tensor, mean: Tensor, points: Sequence[Tensor], uniform: Tensor) -> Tensor:
    """Return x (n, D) with a point in each group of its last coordinates, drawn by the distribution that has the
    `mean`.

    The shares of the points have mean 0 and covariance 1, so p_k (1 + mean . e_k) is the only distribution on K points
    in K - 1 dimensions with this mean. `uniform` (n, D) are draws, of which a group takes its first.
    """
    x, start = x.clone(), x.shape[1] - sum(each.shape[1] for each in points)
    for each in points:
        own = slice(start, start + each.shape[1])
        share = (1 + mean[:, own] @ each.T).clamp(min=0) / (1 + each.square().sum(1))
        ends = share.cumsum(1)
        chosen = (uniform[:, start, None] * ends[:, -1:] >= ends).sum(1).clamp(max=len(each) - 1)
        x[:, own], start = each[chosen], start + each.shape[1]
    return x
