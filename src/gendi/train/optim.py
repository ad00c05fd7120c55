"""Optimisers, and the learning rate as a function of the share of the budget that is spent."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.optim import AdamW, Optimizer

from gendi.diffusion.networks.roles import inner_matrices
from gendi.machine.distributed import Team
from gendi.train.checkpoint import match_layout
from gendi.train.config import OptimConfig
from gendi.train.sharding import by_whole_matrices

# The coefficients of a quintic polynomial that brings singular values into [0.7, 1.2].  [Jordan et al. 2024]
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)


def orthogonalise(matrices: Float[Tensor, " k m n"], iterations: int = 5) -> Float[Tensor, " k m n"]:
    """Return the nearest semi-orthogonal matrices, approximately: (K, m, n) -> (K, m, n), by Newton-Schulz in bf16."""
    a, b, c = NEWTON_SCHULZ
    tall = matrices.shape[-2] > matrices.shape[-1]
    x = matrices.bfloat16()
    x = x.mT if tall else x
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(iterations):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    out: Tensor = x.mT if tall else x
    return out.to(matrices.dtype)


def divided(shapes: Sequence[Sequence[int]], processes: int) -> list[int]:
    """Return for each matrix the process that orthogonalises it.

    The matrices are assigned from the most costly to the least, each to the process that has the least work so far.
    """
    cost = [m * n * min(m, n) for m, n in shapes]
    load, doers = [0] * processes, [0] * len(cost)
    for k in sorted(range(len(cost)), key=lambda k: -cost[k]):
        doers[k] = load.index(min(load))
        load[doers[k]] += cost[k]
    return doers


class Muon(Optimizer):
    """Orthogonalised momentum, for matrices and convolution kernels (flattened to out x rest).  [Jordan et al. 2024]

    The update is scaled to the root mean square of an AdamW update, so that both can have the same learning rate  [Liu
    et al. 2025, section 2.2]. Matrices of equal shape are orthogonalised in one batch. The processes of a team have
    equal gradients; each of them computes a share of the matrices and sends the results to the others in bf16, the
    precision in which they are computed.
    """

    def __init__(
        self,
        params: Iterable[nn.Parameter],
        lr: float,
        momentum: float = 0.95,
        weight_decay: float = 0.0,
        team: Team | None = None,
    ) -> None:
        super().__init__(list(params), {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})
        self.team = team or Team()

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            params = [p for p in group["params"] if p.grad is not None]
            matrices = [self._momentum(p, group["momentum"]).flatten(1) for p in params]
            for p, update in zip(params, self._orthogonal(matrices), strict=True):
                p.mul_(1 - group["lr"] * group["weight_decay"])
                p.add_(update.reshape(p.shape) * (0.2 * max(update.shape) ** 0.5), alpha=-group["lr"])

    def _orthogonal(self, matrices: Sequence[Tensor]) -> list[Tensor]:
        """Return the matrices orthogonalised; each is computed by the process that `divided` assigns to it."""
        if matrices and isinstance(matrices[0], DTensor):
            return by_whole_matrices(orthogonalise, matrices)
        doers = divided([m.shape for m in matrices], self.team.size)
        order = sorted(range(len(matrices)), key=lambda k: doers[k])
        done: dict[int, Tensor] = {}
        by_shape: dict[torch.Size, list[int]] = {}
        for k in order:
            if doers[k] == self.team.rank:
                by_shape.setdefault(matrices[k].shape, []).append(k)
        for same in by_shape.values():
            done |= zip(same, orthogonalise(torch.stack([matrices[k] for k in same])), strict=True)
        if self.team.size == 1 or not matrices:
            return [done[k] for k in order]
        ends = [sum(matrices[k].numel() for k in order if doers[k] < rank) for rank in range(self.team.size + 1)]
        empty = torch.empty(0, dtype=torch.bfloat16, device=matrices[0].device)
        mine = torch.cat([empty, *(done[k].bfloat16().flatten() for k in order if k in done)])
        everything = self.team.join_rows(mine, [slice(*both) for both in itertools.pairwise(ends)])
        parts = torch.split(everything, [matrices[k].numel() for k in order])
        found = {k: part.to(matrices[k].dtype).reshape(matrices[k].shape) for k, part in zip(order, parts, strict=True)}
        return [found[k] for k in range(len(matrices))]

    def _momentum(self, p: nn.Parameter, momentum: float) -> Tensor:
        """Update the momentum buffer and return Nesterov's look-ahead of it."""
        assert p.grad is not None
        state = self.state[p]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(p)
        buffer: Tensor = state["momentum"]
        buffer.lerp_(p.grad, 1 - momentum)
        return p.grad.lerp(buffer, momentum)


def make_optimizers(network: nn.Module, config: OptimConfig, team: Team | None = None) -> list[Optimizer]:
    """Return the optimisers of a network: AdamW, or Muon for the inner matrices and AdamW for the rest.

    The rest are the outer layers (see `gendi.diffusion.networks.roles`) and all vectors. The processes of `team` share
    the work of Muon.
    """
    inner = inner_matrices(network) if config.name == "muon" else []
    chosen = set(map(id, inner))
    rest = [p for p in network.parameters() if id(p) not in chosen]
    adamw = AdamW(rest, lr=config.lr, betas=config.betas, weight_decay=config.weight_decay, fused=True)
    if not inner:
        return [adamw]
    return [Muon(inner, lr=config.lr, weight_decay=config.weight_decay, team=team), adamw]


def update_weights(optimizers: Sequence[Optimizer], lr: float | None) -> None:
    """Take a step of learning rate `lr`, or no step if it is None, and clear the gradients."""
    for optimizer in optimizers:
        if lr is not None:
            for group in optimizer.param_groups:
                group["lr"] = lr
            optimizer.step()
        optimizer.zero_grad(set_to_none=True)


def optimizer_tensors(network: nn.Module, optimizers: Sequence[Optimizer]) -> dict[str, Tensor]:
    """Return the state of the optimisers, as tensors named `parameter:key`."""
    names = {id(p): name for name, p in network.named_parameters()}
    return {
        f"{names[id(p)]}:{key}": value if isinstance(value, Tensor) else torch.tensor(value)
        for optimizer in optimizers
        for p, state in optimizer.state.items()
        for key, value in state.items()
    }


def restore_optimizers(network: nn.Module, optimizers: Sequence[Optimizer], tensors: Mapping[str, Tensor]) -> None:
    """Restore what `optimizer_tensors` returned; moments get the memory layout of their parameters."""
    states: dict[str, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        parameter, key = name.rsplit(":", 1)
        states.setdefault(parameter, {})[key] = value
    names = {id(p): name for name, p in network.named_parameters()}
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            for p in group["params"]:
                for key, value in states.get(names[id(p)], {}).items():
                    same = value.shape == p.shape
                    optimizer.state[p][key] = match_layout(value, p) if same else value.clone()


def learning_rate_factor(progress: float, config: OptimConfig) -> float:
    """Return the learning rate at `progress` in [0, 1] over its peak: linear warm-up, plateau, linear decay."""
    rise = progress / config.warmup if config.warmup > 0 else 1.0
    fall = (1 - progress) / config.decay if config.decay > 0 else 1.0
    return max(0.0, min(1.0, rise, fall))
