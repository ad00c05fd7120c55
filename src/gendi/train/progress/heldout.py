"""The loss on held-out rows, which shows whether a run is learning. Times and noises are fixed."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gendi.data import Data
from gendi.data.row_conditions import derived, stored
from gendi.data.vectors import HELD_OUT
from gendi.diffusion.batches import in_batches
from gendi.diffusion.conditions import take
from gendi.diffusion.config import ConditionConfig
from gendi.diffusion.objective import Objective
from gendi.diffusion.randomness import stream
from gendi.diffusion.trained import Trained

HELDOUT_IMAGES = 256


def heldout_rows(
    data: Data, conditions: Sequence[ConditionConfig], indices: NDArray[np.int64]
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the held-out rows x_0 (B, ...) at `indices` in model space, and their conditions by name."""
    cond = stored(conditions, data.heldout, indices)
    x_0 = data.encode(torch.from_numpy(data.heldout.batch(indices)), cond, torch.from_numpy(indices) + HELD_OUT)
    return x_0, cond | derived(data, conditions, x_0)


class Heldout:
    """Fixed held-out rows, times and noises. The times are stratified over the training distribution and sorted."""

    def __init__(
        self,
        data: Data,
        objective: Objective[Any, Any],
        conditions: Sequence[ConditionConfig],
        seed: int,
        device: torch.device,
    ) -> None:
        split = data.heldout
        n = min(HELDOUT_IMAGES, len(split))
        indices = np.sort(stream(seed, "heldout-images").permutation(len(split))[:n])
        x_0, cond = heldout_rows(data, conditions, indices)
        self.x_0, self.cond = x_0.to(device), take(cond, slice(None), device)
        self.objective, self.draw = objective, objective.draw_heldout(n, seed)

    @torch.no_grad()
    def __call__(self, denoiser: Trained) -> tuple[float, list[float]]:
        """Return the mean loss, and the mean of each quartile of t from least to most noise (NaN if it is empty)."""
        losses: list[Tensor] = []

        def work(rows: slice) -> None:
            x_0, cond = self.x_0[rows], take(self.cond, rows, self.x_0.device)
            losses.append(self.objective.losses(denoiser, x_0, cond, self.draw, rows).cpu())

        in_batches(len(self.x_0), 64, work)
        values = torch.cat(losses).double()
        quartiles = [float(q.mean()) if len(q) else math.nan for q in values.tensor_split(4)]
        return float(values.mean()), quartiles
