"""Optimisers, and the learning rate as a function of the share of the budget that is spent."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from gendi.diffusion.networks.roles import inner_matrices
from gendi.machine.distributed import Team
from gendi.train.config import OptimConfig
from gendi.train.kept.checkpoint import match_layout
from gendi.train.step.muon import Muon


def make_optimizers(
    network: nn.Module, config: OptimConfig, team: Team | None = None, muon: str = "bf16"
) -> list[Optimizer]:
    """Return the optimisers of a network: AdamW, or Muon for the inner matrices and AdamW for the rest.

    The rest are the outer layers (see `gendi.diffusion.networks.roles`) and all vectors. The processes of `team` share
    the work of Muon, whose products are computed in the precision `muon`.
    """
    inner = inner_matrices(network) if config.name == "muon" else []
    chosen = set(map(id, inner))
    rest = [p for p in network.parameters() if id(p) not in chosen]
    adamw = AdamW(rest, lr=config.lr, betas=config.betas, weight_decay=config.weight_decay, fused=True)
    if not inner:
        return [adamw]
    return [Muon(inner, lr=config.lr, weight_decay=config.weight_decay, team=team, precision=muon), adamw]


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
