"""The conditions that a denoiser is given: tensors by name, with one row per sample.

    class     (B,) int64              one of K classes
    tags      (B, K) float            which of K tags apply, 0 or 1 each
    value     (B,) float              a number, which the network standardises
    vector    (B, K) float            K numbers
    image     (B, C, H, W) float      a picture in [-1, 1]

A row may be null, which means that the sample does not have this condition. Null is -1 in a tensor of whole numbers and
a row of NaN in a tensor of floats, whatever the kind; a condition that is absent is null for every sample. Code that
knows nothing of a condition's kind can therefore drop, compare and join rows. The network learns one embedding for the
null of each condition.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool
from numpy.typing import NDArray
from torch import Tensor

from gendi.diffusion.config import ConditionConfig
from gendi.errors import UsageError, unknown_name

Conditions = Mapping[str, Tensor]
"""Conditions by name, each with one row per sample."""
DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
"""Words for classes whose names are digits."""


def null_like(value: Tensor) -> Tensor:
    """Return a null condition of value's shape and dtype."""
    return torch.full_like(value, torch.nan if value.is_floating_point() else -1)


def is_null(value: Tensor) -> Bool[Tensor, " batch"]:
    """Return which rows of a condition are null, (B,)."""
    rows = value.reshape(len(value), -1)
    return rows.isnan().all(1) if value.is_floating_point() else (rows < 0).all(1)


def drop(value: Tensor, dropped: Bool[Tensor, " batch"]) -> Tensor:
    """Return a condition whose `dropped` rows are null."""
    return torch.where(dropped.reshape([len(value)] + [1] * (value.ndim - 1)), null_like(value), value)


def as_keyword(name: str) -> str:
    """Return the keyword by which the call of a torch module takes the condition `name`: the name, but for "self".

    A column of data may be called `self`, and `torch.nn.Module` keeps that keyword for itself. A space follows it then.
    """
    return f"{name} " if name.rstrip(" ") == "self" else name


def keywords(cond: Conditions) -> dict[str, Tensor]:
    """Return conditions by the keywords by which the call of a torch module takes them."""
    return {as_keyword(name): value for name, value in cond.items()}


def by_name(given: Conditions) -> dict[str, Tensor]:
    """Return by name the conditions that a torch module was given by `keywords`."""
    return {name[:-1] if name.rstrip(" ") == "self" and name != "self" else name: v for name, v in given.items()}


def take(cond: Conditions | None, rows: slice, device: torch.device | str = "cpu") -> dict[str, Tensor]:
    """Return the conditions of the samples in `rows`, on `device`."""
    return {name: value[rows].to(device) for name, value in (cond or {}).items()}


def take_rows(cond: Conditions, rows: Tensor) -> dict[str, Tensor]:
    """Return the conditions of some rows."""
    return {name: value[rows] for name, value in cond.items()}


def to_tensor(spec: ConditionConfig, array: NDArray[Any]) -> Tensor:
    """Return a condition's rows as the network sees them; the bytes of pictures (N, H, W, C) are scaled to [-1, 1]."""
    if spec.kind == "class":
        return torch.from_numpy(np.ascontiguousarray(array, np.int64))
    if spec.kind == "image" and array.dtype == np.uint8:
        return torch.from_numpy(np.ascontiguousarray(array.transpose(0, 3, 1, 2))).float().div_(127.5).sub_(1)
    return torch.from_numpy(np.ascontiguousarray(array, np.float32))


def requested_conditions(
    specs: Sequence[ConditionConfig], requested: Mapping[str, Any] | None, n: int, first_index: int = 0
) -> dict[str, Tensor]:
    """Return the conditions of n samples as tensors, from the values that a person requested.

    A condition that is not requested is left out, which means null. If none is requested, each condition of the kind
    `class` goes through its classes in turn, and the sample with index `first_index` comes first.

    Args:
        specs: the conditions that the model knows.
        requested: by name, one value for all samples or a list of n values. A value is a class or a tag by its number
            or name, a number, numbers (K,), or a picture of bytes (H, W, C); None is null.
        n: number of samples.
        first_index: index of the first sample.

    Raises:
        UsageError: a condition the model does not know, or a value that does not fit it.
    """
    known = {spec.name: spec for spec in specs}
    if not requested:
        turn = torch.arange(first_index, first_index + n)
        return {name: turn % spec.size for name, spec in known.items() if spec.kind == "class"}
    for name in requested:
        if not known:
            raise UsageError(f"{name!r} was asked for, but this model was trained without conditions.")
        if name not in known:
            raise unknown_name("condition", name, list(known))
    return {name: _rows(known[name], value, n) for name, value in requested.items() if value is not None}


def _rows(spec: ConditionConfig, value: Any, n: int) -> Tensor:
    match spec.kind:
        case "class":
            return _classes(spec, value, n)
        case "tags":
            return _tags(spec, value, n)
        case "value":
            return _numbers(spec, value, n, ())
        case "vector":
            return _numbers(spec, value, n, (spec.size,))
    picture = np.asarray(value)
    if picture.dtype != np.uint8 or picture.ndim not in (3, 4) or picture.shape[-1] != spec.size:
        raise UsageError(
            f"{spec.name} must be bytes (H, W, {spec.size}) or (n, H, W, {spec.size}); got {picture.dtype} of shape "
            f"{picture.shape}."
        )
    return _repeat(spec, to_tensor(spec, picture if picture.ndim == 4 else picture[None]), n)


def _classes(spec: ConditionConfig, value: Any, n: int) -> Tensor:
    several = isinstance(value, Sequence | np.ndarray | Tensor) and not isinstance(value, str) and np.ndim(value) == 1
    numbers = torch.tensor([_class(spec, item) for item in (value if several else [value])])
    return _repeat(spec, numbers, n)


def _class(spec: ConditionConfig, value: Any) -> int:
    """Return the number of the class that a name or a number stands for; -1 is null."""
    if isinstance(value, str):
        digit = str(DIGITS.index(value.lower())) if value.lower() in DIGITS else None
        for name in (value, digit):
            if name in spec.names:
                return spec.names.index(name)
        if not value.isdecimal() and spec.names:
            raise unknown_name(spec.name, value, spec.names)
    try:
        number = int(value)
    except (TypeError, ValueError):
        number = -2
    if number != (float(value) if isinstance(value, float) else number) or not -1 <= number < spec.size:
        raise UsageError(f"{spec.name} = {value!r} is out of range: the model knows the classes 0 to {spec.size - 1}.")
    return number


def _tags(spec: ConditionConfig, value: Any, n: int) -> Tensor:
    words = [value] if isinstance(value, str) else value
    if isinstance(words, Sequence) and all(isinstance(word, str) for word in words):
        row = torch.zeros(1, spec.size)
        for word in words:
            if word not in spec.names:
                raise unknown_name(f"tag of {spec.name}", word, spec.names)
            row[0, spec.names.index(word)] = 1
        return _repeat(spec, row, n)
    return _numbers(spec, value, n, (spec.size,))


def _numbers(spec: ConditionConfig, value: Any, n: int, shape: tuple[int, ...]) -> Tensor:
    try:
        numbers = torch.as_tensor(value, dtype=torch.float32)
    except (TypeError, ValueError, RuntimeError):
        raise UsageError(f"{spec.name} = {value!r} is no number, and no array of numbers.") from None
    if numbers.shape == shape:
        numbers = numbers[None]
    if numbers.shape[1:] != shape or not numbers.ndim:
        raise UsageError(f"{spec.name} must have shape {shape} or {(n, *shape)}; got {tuple(numbers.shape)}.")
    if bool(numbers.isinf().any()):
        raise UsageError(f"{spec.name} contains infinity.")
    return _repeat(spec, numbers, n)


def _repeat(spec: ConditionConfig, rows: Tensor, n: int) -> Tensor:
    if len(rows) not in (1, n):
        raise UsageError(f"{spec.name} has {len(rows)} values for {n} samples: give one, or one each.")
    return rows.expand(n, *rows.shape[1:]) if len(rows) != n else rows
