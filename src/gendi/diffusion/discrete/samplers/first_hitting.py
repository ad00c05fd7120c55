"""First-hitting sampling: masks are lifted one at a time, at the times at which reverse time would lift them.

If n masks are left at t, the next one is lifted at the time s with

    1 - alpha_s = (1 - alpha_t) u^(1 / n),    u uniform in [0, 1),

and it is any of the n with equal probability. There is no error of steps: this is the continuous-time process itself,
and as the answers do not depend on the time, it is any-order autoregression in a random order. It takes as many calls
as there are masks, whatever `steps` says.  [Zheng et al. 2025, proposition 4.1; Hoogeboom et al. 2022]
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from gendi.diffusion.discrete.denoiser import Bound
from gendi.diffusion.discrete.process import Absorbing
from gendi.diffusion.discrete.samplers.state import Draws, TokenState, categorical


def first_hitting(denoiser: Bound, x: Tensor, times: Tensor, draws: Draws) -> Iterator[TokenState]:
    """Lift one mask of each row per call, in a random order."""
    process = denoiser.process
    assert isinstance(process, Absorbing)
    noise = torch.ones(len(x), dtype=torch.float64, device=x.device) - process.schedule.alpha(times[0]).to(x.device)
    while bool((masked := x == process.mask).any()):
        left, t = masked.sum(1), process.schedule.time(1 - noise)
        noise = noise * draws()[:, 0] ** (1 / left.clamp(min=1))
        place = torch.where(masked, draws(), -1.0).argmax(1)
        due, u = (left > 0).nonzero()[:, 0], draws()
        p = denoiser(x[due], t[due], due)
        here = p[torch.arange(len(due)), place[due]]
        x = x.clone()
        x[due, place[due]] = categorical(here[:, None], u[due, :1])[:, 0]
        yield TokenState(t, process.schedule.time(1 - noise), x)
