"""Small worlds for objectives that distil: exact denoisers in the form that objectives expect, and a student that is
affine in x, whose best answer in a Gaussian world is a formula."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from gendi.diffusion.gaussian.config import DistilConfig, ObjectiveConfig, Parameterisation, ProcessConfig
from gendi.diffusion.gaussian.denoiser import NetworkDenoiser
from gendi.diffusion.gaussian.exact import GaussianDenoiser
from gendi.diffusion.gaussian.objectives.base import Objective, Setting
from gendi.diffusion.gaussian.objectives.registry import make_objective
from gendi.diffusion.gaussian.schedule import Schedule, make_schedule

EDM = Parameterisation(precondition=True)
MEAN, STD = torch.tensor([0.6, -0.4], dtype=torch.float64), torch.tensor([0.9, 0.4], dtype=torch.float64)
SIGMA_DATA = float((MEAN**2 + STD**2).mean().sqrt())


def world(schedule: Schedule) -> GaussianDenoiser:
    return GaussianDenoiser(schedule, MEAN, torch.diag(STD**2))


class Exactly(NetworkDenoiser):
    """A function of x_t, t and conditions in the form of a network's denoiser; computed without rounding to float32."""

    def __init__(self, function: Callable[..., Tensor], schedule: Schedule) -> None:
        super().__init__(nn.Linear(1, 1), schedule, EDM)
        self.function = function

    def forward(self, x_t: Tensor, t: Any, /, **cond: Tensor) -> Tensor:
        return self.function(x_t, t, **cond)


class Affine(nn.Module):
    """F = a x + b, with a and b functions of the time, and of one other number if the network is told one."""

    def __init__(self, d: int = 2, told: int = 0) -> None:
        super().__init__()
        hidden = [nn.Linear(1 + told, 48), nn.SiLU(), nn.Linear(48, 48), nn.SiLU()]
        self.of_time = nn.Sequential(*hidden, nn.Linear(48, 2 * d))

    def forward(self, x: Tensor, value: Tensor, **told: Tensor) -> Tensor:
        a, b = self.of_time(torch.stack([value, *told.values()], dim=1)).chunk(2, dim=1)
        return a * x + b


class Adams:
    """A learner by Adam; the gradients that it was given last are kept."""

    def __init__(self, denoiser: NetworkDenoiser) -> None:
        self.denoiser, self.last = denoiser, ([], 0.0)
        self.adam = torch.optim.Adam(denoiser.parameters(), betas=(0.9, 0.99))

    def learn(self, gradients: Sequence[Tensor | None], lr: float) -> None:
        self.last = (list(gradients), lr)
        for p, gradient in zip(self.denoiser.parameters(), gradients, strict=True):
            p.grad = gradient
        self.adam.param_groups[0]["lr"] = lr
        self.adam.step()

    def tensors(self) -> dict[str, dict[str, Tensor]]:
        return {"second": dict(self.denoiser.network.state_dict())}

    def restore(self, groups: Mapping[str, Mapping[str, Tensor]]) -> None:
        self.denoiser.network.load_state_dict(dict(groups["second"]))


def student(schedule: Schedule, told: int = 0) -> NetworkDenoiser:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return NetworkDenoiser(Affine(told=told), schedule, EDM, SIGMA_DATA)


def objective_for(
    loss: str, teacher: Callable[[Schedule], NetworkDenoiser] | None = None, steps: int | None = None, **distil: Any
) -> Objective:
    options = ObjectiveConfig(loss=loss, precondition=True, distil=DistilConfig(**distil))
    process = ProcessConfig("cosine", steps)
    return make_objective(Setting(options, process, sigma_data=SIGMA_DATA, teacher=teacher, optional=("class",)))


def cosine(steps: int | None = None) -> Schedule:
    return make_schedule("cosine", steps)


def data(n: int, seed: int) -> Tensor:
    normal = torch.randn(n, 2, generator=torch.Generator().manual_seed(seed))
    return MEAN.float() + STD.float() * normal


def trained(objective: Objective, denoiser: NetworkDenoiser, steps: int, batch: int = 256, lr: float = 3e-3) -> None:
    """Train by Adam with a falling rate, and leave the averaged weights in the network."""
    optimizer = torch.optim.Adam(denoiser.parameters(), lr=lr, betas=(0.9, 0.99))
    average = {name: tensor.detach().clone() for name, tensor in denoiser.network.state_dict().items()}
    for step in range(steps):
        objective.begin(step / steps, average)
        optimizer.param_groups[0]["lr"] = lr * min(1.0, 2 * (1 - step / steps))
        draw = objective.draw(batch, 0, step)
        losses = objective.emphasised(objective.losses(denoiser, data(batch, step), {}, draw))
        loss = objective.weighed(losses, draw).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        objective.remember(draw, losses.detach(), optimizer.param_groups[0]["lr"])
        rate = max(0.005, 1 / (1 + step))
        for name, tensor in denoiser.network.state_dict().items():
            average[name].lerp_(tensor, rate)
    denoiser.network.load_state_dict(average)
