"""Conditional mixtures with exact denoisers, and a denoiser that notes its calls."""

from typing import Any

import torch
from torch import Tensor
from worlds import covariance, f64, gaussian

from gendi.diffusion.conditions import null_like
from gendi.diffusion.gaussian.exact import ConditionalMixture
from gendi.diffusion.gaussian.schedule import make_schedule

CLASSES = torch.tensor([0, 0, 1, 2])


T = f64(0.1, 0.35, 0.6, 0.8, 0.95)


X, LABELS = gaussian(5, 2, seed=1), torch.tensor([0, 1, 2, 1, 0])


COND = {"class": LABELS}


def world(name: str = "cosine") -> ConditionalMixture:
    """Return four Gaussians in the plane, of different shapes, in three classes."""
    covariances = torch.stack([covariance(2, seed) for seed in (1, 2, 3, 4)]) * 0.3
    weights = f64(0.2, 0.1, 0.4, 0.3)
    return ConditionalMixture(make_schedule(name), weights, gaussian(4, 2, seed=5), covariances, {"class": CLASSES})


def product() -> ConditionalMixture:
    """Return a law of two independent numbers, each with a class of its own: 2 x 3 components."""
    first, second = f64(-1.0, 0.5), f64(-1.5, 0.0, 1.0)
    a, b = torch.meshgrid(torch.arange(2), torch.arange(3), indexing="ij")
    a, b = a.flatten(), b.flatten()
    spread = torch.diag_embed(torch.stack([f64(0.1, 0.3)[a], f64(0.2, 0.05, 0.4)[b]], 1))
    weights = f64(0.3, 0.7)[a] * f64(0.2, 0.5, 0.3)[b]
    means = torch.stack([first[a], second[b]], 1)
    return ConditionalMixture(make_schedule("cosine"), weights, means, spread, {"shape": a, "colour": b})


BOTH = {"shape": torch.tensor([0, 1, 1, 0, 1]), "colour": torch.tensor([2, 1, 0, 0, 2])}


class Spy:
    """A denoiser that passes calls on and keeps a list of them."""

    def __init__(self, denoiser: Any) -> None:
        self.denoiser, self.schedule = denoiser, denoiser.schedule
        self.calls: list[tuple[Tensor, Tensor, dict[str, Tensor]]] = []

    def __call__(self, x_t: Tensor, t: Tensor, **cond: Tensor) -> Tensor:
        self.calls.append((x_t, t, cond))
        return self.denoiser(x_t, t, **cond)  # type: ignore[no-any-return]

    @property
    def rows(self) -> list[int]:
        return [len(x) for x, _, _ in self.calls]


class SpyVariance(Spy):
    """A `Spy` that learned a variance: its share is the class that it is given, or -1 if it is given none."""

    def predict(self, x_t: Tensor, t: Tensor, **cond: Tensor) -> tuple[Tensor, Tensor]:
        label = cond.get("class", torch.full((len(x_t),), -1))
        return self(x_t, t, **cond), label.to(x_t.dtype)[:, None].expand_as(x_t)


def null(cond: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: null_like(value) for name, value in cond.items()}


def close(a: Tensor, b: Tensor) -> None:
    torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)
