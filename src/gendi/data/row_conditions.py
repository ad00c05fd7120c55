"""The conditions of some rows: those that the data hold, and those that are computed from the rows themselves.

Computed conditions take no memory in the data set: they are made from the encoded rows of a batch, after augmentation.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gendi.data.dataset import Data
from gendi.data.kinds import kind_of
from gendi.data.split import Split
from gendi.diffusion.conditions import to_tensor
from gendi.diffusion.config import ConditionConfig


def raw(specs: Sequence[ConditionConfig], split: Split, rows: NDArray[np.integer[Any]]) -> dict[str, Tensor]:
    """Return by name the conditions that the data hold for `rows`, in the raw form that the data have."""
    held = {spec.name: split.conditions[spec.name] for spec in specs if spec.name in split.conditions}
    return {name: torch.from_numpy(np.ascontiguousarray(array[rows])) for name, array in held.items()}


def as_seen(
    specs: Sequence[ConditionConfig], cond: Mapping[str, Tensor], device: torch.device | str = "cpu"
) -> dict[str, Tensor]:
    """Return raw conditions in the form that a network takes (`gendi.diffusion.conditions`), on `device`."""
    held = [spec for spec in specs if spec.name in cond]
    return {spec.name: to_tensor(spec, cond[spec.name].numpy()).to(device) for spec in held}


def stored(
    specs: Sequence[ConditionConfig], split: Split, rows: NDArray[np.integer[Any]], device: torch.device | str = "cpu"
) -> dict[str, Tensor]:
    """Return by name the conditions that the data hold for `rows`, in the form that a network takes, on `device`."""
    return as_seen(specs, raw(specs, split, rows), device)


def derived(data: Data, specs: Sequence[ConditionConfig], x_0: Tensor) -> dict[str, Tensor]:
    """Return by name the conditions that are computed from the encoded rows x_0."""
    return kind_of(data.kind).derived(specs, x_0)
