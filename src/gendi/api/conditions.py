"""Requested conditions, from the words of the command line to values.

`gendi.diffusion.conditions.requested_conditions` makes tensors of the values.

    class     a name or a number; several with commas are drawn in turn          class=three   class=0,1,2
    value     a number; several with commas are drawn in turn                    dose=0.5
    tags      names with commas                                                  tags=round,red
    vector    numbers with commas                                                place=0.1,-2
    image     a picture's file                                                   image=face.png

The word none stands for the null condition: the model is given nothing. The samples' files keep the words unchanged,
so that --again can read them.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gendi.data.images.pixels import BadImageError, decode, read_size
from gendi.diffusion.config import ConditionConfig
from gendi.errors import DataError, Mend, UsageError, unknown_name
from gendi.storage.plain import as_unicode


@dataclass(frozen=True)
class Words:
    """The value of a condition as it is written on the command line; it is read when the model is known."""

    text: str


def as_words(texts: Mapping[str, str]) -> dict[str, Words]:
    """Return the conditions that texts by name stand for."""
    return {name: Words(text) for name, text in texts.items()}


def as_texts(condition: Mapping[str, Any]) -> dict[str, str]:
    """Return conditions as they are written in a file. Raises `UsageError` for values that are not words."""
    for name, value in condition.items():
        if not isinstance(value, Words):
            raise UsageError(
                f"the condition {name} was given as a value from Python, which a file of samples cannot record in "
                "words."
            )
    return {name: value.text for name, value in condition.items()}


def read_conditions(
    specs: Sequence[ConditionConfig],
    condition: Mapping[str, Any],
    indices: range,
    per_class: int | None = None,
    *,
    in_turn: bool = True,
) -> dict[str, Any]:
    """Return the values of the samples of some numbers, by the name of the condition; values that are not `Words` are
    returned as they are.

    Args:
        specs: the conditions that the model knows.
        per_class: samples of a value before the next one's, where several are requested; one by default. Where the
            condition `class` is requested, only its values come in such blocks.
        in_turn: whether several classes or numbers may be requested.

    Raises:
        UsageError: words for a condition that the model does not know, or that are no value of it, or several values
            where there is room for one.
        DataError: a picture that cannot be read.
    """
    found: dict[str, Any] = {}
    blocks = ("class",) if "class" in condition else tuple(condition)
    for name, value in condition.items():
        if not isinstance(value, Words):
            found[name] = value
        elif in_turn:
            rows, each = _read(_spec(specs, name), value.text), (per_class or 1) if name in blocks else 1
            found[name] = [rows[i // each % len(rows)] for i in indices] if isinstance(rows, tuple) else rows
        else:
            found[name] = read_one(specs, name, value)
    return found


def in_blocks(specs: Sequence[ConditionConfig], condition: Mapping[str, Words], per_class: int) -> int:
    """Return how many samples have `per_class` of each requested class or number, or of each pair of these.

    Several conditions go through their values together, until each combination that comes up has had its block.

    Raises:
        UsageError: as `read_conditions`, and where no condition has values that are taken in turn.
    """
    blocks = ("class",) if "class" in condition else tuple(condition)
    rows = [_read(_spec(specs, name), condition[name].text) for name in blocks]
    values = [len(found) for found in rows if isinstance(found, tuple)]
    if not values:
        raise UsageError(
            "--per-class needs --class A,B or --condition NAME=A,B, and none of these conditions has values to take "
            "in turn: say how many samples with --n."
        ).mended_by(Mend(drop=("--per-class",)))
    return per_class * math.lcm(*values)


def read_one(specs: Sequence[ConditionConfig], name: str, value: Any) -> Any:
    """Return the one value for all samples that `value` stands for. Raises as `read_conditions`."""
    if not isinstance(value, Words):
        return value
    rows = _read(_spec(specs, name), value.text)
    if isinstance(rows, tuple):
        if len(rows) > 1:
            raise UsageError(f"{name} = {value.text} stands for {len(rows)} values, and there is room for one.")
        return rows[0]
    return rows


def _spec(specs: Sequence[ConditionConfig], name: str) -> ConditionConfig:
    for spec in specs:
        if spec.name == name:
            return spec
    if not specs:
        why = " Its data had no classes, which are the subfolders of a folder of pictures." if name == "class" else ""
        error = UsageError(f"--{name} was requested, but this model was trained without conditions.{why}")
        raise error.mended_by(
            Mend(drop=("--class", "--guidance") if name == "class" else ("--condition", "--guidance"))
        )
    raise unknown_name("condition", name, [spec.name for spec in specs])


def _read(spec: ConditionConfig, text: str) -> Any:
    """Return a tuple of values to be taken in turn, or one value for all samples."""
    if text == "none" and text not in spec.names:
        return None
    words = words_of(text, spec.names)
    match spec.kind:
        case "class":
            return tuple(words)
        case "tags":
            return words if all(word in spec.names for word in words) or not spec.names else _refuse(spec, words)
        case "value":
            return tuple(_number(spec, word) for word in words)
        case "vector":
            return [_number(spec, word) for word in words]
    return _picture(spec, Path(text))


def words_of(text: str, names: Sequence[str]) -> list[str]:
    """Return the words of `text` between its commas; those that are one of `names` only together stay together.

    Bytes of the command line that the locale did not decode are read as UTF-8, as names of folders are.
    """
    parts, words = as_unicode(text).split(","), list[str]()
    longest = 1 + max((name.count(",") for name in names), default=0)
    while parts:
        n = next((n for n in range(min(longest, len(parts)), 1, -1) if ",".join(parts[:n]) in names), 1)
        words.append(",".join(parts[:n]))
        parts = parts[n:]
    return words


def _refuse(spec: ConditionConfig, words: Sequence[str]) -> Any:
    raise unknown_name(f"tag of {spec.name}", next(word for word in words if word not in spec.names), spec.names)


def _number(spec: ConditionConfig, word: str) -> float:
    try:
        return float(word)
    except ValueError:
        raise UsageError(f"{spec.name} = {word!r} is no number.") from None


def _picture(spec: ConditionConfig, path: Path) -> NDArray[np.uint8]:
    """Return a picture's bytes (H, W, 1 or 3), read as training reads them."""
    if spec.size not in (1, 3):
        raise UsageError(f"{spec.name} has {spec.size} channels, which no picture's file has: use gendi.sample.")
    try:
        height, width, _ = read_size(path)
        return decode(path, height, width, grey=spec.size == 1)
    except (BadImageError, OSError) as error:
        raise DataError(f"{path} could not be read as a picture: {error}.") from None
