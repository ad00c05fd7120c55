"""The contract of objectives, whatever the family. Only an objective knows how the loss of a batch is computed.

A training step calls an objective in this order:

    objective.begin(progress, average)                              how much of the budget is spent
    draw   = objective.draw(size, seed, step)                       the random draws for the whole batch
    losses = objective.losses(denoiser, x_0, cond, draw, rows)      the batch is corrupted and compared: (B,)
    losses = objective.emphasised(losses)                           some rows may matter more than others
    objective.weighed(losses, draw, rows).mean().backward()         weights correct for draws that are more likely
    objective.remember(draw, losses, lr)                            the objective learns from the losses

Several processes, and several parts of a batch, share one draw, and each uses its rows of it. `remember` may change the
state of an objective. `tensors` returns this state for a checkpoint and `restore` reads it back, so that a resumed run
continues exactly. Held-out losses are computed in the same way, with `draw_heldout` in the place of `draw`.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Generic, TypeVar

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from gendi.diffusion.conditions import Conditions
from gendi.diffusion.randomness import normal, stream

ALL = slice(None)
D = TypeVar("D")
"""The denoiser that is trained."""
S = TypeVar("S")
"""Its schedule, or its process."""


class Draw:
    """The random draws of one step for its whole batch of B rows.

    The noise is keyed by `seed`, `purpose` and `step`.

    Args:
        t: times (B,), float64.
        seed: the seed of the run.
        purpose: the name of the random stream.
        step: the training step.
    """

    def __init__(self, t: Float64[Tensor, " batch"], seed: int, purpose: str, step: int = 0) -> None:
        self.t, self.seed, self.purpose, self.step = t, seed, purpose, step
        self._noise: dict[str, Tensor] = {}
        self._uniform: Tensor | None = None

    def noise(self, x_0: Tensor, rows: slice = ALL, what: str = "") -> Tensor:
        """Return standard normal noise for `rows` of the batch, of the shape and on the device of their x_0.

        `what` names another noise of the same step, where it needs more than one.
        """
        shape, kept = (len(self.t), *x_0.shape[1:]), self._noise.get(what)
        if kept is None or kept.shape != shape:
            purpose = f"{self.purpose}, {what}" if what else self.purpose
            kept = self._noise[what] = normal(shape, self.seed, purpose, self.step)
        return kept[rows].to(x_0.device)

    def uniform(self, x_0: Tensor, rows: slice = ALL) -> Tensor:
        """Return uniform numbers in [0, 1), float64, for `rows` of the batch, of the shape and on the device of x_0."""
        shape = (len(self.t), *x_0.shape[1:])
        if self._uniform is None or self._uniform.shape != shape:
            self._uniform = torch.from_numpy(stream(self.seed, self.purpose, self.step).random(shape))
        return self._uniform[rows].to(x_0.device)


class Objective(ABC, Generic[D, S]):
    """A way to train a denoiser. The module's docstring says in which order its methods are called."""

    schedule: S
    """The schedule under which the denoiser is trained, or the process of a family that has one."""

    def begin(self, progress: float, average: Mapping[str, Tensor]) -> None:
        """Prepare for a step that is taken when `progress` in [0, 1] of the budget is spent.

        `average` holds the averaged weights of the network at that moment, by name; they are not to be changed.
        """

    @abstractmethod
    def draw(self, size: int, seed: int, step: int) -> Draw:
        """Return the draws of training step `step` for a batch of `size` rows.

        They depend only on the arguments and on the state of the objective.
        """

    @abstractmethod
    def draw_heldout(self, size: int, seed: int) -> Draw:
        """Return the draws for `size` held-out rows, with times in order. They do not depend on the state."""

    @abstractmethod
    def losses(
        self,
        denoiser: D,
        x_0: Tensor,
        cond: Conditions | None,
        draw: Draw,
        rows: slice = ALL,
    ) -> Float[Tensor, " rows"]:
        """Return the loss of each row, (b,) float32, with a gradient.

        Args:
            denoiser: the network that is trained, with the meaning of its output.
            x_0: clean data (b, ...) in model space, which are `rows` of the batch.
            cond: conditions by name, with one row for each row of x_0.
            draw: what `draw` or `draw_heldout` returned for the whole batch.
            rows: which rows of the batch these are.
        """

    def emphasised(self, losses: Float[Tensor, " rows"]) -> Float[Tensor, " rows"]:
        """Return what is differentiated in the place of the losses (b,); the losses themselves are logged."""
        return losses

    def weights(self, draw: Draw, rows: slice = ALL) -> Float[Tensor, " rows"] | None:
        """Return the weights (b,) with which the mean over draws estimates the mean over all noise levels.

        None if all are 1.
        """
        return None

    def weighed(self, losses: Float[Tensor, " rows"], draw: Draw, rows: slice = ALL) -> Float[Tensor, " rows"]:
        """Return the losses (b,) times their weights."""
        weights = self.weights(draw, rows)
        return losses if weights is None else losses * weights.to(losses)

    def remember(self, draw: Draw, losses: Float[Tensor, " batch"], lr: float) -> None:
        """Learn from the losses (B,) of a whole batch, without gradient, after a step of learning rate `lr`."""

    def forget(self) -> None:
        """Clear what `losses` kept of parts of a batch that starts again, because it did not fit in memory."""

    def sampling_schedule(self) -> S:
        """Return the schedule, or the process, under which samples are drawn at present."""
        return self.schedule

    def learned_table(self) -> Float64[Tensor, " entries"] | None:
        """Return the log-SNRs (K,) of a learned schedule at present, for the bundle; None for a fixed schedule."""
        return None

    def tensors(self) -> dict[str, dict[str, Tensor]]:
        """Return the state for a checkpoint, as groups of named tensors; each group becomes a file."""
        return {}

    def restore(self, groups: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Restore the state that `tensors` returned; `groups` may hold other groups too.

        Raises `BundleError` naming a tensor that is missing or of another shape.
        """
