"""The transformer of sequences: every position attends to every other one, in both directions.

    x_t (B, L), tokens 0 .. K - 1, and K for the mask
      -> embedding of the token, plus that of the place                              (B, L, D)
      -> before each block a convolution of each channel along the sequence, of `local_conv` tokens, if it is not 0
      -> blocks of attention and a hidden layer, scaled, shifted and gated by the noise level and the conditions
      -> norm, linear -> logits of the K tokens                                      (B, L, K)

Queries and keys are rotated by their place, so that attention sees distances. Places are embedded too: where all is
masked, distances alone would tell no position from another. The embedding of noise level and conditions enters each
block as in the DiT, by AdaLN-zero, so that a block starts as the identity. So does the convolution, with weights of
zero. It shows each token its neighbours from the first steps on, which attention has to learn to find.

[Vaswani et al. 2017; rotary positions: Su et al. 2021; AdaLN-zero: Peebles & Xie 2023; for masked diffusion: Sahoo et
al. 2024, section 5; convolutions beside attention: So et al. 2021, "Primer"]
"""

from collections.abc import Sequence

import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, arange, nn

from gendi.diffusion.config import ConditionConfig
from gendi.diffusion.networks.attention import line_rotations
from gendi.diffusion.networks.conditions import ConditionEmbedding
from gendi.diffusion.networks.config import NetworkConfig
from gendi.diffusion.networks.dit import Block, Head
from gendi.diffusion.networks.embeddings import TimeEmbedding, zero

SPREAD = 0.02
"""The standard deviation of embeddings at first."""


class SequenceTransformer(nn.Module):
    """The transformer that the module's docstring describes; `length` is L, `out_channels` is K."""

    def __init__(
        self, config: NetworkConfig, length: int, conditions: Sequence[ConditionConfig], out_channels: int
    ) -> None:
        super().__init__()
        self.config, width = config, config.channels[0]
        self.time = TimeEmbedding(config.time_dim, "log-snr", config.time_features)
        self.conditions = ConditionEmbedding(conditions, config.time_dim)
        self.token, self.place = nn.Embedding(out_channels + 1, width), nn.Embedding(length, width)
        for table in (self.token, self.place):
            nn.init.normal_(table.weight, std=SPREAD)
        self.blocks = nn.ModuleList(Block(config, self.conditions.has_tokens) for _ in range(config.depth[0]))
        self.local = nn.ModuleList(_along(width, config.local_conv) for _ in self.blocks if config.local_conv)
        self.head = Head(config, out_channels)

    def outer_layers(self) -> tuple[nn.Module, ...]:
        """Return the embeddings and the last layer; see `roles.py`."""
        return self.token, self.place, self.local, self.head, self.time, self.conditions

    def units(self) -> list[nn.Module]:
        """Return the blocks; see `roles.py`."""
        return list(self.blocks)

    def forward(
        self, x: Int64[Tensor, "b length"], time_value: Float[Tensor, " b"], /, **cond: Tensor
    ) -> Float[Tensor, "b length tokens"]:
        """Return logits (B, L, K) for tokens x (B, L), time values (B,) and conditions of B rows each."""
        embedding = self.time(time_value)
        embedding = F.silu(embedding + self.conditions(cond, embedding))
        tokens = self.conditions.tokens(cond, len(x))
        h = self.token(x) + self.place(arange(x.shape[1], device=x.device))
        turn = line_rotations(x.shape[1], h.shape[-1] // self.config.heads_at(0), x.device)
        for i, block in enumerate(self.blocks):
            if self.local:
                h = h + self.local[i](F.layer_norm(h, h.shape[-1:]).transpose(1, 2)).transpose(1, 2)
            h = block(h, embedding, turn, tokens)
        out: Tensor = self.head(h, embedding)
        return out


def _along(width: int, tokens: int) -> nn.Conv1d:
    """Return a convolution (B, width, L) of each channel alone, which gives zero at first."""
    return zero(nn.Conv1d(width, width, tokens, padding=tokens // 2, groups=width, bias=False))
