"""The learned schedule as a part of an objective. It is trained beside the network, on the losses of each step."""

from collections.abc import Mapping
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor
from torch.optim import AdamW

from gendi.diffusion.gaussian.schedule.learned import Learned, MonotoneNetwork, variance_surrogate
from gendi.errors import BundleError


class ScheduleLearner:
    """A learned schedule with its optimiser. A checkpoint holds the state of both."""

    group: ClassVar[str] = "schedule"

    def __init__(self, log_snr_min: float, log_snr_max: float, device: torch.device | str = "cpu") -> None:
        self.network = MonotoneNetwork(log_snr_min, log_snr_max).to(device)
        self.schedule = Learned(self.network)
        self.optimizer = AdamW(self.network.parameters(), weight_decay=0.0)

    def remember(self, t: Float[Tensor, " batch"], losses: Float[Tensor, " batch"], lr: float) -> None:
        """Take a step of size `lr` that reduces the variance of losses (B,) at uniform times (B,)."""
        # AdamW's steps do not depend on the scale of the gradient, except through its epsilon. So the losses are
        # divided by their root mean square.
        scale = losses.detach().double().square().mean().sqrt().clamp(min=1e-30)
        self.optimizer.param_groups[0]["lr"] = lr
        self.optimizer.zero_grad(set_to_none=True)
        variance_surrogate(self.network, t, losses.double() / scale).backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()

    def tensors(self) -> dict[str, Tensor]:
        """Return the tensors that a checkpoint holds: the parameters, and AdamW's moments and count for each of them.

        Moments and counts are zero before the first step.
        """
        found = {name: p.detach().clone() for name, p in self.network.named_parameters()}
        for name, p in self.network.named_parameters():
            state = self.optimizer.state.get(p, {})
            for key in ("exp_avg", "exp_avg_sq"):
                found[f"{name}:{key}"] = state.get(key, torch.zeros_like(p)).clone()
            found[f"{name}:step"] = state.get("step", torch.zeros(())).clone()
        return found

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Restore what `tensors` returned. Raises `BundleError` naming a tensor that is missing or of another shape."""
        for name, mine in self.tensors().items():
            if name not in tensors or tensors[name].shape != mine.shape:
                raise BundleError(f"The checkpoint's learned schedule needs {name!r} of shape {tuple(mine.shape)}.")
        for name, p in self.network.named_parameters():
            p.data.copy_(tensors[name])
            step = tensors[f"{name}:step"].clone()
            if not step:
                self.optimizer.state.pop(p, None)
                continue
            moments = {key: tensors[f"{name}:{key}"].to(p).clone() for key in ("exp_avg", "exp_avg_sq")}
            self.optimizer.state[p] = {"step": step, **moments}
