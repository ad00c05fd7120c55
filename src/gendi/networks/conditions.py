"""Embeddings of what the network is told about a sample."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from gendi.config import ConditionConfig


class ConditionEmbedding(nn.Module):
    """Conditions by name, a row per sample -> (B, dim), the sum of their embeddings; each has a learned null."""

    def __init__(self, specs: Sequence[ConditionConfig], dim: int) -> None:
        super().__init__()
        self.specs = tuple(specs)
        self.tables = nn.ModuleList(nn.Embedding(spec.size + 1, dim) for spec in specs)  # the last row is null

    def forward(self, cond: Mapping[str, Tensor], like: Tensor) -> Tensor:
        """Return the sum (B, dim) for `like` (B, dim); a condition that is absent is null for every sample."""
        out = torch.zeros_like(like)
        for spec, table in zip(self.specs, self.tables, strict=True):
            labels = cond.get(spec.name)
            if labels is None:
                labels = torch.full((len(like),), -1, device=like.device)
            out = out + table(labels % (spec.size + 1))
        return out
