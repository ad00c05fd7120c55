"""Exponential moving average of the weights, with its horizon counted in images."""

import torch
from torch import Tensor, nn


def ema_decay(images: int, batch: int, horizon: float) -> float:
    """Return the decay of one step of `batch` images after `images` were seen.

    exp(-batch / h) with h the horizon, but never more than a tenth of the images seen: an early average follows the
    weights, so the first previews are no noise, and a change of batch size changes nothing. [warm-up as in Karras et
    al. 2024, section 3.1]
    """
    return float(torch.exp(torch.tensor(-batch / max(1e-9, min(horizon, images / 10)), dtype=torch.float64)))


class EMA:
    """The average of a network's parameters and floating-point buffers, kept in float32."""

    def __init__(self, network: nn.Module, horizon: float) -> None:
        self.horizon = horizon
        self.weights: dict[str, Tensor] = {k: v.detach().clone() for k, v in network.state_dict().items()}

    @torch.no_grad()
    def update(self, network: nn.Module, images: int, batch: int) -> None:
        """Move the average towards the weights after a step of `batch` images, the last of `images` seen."""
        rate = 1 - ema_decay(images, batch, self.horizon)
        current = network.state_dict()
        mine = [self.weights[k] for k in self.weights]
        torch._foreach_lerp_(mine, [current[k].detach() for k in self.weights], rate)
