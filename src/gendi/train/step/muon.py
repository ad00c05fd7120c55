"""Muon: momentum whose matrices are made orthogonal, which costs some products of matrices a step."""

import itertools
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.optim import Optimizer

from gendi.machine.distributed import Team
from gendi.train.weights.sharding import by_whole_matrices

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


def orthogonalise_by_gram(matrices: Sequence[Tensor], iterations: int = 5) -> list[Tensor]:
    """Return for matrices (m, n), whose shorter sides are equal, what `orthogonalise` does, in float32.

    The polynomials only multiply X from the left, by polynomials of R = X X^T. So Q with X_k = Q X_0 is found in
    products of the short side alone, of all matrices at once, which are half as many FLOPs:

        Z = a + b R + c R^2,      Q <- Z Q,      R <- Z R Z

    Round-off that makes an eigenvalue of R negative grows by a^2 a round, 20,000-fold in all: harmless for the 1e-7 of
    float32, and the end of the weights for the 4e-3 of bf16.
    """
    groups: dict[torch.Size, list[int]] = {}
    for k, matrix in enumerate(matrices):
        groups.setdefault(matrix.shape, []).append(k)
    wide: list[Tensor] = []
    for shape, same in groups.items():
        x = torch.stack([matrices[k] for k in same])
        x = x.mT if shape[0] > shape[1] else x
        wide.append(x.float() / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7))
    a, b, c = NEWTON_SCHULZ
    r = torch.cat([x @ x.mT for x in wide])
    q: Tensor | None = None
    for left in reversed(range(iterations)):
        z = torch.baddbmm(r, r, r, beta=b, alpha=c)
        z.diagonal(dim1=-2, dim2=-1).add_(a)
        q = z if q is None else z @ q
        if left:
            r = z @ r @ z
    assert q is not None
    out: dict[int, Tensor] = {}
    owns = torch.split(q, [len(same) for same in groups.values()])
    for (shape, same), x, own in zip(groups.items(), wide, owns, strict=True):
        y = own @ x
        out |= zip(same, (y.mT if shape[0] > shape[1] else y).to(matrices[0].dtype), strict=True)
    return [out[k] for k in range(len(matrices))]


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
    equal gradients; each of them computes a share of the matrices and sends the results to the others in `precision`
    ("bf16" or "fp32"), in which the products are computed.
    """

    def __init__(
        self,
        params: Iterable[nn.Parameter],
        lr: float,
        momentum: float = 0.95,
        weight_decay: float = 0.0,
        team: Team | None = None,
        precision: str = "bf16",
    ) -> None:
        super().__init__(list(params), {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})
        self.team = team or Team()
        self.dtype = torch.bfloat16 if precision == "bf16" else torch.float32

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
            return by_whole_matrices(self._alone, matrices)
        doers = divided([m.shape for m in matrices], self.team.size)
        order = sorted(range(len(matrices)), key=lambda k: doers[k])
        done: dict[int, Tensor] = {}
        groups: dict[object, list[int]] = {}
        exact = self.dtype == torch.float32
        for k in order:
            if doers[k] == self.team.rank:
                groups.setdefault(min(matrices[k].shape) if exact else matrices[k].shape, []).append(k)
        for together in groups.values():
            some = [matrices[k] for k in together]
            found = orthogonalise_by_gram(some) if exact else list(orthogonalise(torch.stack(some)))
            done |= zip(together, found, strict=True)
        if self.team.size == 1 or not matrices:
            return [done[k] for k in order]
        ends = [sum(matrices[k].numel() for k in order if doers[k] < rank) for rank in range(self.team.size + 1)]
        empty = torch.empty(0, dtype=self.dtype, device=matrices[0].device)
        mine = torch.cat([empty, *(done[k].to(self.dtype).flatten() for k in order if k in done)])
        everything = self.team.join_rows(mine, [slice(*both) for both in itertools.pairwise(ends)])
        parts = torch.split(everything, [matrices[k].numel() for k in order])
        joined = {
            k: part.to(matrices[k].dtype).reshape(matrices[k].shape) for k, part in zip(order, parts, strict=True)
        }
        return [joined[k] for k in range(len(matrices))]

    def _alone(self, matrices: Tensor) -> Tensor:
        """Return matrices (K, m, n) orthogonalised in this optimiser's precision."""
        if self.dtype == torch.bfloat16:
            return orthogonalise(matrices)
        return torch.stack(orthogonalise_by_gram(list(matrices)))

    def _momentum(self, p: nn.Parameter, momentum: float) -> Tensor:
        """Update the momentum buffer and return Nesterov's look-ahead of it."""
        assert p.grad is not None
        state = self.state[p]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(p)
        buffer: Tensor = state["momentum"]
        buffer.lerp_(p.grad, 1 - momentum)
        return p.grad.lerp(buffer, momentum)
