"""The output of a network that knows that data are bytes: it answers with the mean of a byte given its noisy value.

For each number of a picture the network proposes a prior over the 256 bytes, and the noisy number itself is weighed in
by Bayes' rule, exactly. With x_t = alpha x_0 + sigma eps and the bytes v_0 = -1, ..., v_255 = 1 in model space,

    p(k | x_t)  is proportional to  p_k exp(theta . T_k) exp(-(x_t - alpha v_k)^2 / (2 sigma^2)),
    x0_hat = sum_k p(k | x_t) v_k,    eps_hat = (x_t - alpha x0_hat) / sigma,    v_hat = alpha eps_hat - sigma x0_hat.

p is the histogram of the training data. The network's outputs theta tilt it by the statistics T_k below, so theta = 0
is the best denoiser of independent bytes, and the network says only what the neighbours of a pixel tell about it. An
affine output (c_skip x_t + c_out F) must instead compute (x_t - v) / sigma from x_t for every pixel: a slope that grows
a thousandfold towards the data, and any error there costs bits.  [a categorical posterior mean: Austin et al. 2021,
appendix A, and Chen et al. 2023, section 2, for bytes and bits; the tilted histogram is ours]

Sums over 256 bytes are computed for some rows at a time and never stored. The gradient needs the posterior's
covariances alone, which are sums as well:

    d v_hat / d theta = -Cov(v, T) / sigma,        d v_hat / d x_t = alpha / sigma - alpha Var(v) / sigma^3

Sums are over (v - c) / s, centred where noise is small (c = x_t / alpha, s = sigma / alpha) and plain where it is large
(c = 0, s = 1), so that no digits are lost at either end.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

LEVELS = 256
ROWS = 1024
"""How many numbers of a batch are computed at a time; their sums over 256 bytes fit into a processor's cache."""
MOST_LOG_SNR = 40.0
COSINES = 4
STATISTICS = 1 + COSINES + 3
"""How many numbers tilt a histogram."""


def statistics() -> Float[Tensor, " levels statistics"]:
    """Return T (256, 8), float32: whether the byte is 0; cosines over the range; and the byte's place among four.

    The first says how likely background is, the cosines shape a smooth density of greys, and the last tell neighbouring
    bytes apart, since pictures often hold some values and not the next ones. The factors give the numbers that move a
    histogram the size of a network's outputs.
    """
    k = torch.arange(LEVELS, dtype=torch.float64)
    waves = [(8 if j < 3 else 4) * torch.cos(j * math.pi * (k + 0.5) / LEVELS) for j in range(1, COSINES + 1)]
    fours = [torch.cos(math.pi * k), torch.cos(math.pi * k / 2), torch.sin(math.pi * k / 2)]
    return torch.stack([4.0 * (k == 0), *waves, *fours], 1).float()


class BytePosterior(nn.Module):
    """Turns a network's outputs into v, for data of `channels` channels; it has no parameters.

    The noise levels are those of a schedule with alpha^2 + sigma^2 = 1, and the network must see their log-SNR.
    """

    log_prior: Tensor
    statistics: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("log_prior", torch.full((channels, LEVELS), -math.log(LEVELS)))
        self.register_buffer("statistics", statistics(), persistent=False)

    def count(self, rows: Float[Tensor, " n c h w"]) -> None:
        """Take the histograms of these rows in model space as the prior, every byte being seen once more than it is."""
        bytes_ = ((rows.double() + 1) * ((LEVELS - 1) / 2)).round().long().clamp(0, LEVELS - 1)
        for channel, values in enumerate(bytes_.transpose(0, 1)):
            seen = torch.bincount(values.reshape(-1), minlength=LEVELS).double() + 1
            self.log_prior[channel] = (seen / seen.sum()).log().to(self.log_prior)

    def forward(
        self, x_t: Float[Tensor, " b c h w"], time_value: Float[Tensor, " b"], theta: Float[Tensor, " b c_out h w"]
    ) -> Float[Tensor, " b c h w"]:
        """Return v (B, C, H, W) for x_t (B, C, H, W), ln(sigma / alpha) / 4 (B,) and outputs (B, 8 C, H, W).

        It is computed in the dtype of x_t, under autocast too.
        """
        b, c, h, w = x_t.shape
        # the meta device, on which costs are counted, has no autocast
        with torch.autocast("cpu" if x_t.is_meta else x_t.device.type, enabled=False):
            log_snr = (-8 * time_value.double()).clamp(-MOST_LOG_SNR, MOST_LOG_SNR)
            alpha, sigma = (
                torch.sigmoid(sign * log_snr).sqrt().to(x_t)[:, None].expand(b, h * w).reshape(-1) for sign in (1, -1)
            )
            tilts = theta.to(x_t).reshape(b, c, STATISTICS, h * w).permute(1, 0, 3, 2).reshape(c, b * h * w, STATISTICS)
            x = x_t.transpose(0, 1).reshape(c, -1)
            prior, ways = self.log_prior.to(x_t), self.statistics.to(x_t)
            posterior: Callable[..., Tensor] = _Posterior.apply
            each = [posterior(x[i], alpha, sigma, tilts[i], prior[i], ways) for i in range(c)]
            return torch.stack(each).reshape(c, b, h, w).transpose(0, 1)


class _Posterior(torch.autograd.Function):
    """v_hat (N,) from x_t (N,), alpha and sigma (N,), theta (N, 8), ln p (256,) and T (256, 8)."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, alpha: Tensor, sigma: Tensor, theta: Tensor, log_p: Tensor, ways: Tensor
    ) -> Tensor:
        values = torch.linspace(-1, 1, LEVELS, dtype=x.dtype, device=x.device)
        moments = torch.cat([torch.ones_like(ways[:, :1]), ways], 1)
        y, u = x / alpha, sigma / alpha
        near = u < 1
        centre, scale = torch.where(near, y, 0.0), u.clamp(max=1.0)
        bend = torch.where(near, -0.5, -0.5 / u**2)  # of the log-likelihood in r = (v - centre) / scale
        slope = torch.where(near, 0.0, y / u**2)
        mean, variance, covariances = torch.empty_like(x), torch.empty_like(x), torch.empty_like(theta)
        for start in range(0, len(x), ROWS):
            rows = slice(start, start + ROWS)
            r = (values - centre[rows, None]).div_(scale[rows, None])
            logits = torch.addmm(log_p, theta[rows], ways.T)
            logits.addcmul_(r, (r * bend[rows, None]).add_(slope[rows, None]))
            share = logits.softmax(1)
            middle = share @ ways
            first = share.mul_(r) @ moments
            mean[rows] = first[:, 0]
            covariances[rows] = first[:, 1:] - first[:, :1] * middle
            if ctx.needs_input_grad[0]:
                variance[rows] = (share.mul_(r).sum(1) - first[:, 0].square()).clamp(min=0)
        x_0 = centre + scale * mean
        ctx.save_for_backward(alpha, sigma, scale, variance, covariances)
        out: Tensor = alpha * ((y - centre - scale * mean) / u) - sigma * x_0
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        alpha, sigma, scale, variance, covariances = ctx.saved_tensors
        to_theta = -(gradient * scale / sigma)[:, None] * covariances
        to_x = None
        if ctx.needs_input_grad[0]:
            to_x = gradient * (alpha / sigma) * (1 - variance * (scale / sigma) ** 2)
        return to_x, None, None, to_theta, None, None
