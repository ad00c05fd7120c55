"""Times that are drawn more often where the losses were larger.

loss-aware    t = i / T with i drawn in proportion to sqrt(E[L_i^2])       [Nichol & Dhariwal 2021, eq. 18]
"""

from collections.abc import Mapping
from typing import Self

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from gendi.diffusion.gaussian.config import ObjectiveConfig
from gendi.diffusion.gaussian.objectives.times import Discrete, TimeSampling
from gendi.diffusion.gaussian.schedule import Schedule
from gendi.errors import BundleError

REMEMBERED = 10  # losses of each step, and their uniform share: Nichol & Dhariwal 2021, section 3.3, and their code
UNIFORM_SHARE = 1e-3


class LossHistory:
    """The last losses of each of T steps, and the probabilities of the steps that follow from them.

    If p_i is proportional to sqrt(E[L_i^2]), the estimate L_i / (T p_i) of the mean loss has the least variance. Until
    ten losses of every step are known, p is uniform; after that, a thousandth of p stays uniform. The losses are state
    that a checkpoint holds.
    """

    def __init__(self, steps: int) -> None:
        self.losses = np.zeros((steps, REMEMBERED))
        self.counts = np.zeros(steps, dtype=np.int64)

    def probabilities(self) -> np.ndarray:
        """Return the probabilities p (T,) of the steps 1..T, float64."""
        steps = len(self.counts)
        if self.counts.min() < REMEMBERED:
            return np.full(steps, 1 / steps)
        root = np.sqrt((self.losses**2).mean(1))
        total = root.sum()
        p = root / total if total > 0 else np.full(steps, 1 / steps)
        return np.asarray((1 - UNIFORM_SHARE) * p + UNIFORM_SHARE / steps)

    def draw(self, rng: np.random.Generator, batch: int) -> Float64[Tensor, " batch"]:
        """Return `batch` independent times i / T, float64."""
        edges = self.probabilities().cumsum()
        index = np.searchsorted(edges / edges[-1], rng.random(batch), side="right")
        return torch.from_numpy(index + 1).double() / len(edges)

    def weights(self, t: Float64[Tensor, " batch"]) -> Float64[Tensor, " batch"]:
        """Return 1 / (T p_i) at times (B,), the weights with which a mean over draws estimates that over all steps."""
        p = torch.from_numpy(self.probabilities())[self._index(t)]
        return (1 / (len(self.counts) * p)).to(t.device)

    def update(self, t: Float64[Tensor, " batch"], losses: Float[Tensor, " batch"]) -> None:
        """Add the losses (B,) at times (B,), in their order; losses that are not finite are left out."""
        for i, loss in zip(self._index(t).tolist(), losses.double().tolist(), strict=True):
            if np.isfinite(loss):
                self.losses[i, self.counts[i] % REMEMBERED] = loss  # replaces the oldest
                self.counts[i] += 1

    def _index(self, t: Tensor) -> Tensor:
        return (t.cpu() * len(self.counts)).round().long() - 1

    def tensors(self) -> dict[str, Tensor]:
        """Return the tensors that a checkpoint holds."""
        return {"losses": torch.from_numpy(self.losses.copy()), "counts": torch.from_numpy(self.counts.copy())}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Restore what `tensors` returned. Raises `BundleError` naming a tensor that is missing or of another shape."""
        for name, mine in (("losses", self.losses), ("counts", self.counts)):
            if name not in tensors or tuple(tensors[name].shape) != mine.shape:
                raise BundleError(f"The checkpoint's history of losses needs {name!r} of shape {mine.shape}.")
        self.losses, self.counts = tensors["losses"].double().numpy().copy(), tensors["counts"].long().numpy().copy()


class LossAware(TimeSampling):
    """Draws steps of the chain by a `LossHistory`. For held-out rows, whose times must not change, they are uniform."""

    group = "losses"

    def __init__(self, steps: int) -> None:
        self.history, self.evenly = LossHistory(steps), Discrete(steps)

    @classmethod
    def of(cls, options: ObjectiveConfig, schedule: Schedule) -> Self:
        assert schedule.steps is not None  # the configuration was validated
        return cls(schedule.steps)

    def draw(self, rng: np.random.Generator, batch: int) -> Float64[Tensor, " batch"]:
        return self.history.draw(rng, batch)

    def draw_heldout(self, rng: np.random.Generator, batch: int) -> Float64[Tensor, " batch"]:
        return self.evenly.draw(rng, batch)

    def weights(self, t: Float64[Tensor, " batch"]) -> Float64[Tensor, " batch"]:
        return self.history.weights(t)

    def remember(self, t: Float64[Tensor, " batch"], losses: Float[Tensor, " batch"], lr: float) -> None:
        self.history.update(t, losses)

    def tensors(self) -> dict[str, Tensor]:
        return self.history.tensors()

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        self.history.restore(tensors)
