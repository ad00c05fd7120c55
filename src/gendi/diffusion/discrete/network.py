"""The denoiser made of a network of tokens.

The network sees x_t, whose mask is the token K, and one number in [-2, 2]:

    absorbing    4 n / L - 2, where n is the number of masks    so that the answer depends on x_t alone, as it should
    uniform      4 t - 2

and its outputs are logits of K tokens at each position. What is not masked is known (`carried_over`).
"""

from typing import Any

import torch
from jaxtyping import Float, Float32
from torch import Tensor, nn

from gendi.diffusion.conditions import by_name, keywords
from gendi.diffusion.discrete.denoiser import LogP, carried_over
from gendi.diffusion.discrete.process import Absorbing, TokenProcess, Tokens
from gendi.diffusion.trained import Trained, part_of, parts_of
from gendi.errors import UsageError


class NetworkTokenDenoiser(Trained):
    """log p(x_0 | x_t) by a network.

    Args:
        network: maps (x_t (B, L), time value (B,), conditions by name) to logits (B, L, K).
        process: the process the network was trained on.
        precision: "fp32", or "bf16" to run the network (and nothing else) under bf16 autocast.
        clip: of no use to tokens.
    """

    def __init__(
        self, network: nn.Module, process: TokenProcess, precision: str = "fp32", clip: float | None = None
    ) -> None:
        super().__init__(network, precision)
        self.process = process

    def under(self, process: TokenProcess) -> None:
        """Let the denoiser work under another process."""
        self.process = process

    def time_value(self, x_t: Tokens, t: Tensor) -> Float32[Tensor, " batch"]:
        """Return what the network sees of the noise level, (B,)."""
        if isinstance(self.process, Absorbing):
            return 4 * (x_t == self.process.mask).float().mean(1) - 2
        return (4 * t.double() - 2).float().expand(len(x_t)).to(x_t.device)

    def __call__(self, x_t: Tokens, t: Tensor, /, **cond: Tensor) -> LogP:
        """Return log p(x_0 | x_t), (B, L, K) float32; t is () or (B,)."""
        log_p: Tensor = super().__call__(x_t, t, **keywords(cond))
        return log_p

    def forward(self, x_t: Tokens, t: Tensor, /, **given: Any) -> LogP:
        # tokens may be elsewhere than the network: Apple's MPS has no float64, in which they are drawn
        place = next((p.device for p in self.network.parameters()), x_t.device)
        x, value = x_t.to(place), self.time_value(x_t, t).to(place)
        cond = {name: rows.to(place) for name, rows in by_name(given).items()}

        def some(rows: slice) -> Tensor:
            return self._logits(part_of(x, rows), part_of(value, rows), parts_of(cond, rows))

        found = self.by_shares(some, len(x_t))
        logits = found[0] if len(found) == 1 else torch.cat(found)
        return carried_over(self.process, logits.to(x_t.device), x_t)

    def _logits(self, x_t: Tokens, value: Float[Tensor, " batch"], cond: dict[str, Tensor]) -> Tensor:
        told = {name: torch.full_like(value, number) for name, number in self.told.items() if name not in cond}
        with torch.autocast(x_t.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            out: Tensor = self.network(x_t, value, **keywords({**cond, **told}))
        expected = (*x_t.shape, self.process.tokens)
        if out.shape != expected:
            raise UsageError(f"the network gave shape {tuple(out.shape)} for {tuple(x_t.shape)}: expected {expected}.")
        return out.float()
