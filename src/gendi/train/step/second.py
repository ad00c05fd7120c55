"""A second network that an objective trains in the steps of the first, such as the critic of distribution matching."""

import math
from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_
from torch.optim import Optimizer

from gendi.diffusion.gaussian.denoiser import NetworkDenoiser
from gendi.diffusion.gaussian.objectives.teacher import load_checked
from gendi.machine.distributed import Team
from gendi.train.config import OptimConfig
from gendi.train.step.optim import optimizer_tensors, restore_optimizers, update_weights


class SecondNetwork:
    """A `Learner` (see `gendi.diffusion.gaussian.objectives.base`) with the optimisers of a run.

    Args:
        denoiser: what is trained.
        optimizers: the optimisers of its network.
        options: `clip` bounds the norm of a gradient.
        team: the processes whose gradients are added.
    """

    weights: ClassVar[str] = "second"
    moments: ClassVar[str] = "second_optimizer"

    def __init__(
        self, denoiser: NetworkDenoiser, optimizers: Sequence[Optimizer], options: OptimConfig, team: Team
    ) -> None:
        self.denoiser, self.optimizers, self.options, self.team = denoiser, optimizers, options, team

    def learn(self, gradients: Sequence[Tensor | None], lr: float) -> None:
        """Take a step of learning rate `lr`; the weights stay where a gradient is not finite."""
        weights = [p for p in self.denoiser.parameters() if p.requires_grad]
        for p, gradient in zip(weights, self._added(gradients), strict=True):
            p.grad = gradient
        norm = float(clip_grad_norm_(weights, self.options.clip or math.inf))
        update_weights(self.optimizers, lr if math.isfinite(norm) else None)

    def _added(self, gradients: Sequence[Tensor | None]) -> Sequence[Tensor | None]:
        """Return the gradients, added over the processes; a weight has one in all of them or in none."""
        if self.team.size == 1:
            return gradients
        there = [gradient for gradient in gradients if gradient is not None]
        each = [slice(rank, rank + 1) for rank in range(self.team.size)]
        flat = self.team.join_rows(torch.cat([gradient.flatten() for gradient in there])[None], each).sum(0)
        parts = iter(torch.split(flat, [gradient.numel() for gradient in there]))
        return [None if gradient is None else next(parts).view_as(gradient) for gradient in gradients]

    def tensors(self) -> dict[str, dict[str, Tensor]]:
        network = self.denoiser.network
        state = optimizer_tensors(network, self.optimizers)
        return {
            self.weights: {name: tensor.detach().clone() for name, tensor in network.state_dict().items()},
            self.moments: {name: tensor.clone() for name, tensor in state.items()},
        }

    def restore(self, groups: Mapping[str, Mapping[str, Tensor]]) -> None:
        network = self.denoiser.network
        load_checked(network, groups.get(self.weights, {}), "second network")
        restore_optimizers(network, self.optimizers, groups.get(self.moments, {}))
