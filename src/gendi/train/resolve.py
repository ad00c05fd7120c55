"""What a run takes from its data: the conditions that it leaves to them, and the scale of their rows in model space."""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import torch

from gendi.data import Data
from gendi.data.told import derived_condition, stored
from gendi.diffusion.config import ConditionConfig
from gendi.errors import DataError, UsageError, unknown_name
from gendi.train.config import RunConfig

RMS_IMAGES = 4096


def resolve(config: RunConfig, data: Data) -> RunConfig:
    """Return `config` with the conditions that it leaves to the data filled in, and checked against them.

    Raises:
        UsageError: the data have not what a condition needs.
        DataError: they have classes that the condition has not.
    """
    known = {spec.name: spec for spec in data.conditions}
    found = []
    for asked in config.conditions:
        there = known.get(asked.name) or derived_condition(asked.name, data.codec if data.kind == "image" else None)
        if there is None and asked.required:
            raise _no_such_condition(asked.name, data)
        if there is not None:
            found.append(_filled(asked, there, data))
    config = dataclasses.replace(config, conditions=tuple(found))
    config.validate()
    return config


def _no_such_condition(name: str, data: Data) -> UsageError:
    if name in data.left_out:
        return UsageError(f"{data.name} has {name!r}, but no condition can be made of it: {data.left_out[name]}.")
    pictures = data.kind == "image"
    if data.conditions or not pictures:
        names = [*(spec.name for spec in data.conditions), *["low-res:F"] * pictures]
        return unknown_name(f"condition of {data.name}", name, names)
    return UsageError(
        f"the condition {name!r} is asked for, but {data.name} has no conditions (but for low-res:F): sort the images "
        "into subfolders, one for each class, or put a table conditions.csv beside them."
    )


def _filled(asked: ConditionConfig, there: ConditionConfig, data: Data) -> ConditionConfig:
    if asked.size < 0:
        via = there.via if asked.via == "embedding" else asked.via
        return dataclasses.replace(there, dropout=asked.dropout, via=via, required=asked.required)
    if (asked.kind, there.kind) == ("class", "class") and there.size > asked.size:
        worst, most = int(data.train.conditions[asked.name].max()), asked.size - 1
        raise DataError(f"{data.name} has the {asked.name} {worst}; its size = {asked.size} admits 0 to {most}.")
    if asked.kind != there.kind or (there.size != asked.size and asked.kind != "class"):
        raise UsageError(
            f"the condition {asked.name} is asked for as {asked.kind} of size {asked.size}; {data.name} has it as "
            f"{there.kind} of size {there.size}."
        )
    same = asked.size == there.size and not asked.names
    return dataclasses.replace(asked, names=there.names) if same else asked


def root_mean_square(data: Data, specs: Sequence[ConditionConfig] = ()) -> float:
    """Return the root mean square of the training rows in model space, from at most 4096 of them evenly spaced."""
    rows = np.unique(np.linspace(0, len(data.train) - 1, RMS_IMAGES).round().astype(np.int64))
    total = 0.0
    for part in np.array_split(rows, max(1, len(rows) // 256)):
        told = stored(specs, data.train, part) if data.kind != "image" else {}
        x_0 = data.encode(torch.from_numpy(data.train.batch(part)), told, torch.from_numpy(part))
        total += float(x_0.double().square().mean()) * len(part)
    return max(1e-3, math.sqrt(total / len(rows)))
