"""What a run takes from its data: details of the conditions, and the scale of the rows in model space."""

import dataclasses
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gendi.data import Data
from gendi.data.codec import Codec
from gendi.data.kinds import KINDS, kind_of
from gendi.data.prepare import prepare
from gendi.data.row_conditions import stored
from gendi.diffusion.config import ConditionConfig
from gendi.diffusion.discrete.config import TokensConfig
from gendi.diffusion.networks.byte_posterior import BytePosterior
from gendi.errors import DataError, UsageError, unknown_name
from gendi.train.config import RunConfig
from gendi.train.step.smoothing import by_rows

RMS_ROWS = 4096
MOST_DIMENSIONS = 2048
"""The most numbers in a row whose covariance is looked through for narrow directions."""
NO_WIDTH = 1e-5
"""The standard deviation below which a direction counts as constant."""


def resolve(config: RunConfig, data: Data) -> RunConfig:
    """Return `config` with its conditions checked against the data, and filled in from the data where they are open.

    Raises:
        UsageError: the data lack a condition, or have it in another form.
        DataError: the data have classes that the condition does not have.
    """
    known = {spec.name: spec for spec in data.conditions}
    found = []
    for requested in config.conditions:
        there = known.get(requested.name) or _derived(requested.name, data)
        if there is None and requested.required:
            raise _no_such_condition(requested.name, data)
        if there is not None:
            found.append(_filled(requested, there, data))
    smoothing = by_rows(config.train.smoothing, data)
    if smoothing != config.train.smoothing:
        config = dataclasses.replace(config, train=dataclasses.replace(config.train, smoothing=smoothing))
    config = dataclasses.replace(config, conditions=tuple(found), tokens=_tokens(config, data))
    config.validate()
    return config


def grouped(config: RunConfig, data: Data, before: Codec | None = None, own: bool = False) -> tuple[RunConfig, Data]:
    """Return the configuration and raw data with the conditions that the kind of data finds by itself.

    `before` and `own` are those of `gendi.data.kind.Kind.grouped`.
    """
    options = config.options_of(data.kind)
    found = kind_of(data.kind).grouped(data, config.conditions, config.train.seed, options, before, own)
    known = {spec.name for spec in (*data.conditions, *config.conditions)}
    more = tuple(ConditionConfig(spec.name) for spec in found.conditions if spec.name not in known)
    return dataclasses.replace(config, conditions=(*config.conditions, *more)), found


def _tokens(config: RunConfig, data: Data) -> TokensConfig:
    """Return the options of tokens with the number of different ones that the data have.

    Raises `UsageError` if the data are tokens and the configuration is for numbers, or the other way about.
    """
    own, there = config.tokens, None if data.codec is None else data.codec.tokens
    if (there is None) == own.used:
        what = "numbers" if there is None else "tokens"
        wanted = "'none'" if there is None else "'absorbing' or 'uniform'"
        raise UsageError(
            f"{data.name} is made of {what}, and tokens.process = {own.process!r}: it must be {wanted}. The preset "
            f"{kind_of(data.kind).preset} suits such data."
        )
    if there is None:
        return own
    if own.vocabulary not in (0, there):
        raise UsageError(f"tokens.vocabulary = {own.vocabulary}, and {data.name} has {there} different tokens.")
    return dataclasses.replace(own, vocabulary=there)


def prepared(config: RunConfig, data: Data, folder: Path | None = None) -> Data:
    """Return data with a codec that is fitted as a resolved configuration says; see `gendi.data.prepare.prepare`."""
    options = config.options_of(data.kind)
    train = config.train
    augmentation: dict[str, Any] = {"flip": train.flip, "crop": train.crop}
    return prepare(data, config.conditions, seed=train.seed, options=options, folder=folder, **augmentation)


def _derived(name: str, data: Data) -> ConditionConfig | None:
    """Return the condition `name` if it is one that is computed from the rows, else None.

    Raises `UsageError` if it cannot be computed, or is a condition of another kind of data.
    """
    own = kind_of(data.kind)
    found = own.derived_condition(name, data.codec)
    for other in (KINDS[each] for each in KINDS.at_hand() if found is None and each != own.name):
        if any(name.partition(":")[0] == known.partition(":")[0] for known in other.derived_names):
            raise UsageError(f"the condition {name!r} is for {other.title}.")
    return found


def _no_such_condition(name: str, data: Data) -> UsageError:
    if name in data.left_out:
        return UsageError(f"{data.name} has {name!r}, but no condition can be made of it: {data.left_out[name]}.")
    kind = kind_of(data.kind)
    if data.conditions or not kind.without_conditions:
        names = [*(spec.name for spec in data.conditions), *kind.derived_names]
        return unknown_name(f"condition of {data.name}", name, names)
    return UsageError(
        f"the condition {name!r} is requested, but {data.name} has no conditions {kind.without_conditions}."
    )


def _filled(requested: ConditionConfig, there: ConditionConfig, data: Data) -> ConditionConfig:
    name, kind, size = requested.name, requested.kind, requested.size
    if size < 0:
        via = there.via if requested.via == "embedding" else requested.via
        return dataclasses.replace(there, dropout=requested.dropout, via=via, required=requested.required)
    if (kind, there.kind) == ("class", "class") and there.size > size:
        worst, most = int(data.train.conditions[name].max()), size - 1
        raise DataError(f"{data.name} has the {name} {worst}; its size = {size} admits 0 to {most}.")
    if kind != there.kind or (there.size != size and kind != "class"):
        raise UsageError(
            f"the condition {name} is requested as {kind} of size {size}; {data.name} has it as {there.kind} of size "
            f"{there.size}."
        )
    same = size == there.size and not requested.names
    return dataclasses.replace(requested, names=there.names) if same else requested


def root_mean_square(data: Data, specs: Sequence[ConditionConfig] = ()) -> float:
    """Return the root mean square of the training rows in model space, from at most 4096 evenly spaced rows.

    It is 1 for tokens, which have no size.
    """
    if data.fitted.tokens is not None:
        return 1.0
    total, count = 0.0, 0
    for x_0 in _encoded(data, specs):
        total += float(x_0.double().square().mean()) * len(x_0)
        count += len(x_0)
    return max(1e-3, math.sqrt(total / count))


def count_bytes(network: nn.Module, data: Data, specs: Sequence[ConditionConfig] = ()) -> None:
    """Give a network whose output is `bytes` the histograms of at most 4096 evenly spaced training rows."""
    for module in network.modules():
        if isinstance(module, BytePosterior):
            module.count(torch.cat(list(_encoded(data, specs))))


def smallest_scale(data: Data, specs: Sequence[ConditionConfig] = ()) -> float | None:
    """Return the standard deviation of the narrowest direction of the training rows in model space.

    It is the root of the smallest eigenvalue of the covariance of at most 4096 evenly spaced rows; constant directions
    do not count. None for tokens; for data with levels, such as pictures, whose narrow directions nobody sees; for rows
    of more than 2048 numbers; and for fewer rows than numbers, whose covariance says nothing of the narrow directions.
    """
    codec = data.fitted
    dimensions = math.prod(codec.shape)
    if (
        codec.half_bin is not None
        or codec.tokens is not None
        or dimensions > MOST_DIMENSIONS
        or len(data.train) <= dimensions
    ):
        return None
    rows = torch.cat([x_0.double().flatten(1) for x_0 in _encoded(data, specs)])
    widths = torch.linalg.eigvalsh(rows.T.cov().reshape(dimensions, dimensions)).clamp(min=0).sqrt().reshape(-1)
    return next((width for width in widths.tolist() if width > NO_WIDTH), None)


def training_rows(data: Data, specs: Sequence[ConditionConfig] = ()) -> Tensor:
    """Return at most 4096 evenly spaced training rows in model space (N, ...)."""
    return torch.cat(list(_encoded(data, specs)))


def _encoded(data: Data, specs: Sequence[ConditionConfig]) -> Iterator[Tensor]:
    """Yield training rows in model space, at most 4096 evenly spaced ones, some hundreds at a time."""
    rows = np.unique(np.linspace(0, len(data.train) - 1, RMS_ROWS).round().astype(np.int64))
    for part in np.array_split(rows, max(1, len(rows) // 256)):
        cond = stored(specs, data.train, part)
        yield data.encode(torch.from_numpy(data.train.batch(part)), cond, torch.from_numpy(part))
