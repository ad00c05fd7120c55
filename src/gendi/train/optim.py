"""Optimisers and the learning rate as a function of the share of the budget that is spent."""

from collections.abc import Iterable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from gendi.config import OptimConfig
from gendi.train.sharding import by_whole_matrices

# the quintic that pushes singular values into [0.7, 1.2]  [Jordan et al. 2024]
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)


def orthogonalise(matrices: Float[Tensor, " k m n"], iterations: int = 5) -> Float[Tensor, " k m n"]:
    """Return the nearest semi-orthogonal matrices, roughly: (K, m, n) -> (K, m, n), by Newton-Schulz in bf16."""
    a, b, c = NEWTON_SCHULZ
    tall = matrices.shape[-2] > matrices.shape[-1]
    x = matrices.bfloat16()
    x = x.mT if tall else x
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(iterations):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    out: Tensor = x.mT if tall else x
    return out.to(matrices.dtype)


class Muon(Optimizer):
    """Momentum, orthogonalised, for matrices and convolution kernels (flattened to out x rest).  [Jordan et al. 2024]

    The update is scaled to the root mean square of an AdamW update, so both take the same learning rate.  [Liu et al.
    2025, section 2.2] Matrices of equal shape are orthogonalised in one batch.
    """

    def __init__(
        self, params: Iterable[nn.Parameter], lr: float, momentum: float = 0.95, weight_decay: float = 0.0
    ) -> None:
        super().__init__(list(params), {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            by_shape: dict[tuple[int, ...], list[nn.Parameter]] = {}
            for p in group["params"]:
                if p.grad is not None:
                    by_shape.setdefault((p.shape[0], p.numel() // p.shape[0]), []).append(p)
            for shape, params in by_shape.items():
                updates = torch.stack([self._momentum(p, group["momentum"]).reshape(shape) for p in params])
                updates = by_whole_matrices(orthogonalise, updates) * (0.2 * max(shape) ** 0.5)
                for p, update in zip(params, updates, strict=True):
                    p.mul_(1 - group["lr"] * group["weight_decay"])
                    p.add_(update.reshape(p.shape), alpha=-group["lr"])

    def _momentum(self, p: nn.Parameter, momentum: float) -> Tensor:
        """Return Nesterov's look-ahead of the momentum buffer, which is updated."""
        assert p.grad is not None
        state = self.state[p]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(p)
        buffer: Tensor = state["momentum"]
        buffer.lerp_(p.grad, 1 - momentum)
        return p.grad.lerp(buffer, momentum)


OUTER = ("stem", "head", "time", "conditions")
"""The parts of a network that meet the data: its first and last layers, and all embeddings."""


def make_optimizers(network: nn.Module, config: OptimConfig) -> list[Optimizer]:
    """Return the optimisers of a network: AdamW, and Muon before it for the matrices inside the network if so
    configured.

    The stem, the head, the embeddings and every vector stay with AdamW.
    """
    named = list(network.named_parameters())
    inner = [p for name, p in named if p.ndim >= 2 and config.name == "muon" and name.split(".")[0] not in OUTER]
    chosen = set(map(id, inner))
    rest = [p for _, p in named if id(p) not in chosen]
    adamw = AdamW(rest, lr=config.lr, betas=config.betas, weight_decay=config.weight_decay, fused=True)
    if not inner:
        return [adamw]
    return [Muon(inner, lr=config.lr, weight_decay=config.weight_decay), adamw]


def learning_rate_factor(progress: float, config: OptimConfig) -> float:
    """Return the share of the peak learning rate at `progress` in [0, 1] of the budget: warm-up, plateau, linear
    decay.
    """
    rise = progress / config.warmup if config.warmup > 0 else 1.0
    fall = (1 - progress) / config.decay if config.decay > 0 else 1.0
    return max(0.0, min(1.0, rise, fall))
