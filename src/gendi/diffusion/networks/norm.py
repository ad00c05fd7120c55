"""Group normalisation that is quick in bf16 on a CPU."""

import torch
from torch import Tensor, nn

from gendi.diffusion.forward_mode import has_tangent


class GroupNorm(nn.GroupNorm):
    """GroupNorm, which a CPU computes in float32 under bf16 autocast, and returns in float32.

    torch's kernel for bf16 takes up to five times as long as one for float32 with a conversion before it, and what
    follows (scale and shift, SiLU) is more exact in float32; the next convolution converts its input back.
    """

    widen = True
    """Whether a CPU computes in float32; False keeps what a GPU does, for plans that are made on a CPU."""

    def forward(self, x: Tensor) -> Tensor:
        if self.widen and x.dtype == torch.bfloat16 and x.device.type == "cpu":
            x = x.float()
        if x.ndim == 4 and has_tangent(x):  # torch's forward mode takes a batch whose channels are apart alone
            own = x.contiguous(memory_format=torch.contiguous_format)
            return super().forward(own).contiguous(memory_format=torch.channels_last)
        return super().forward(x)
