"""What samples were asked for, from the words of `SampleSettings` to values: conditions, and the settings of guidance.

    class     a name or a number; several with commas are drawn in turn          class=three   class=0,1,2
    value     a number; several with commas are drawn in turn                    dose=0.5
    tags      names with commas                                                  tags=round,red
    vector    numbers with commas                                                place=0.1,-2
    image     a picture's file                                                   image=face.png

none is null: not told. The words are kept in the samples as they are, so that --again reads them again.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gendi.api.guidance import known_conditions
from gendi.api.samples_io import SampleSettings
from gendi.data.images.pixels import BadImageError, decode, measure
from gendi.diffusion.config import ConditionConfig
from gendi.diffusion.gaussian.guidance import Guidance
from gendi.errors import DataError, UsageError, unknown_name
from gendi.train.bundle import Bundle
from gendi.train.classifier_bundle import load_classifier


def asked(bundle: Bundle, settings: SampleSettings) -> tuple[dict[str, Any], Guidance | None]:
    """Return the conditions of `settings.n` samples from `settings.first` on, and the guidance, for `gendi.sample`.

    Raises as `read_asked` does.
    """
    indices = range(settings.first, settings.first + settings.n)
    return read_asked(bundle, settings.condition, settings.guidance, indices, settings.per_class)


def read_asked(
    bundle: Bundle,
    condition: Mapping[str, str],
    guides: Mapping[str, Any],
    indices: range,
    per_class: int | None = None,
    one: bool = False,
) -> tuple[dict[str, Any], Guidance | None]:
    """Return the conditions of the samples of some numbers, and the guidance, from the words and fields that
    `SampleSettings` has.

    Raises:
        UsageError: a condition that the model does not know, or words that are no value of it, or with `one` several.
        DataError: a picture that cannot be read.
    """
    guidance = None
    if guides:
        given = dict(guides)
        if given.get("interval") is not None:
            given["interval"] = tuple(given["interval"])
        if given.get("classifier") is not None:
            given["classifier"] = load_classifier(given["classifier"])
        guidance = Guidance(**given)
    specs = known_conditions(bundle, guidance)
    told = {}
    for name, text in condition.items():
        spec, each = _spec(specs, name), per_class if name == "class" else None
        rows = _one(spec, text) if one else _read(spec, text)
        told[name] = [rows[i // (each or 1) % len(rows)] for i in indices] if isinstance(rows, tuple) else rows
    if guidance is not None and guidance.negative:
        away = {name: _one(_spec(specs, name), text) for name, text in guidance.negative.items()}
        guidance = Guidance(**{**vars(guidance), "negative": away})
    return told, guidance


def _spec(specs: Sequence[ConditionConfig], name: str) -> ConditionConfig:
    for spec in specs:
        if spec.name == name:
            return spec
    if not specs:
        raise UsageError(f"--{name} was asked for, but this model was trained without conditions.")
    raise unknown_name("condition", name, [spec.name for spec in specs])


def _one(spec: ConditionConfig, text: str) -> Any:
    """Return the one value for all samples that `text` stands for. Raises `UsageError` for several."""
    rows = _read(spec, text)
    if isinstance(rows, tuple):
        if len(rows) > 1:
            raise UsageError(f"{spec.name} = {text} stands for {len(rows)} values, and there is room for one.")
        return rows[0]
    return rows


def _read(spec: ConditionConfig, text: str) -> Any:
    """Return a tuple of values to be taken in turn, or one value for all samples."""
    if text == "none" and text not in spec.names:
        return None
    words = [text] if text in spec.names else text.split(",")
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
        height, width, _ = measure(path)
        return decode(path, height, width, grey=spec.size == 1)
    except (BadImageError, OSError) as error:
        raise DataError(f"{path} could not be read as a picture: {error}.") from None
