"""A teacher as a part of an objective: the frozen model from which a run started, guided or not.

A checkpoint holds the weights of the teacher, so that a run that is resumed does not need its source.
"""

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from gendi.diffusion.conditions import Conditions
from gendi.diffusion.gaussian.denoiser import Denoiser
from gendi.diffusion.gaussian.guidance import ClassifierFree
from gendi.diffusion.gaussian.objectives.base import Setting
from gendi.diffusion.gaussian.process import Batch
from gendi.diffusion.gaussian.schedule import Schedule
from gendi.errors import BundleError, UsageError


class Teacher:
    """The frozen denoiser of a setting, with the guidance of its options.

    Args:
        setting: see `Setting`.
        schedule: the schedule of the process.

    Raises:
        UsageError: the run does not start from weights, or the teacher cannot be guided.
    """

    group: ClassVar[str] = "teacher"

    def __init__(self, setting: Setting, schedule: Schedule) -> None:
        options = setting.options
        if setting.teacher is None:
            raise UsageError(
                f"objective.loss = {options.loss!r} with these options learns from a teacher, and this run starts with "
                "new weights: give the teacher by --from, or use gendi distil."
            )
        if options.distil.guidance != 1 and not setting.optional:
            raise UsageError(
                f"objective.distil.guidance = {options.distil.guidance:g}: the teacher cannot be guided, because it "
                "has no condition that it was trained without too. Leave it at 1."
            )
        self.denoiser, self.scale = setting.teacher(schedule), options.distil.guidance
        self.rule = None if self.scale == 1 else ClassifierFree(self.denoiser, self.scale, names=setting.optional)

    @property
    def guided(self) -> Denoiser:
        """The denoiser with its guidance, if it has any."""
        return self.denoiser if self.rule is None else self.rule

    @torch.no_grad()
    def __call__(self, x_t: Batch, t: Tensor, cond: Conditions | None) -> Batch:
        """Return E[x_0 | x_t] with guidance."""
        return self.guided(x_t, t, **(cond or {}))

    @torch.no_grad()
    def push(self, x_t: Batch, t: Tensor, cond: Conditions | None) -> Batch:
        """Return by how much guidance moves E[x_0 | x_t], of x_t's shape; 0 in rows whose conditions are all null."""
        if self.rule is None:
            return torch.zeros_like(x_t)
        given = dict(cond or {})
        answer, first = self.rule.parts(x_t, t, given)
        # The first of the two answers is the plain one, but a scale of 0 computes the null case alone.
        plain = first if self.scale else self.denoiser(x_t, t, **given)
        return answer.x_0 - plain

    def become(self, weights: Mapping[str, Tensor]) -> None:
        """Take these weights, of a student that has the guidance built in."""
        self.denoiser.network.load_state_dict(dict(weights))
        self.rule = None

    def tensors(self) -> dict[str, Tensor]:
        """Return the weights, for a checkpoint."""
        return {name: tensor.detach().clone() for name, tensor in self.denoiser.network.state_dict().items()}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Restore what `tensors` returned. Raises `BundleError` naming a tensor that is missing or of another shape."""
        for name, mine in self.denoiser.network.state_dict().items():
            if name not in tensors or tensors[name].shape != mine.shape:
                raise BundleError(f"The checkpoint's teacher needs {name!r} of shape {tuple(mine.shape)}.")
        self.denoiser.network.load_state_dict(dict(tensors))
