"""Numbers that a student's network is told beside the time, as conditions that no data set can have.

    ANGLE        where a flow map is: arctan(sigma / alpha), in quarter turns                        [0, 1]
    TO_GO        how far it is to go: the angle between the two times, in quarter turns              [0, 1]
    SCALE        the scale of guidance, drawn in training between two ends
    CALL         of a critic: from where the sample came, as the angle of the time of its call               [0, 1]

They enter as values do (`conditions.py`), beside the embedding of the time, and start without any effect: the last
layer of each, and the row that stands for its absence, are zero. So a student that starts from its teacher's weights
starts as its teacher. Their names contain spaces, which a condition of data cannot have.
"""

from collections.abc import Sequence

import torch
from torch import nn

from gendi.diffusion.config import ConditionConfig
from gendi.diffusion.networks.conditions import ConditionEmbedding, RowEmbedding
from gendi.diffusion.networks.embeddings import zero
from gendi.errors import UsageError

ANGLE, TO_GO, SCALE, CALL = "angle of the time", "angle to go", "guidance scale", "angle of the call"
WIDTH = 4.0
"""The standard deviation by which an angle is divided, so that the quickest of its sinusoids turns once."""


def of_a_flow_map() -> tuple[ConditionConfig, ...]:
    """Return the conditions that tell a flow map where it is and how far it is to go."""
    return tuple(ConditionConfig(name, "value", 1, dropout=0.0, std=WIDTH) for name in (ANGLE, TO_GO))


def scale(low: float, high: float) -> ConditionConfig:
    """Return the condition that tells a network a scale of guidance between `low` and `high`, low < high."""
    return ConditionConfig(SCALE, "value", 1, dropout=0.0, mean=(low + high) / 2, std=high - low)


def call() -> ConditionConfig:
    """Return the condition that tells a critic from which call of the student a sample came."""
    return ConditionConfig(CALL, "value", 1, dropout=0.0, mean=0.5, std=0.5)


def without_effect(network: nn.Module, told: Sequence[ConditionConfig]) -> None:
    """Let the numbers that a network is told have no effect, in place.

    Raises `UsageError` for a network that does not embed its conditions by `ConditionEmbedding`.
    """
    found = 0
    for module in network.modules():
        for spec, each in zip(module.specs, module.each, strict=True) if isinstance(module, ConditionEmbedding) else ():
            if spec in told and isinstance(each, RowEmbedding):
                assert isinstance(each.body, nn.Sequential)
                zero(each.body[-1])
                torch.nn.init.zeros_(each.null)
                found += 1
    if found < len(told):
        raise UsageError(
            f"the network is to be told its {' and its '.join(spec.name for spec in told)}, which must have no effect "
            "at first, and this network does not embed conditions by gendi's ConditionEmbedding: it can have no "
            "student that is told them."
        )
