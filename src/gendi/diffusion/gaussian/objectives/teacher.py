"""A teacher as a part of an objective: the frozen model from which a run started, guided or not.

A checkpoint holds the weights of the teacher, so that a run that is resumed does not need its source.
"""

from collections.abc import Mapping
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gendi.diffusion.conditions import Conditions
from gendi.diffusion.gaussian.config import DistilConfig
from gendi.diffusion.gaussian.denoiser import Denoiser
from gendi.diffusion.gaussian.guidance import ClassifierFree
from gendi.diffusion.gaussian.objectives.base import Setting
from gendi.diffusion.gaussian.objectives.times import stratified
from gendi.diffusion.gaussian.process import Batch, like
from gendi.diffusion.gaussian.schedule import Schedule
from gendi.diffusion.networks.told import SCALE
from gendi.diffusion.randomness import stream
from gendi.errors import BundleError, UsageError

TWICE = 2.0
"""The scale at which guidance moves a mean by its distance from the unconditional one."""


def drawn_scales(
    options: DistilConfig, size: int, seed: int, step: int, device: torch.device | str
) -> Float[Tensor, " batch"] | None:
    """Return the scales of guidance that a batch is told, uniform between two ends; None if it is told none."""
    if not options.guidance_range:
        return None
    low, high = options.guidance_range
    return (low + (high - low) * stratified(stream(seed, "guidance", step), size)).float().to(device)


def teacher_of(setting: Setting, schedule: Schedule) -> "Teacher | None":
    """Return the teacher of a student that learns from data, and needs it for guidance alone; None without guidance."""
    options = setting.options.distil
    return Teacher(setting, schedule) if options.guidance != 1 or options.guidance_range else None


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
        scale, ends = options.distil.guidance, options.distil.guidance_range
        if (scale != 1 or ends) and not setting.optional:
            given = f"guidance_range = {ends}" if ends else f"guidance = {scale:g}"
            raise UsageError(
                f"objective.distil.{given}: the teacher cannot be guided, because it "
                "has no condition that it was trained without too. Leave it out."
            )
        self.denoiser, self.ends = setting.teacher(schedule), ends
        self.scale = TWICE if ends else scale
        self.rule = None if self.scale == 1 else ClassifierFree(self.denoiser, self.scale, names=setting.optional)

    @property
    def guided(self) -> Denoiser:
        """The denoiser with its guidance, if it has any."""
        return self.denoiser if self.rule is None else self.rule

    @torch.no_grad()
    def __call__(self, x_t: Batch, t: Tensor, cond: Conditions | None) -> Batch:
        """Return E[x_0 | x_t] with guidance; by the scale of each row if it is among the conditions."""
        given = dict(cond or {})
        if self.rule is not None and (told := given.pop(SCALE, None)) is not None:
            answer, plain = self.rule.parts(x_t, t, given)
            return plain + like(told - 1, x_t) * (answer.x_0 - plain)
        return self.guided(x_t, t, **given)

    @torch.no_grad()
    def push(self, x_t: Batch, t: Tensor, cond: Conditions | None) -> Batch:
        """Return by how much guidance moves E[x_0 | x_t], of x_t's shape; 0 in rows whose conditions are all null.

        If the student is told the scale w of each row, it is among the conditions. Guidance then moves by w - 1 times
        the distance of the conditional mean from the unconditional one.
        """
        if self.rule is None:
            return torch.zeros_like(x_t)
        given = dict(cond or {})
        told = given.pop(SCALE, None)
        if told is not None:
            answer, plain = self.rule.parts(x_t, t, given)
            return like(told - 1, x_t) * (answer.x_0 - plain)
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
        load_checked(self.denoiser.network, tensors, "teacher")


def load_checked(network: nn.Module, tensors: Mapping[str, Tensor], who: str) -> None:
    """Load the weights of the network `who` from a checkpoint.

    Raises `BundleError` naming a tensor that is missing or of another shape.
    """
    for name, mine in network.state_dict().items():
        if name not in tensors or tensors[name].shape != mine.shape:
            raise BundleError(f"The checkpoint's {who} needs {name!r} of shape {tuple(mine.shape)}.")
    network.load_state_dict(dict(tensors))
