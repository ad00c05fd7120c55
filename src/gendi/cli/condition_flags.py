"""The flags for conditions and for guidance, which sample, evaluate and the edits share."""

from dataclasses import dataclass
from typing import Annotated, Any

import tyro

from gendi.cli.parse import Folder, Number, Text, named, shows, spec
from gendi.cli.values import read_pair, read_scale
from gendi.errors import Mend, UsageError

GUIDANCE = (
    "guidance",
    *("guidance_nested", "guidance_interval", "guidance_rescale", "guidance_threshold"),
    *("negative", "bad_model", "classifier"),
)


@dataclass(frozen=True)
class ConditionFlags:
    """The requested conditions, and how strongly to guide towards them."""

    class_: Annotated[Text, tyro.conf.arg(name="class", help_behavior_hint="(default: not requested)")] = None
    """Class to draw, by name or number; several with commas are drawn in turn. The model must have been trained with
    classes. Without any condition, sample draws every class in turn, and evaluate draws the classes of pictures as
    often as the training images have them.
    """
    condition: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """Another requested condition, NAME=VALUE; the flag may be repeated."""
    guidance: Annotated[str | None, spec("W", str), shows("the model's own, often none")] = None
    """How strongly to guide towards the conditions: 1 is no guidance, 0 ignores them, 2 to 3 are usual; or a scale for
    each, NAME=W,NAME=W."""
    guidance_nested: bool = False
    """With a scale for each condition: guide towards each condition given those before it, not towards each one alone.
    """
    guidance_interval: Annotated[tuple[float, float] | None, named("LOW HIGH", "(default: everywhere)")] = None
    """Guide only while sigma / alpha lies between these two, which is faster and gives more varied samples."""
    guidance_rescale: Annotated[Number, shows("0")] = None
    """How far, from 0 to 1, the contrast of the guided picture is brought back to that of the unguided one."""
    guidance_threshold: Annotated[Number, shows("none")] = None
    """Percentile of dynamic thresholding, as a share up to 1, for instance 0.995."""
    negative: Annotated[Text, shows("none")] = None
    """Class, or NAME=VALUE, that guidance moves away from, instead of from no condition."""
    bad_model: Annotated[Folder, shows("none")] = None
    """Folder of a smaller or earlier run that guidance moves away from (autoguidance)."""
    classifier: Annotated[Folder, shows("none")] = None
    """Folder that gendi train-classifier wrote; this classifier guides towards the class in place of the model."""

    def given(self) -> list[str]:
        """Return the flags that were given, as they are written."""
        return [flag(name) for name in ("class_", "condition", *GUIDANCE) if is_given(getattr(self, name))]

    def conditions(self) -> dict[str, str]:
        """Return the requested conditions, in words by name. Raises `UsageError` if one is given twice."""
        found = {} if self.class_ is None else {"class": self.class_}
        for word in self.condition:
            name, value = read_pair("--condition", word)
            if name in found:
                raise UsageError(f"--condition {word}: {name} was given twice.")
            found[name] = value
        return found

    def guidance_fields(self) -> dict[str, Any]:
        """Return the fields of `gendi.api.guidance.Guidance` that were given, none without --guidance.

        Raises `UsageError` for a scale that is no number, and for a flag that needs --guidance where it is missing.
        """
        if self.guidance is None:
            if extra := [flag(name) for name in GUIDANCE if is_given(getattr(self, name))]:
                error = UsageError(f"{extra[0]} needs --guidance W, the strength of guidance; 2 is usual.")
                raise error.mended_by(Mend(add=("--guidance", "2")))
            return {}
        found = read_scale(self.guidance)
        away = self.negative if self.negative is None or "=" in self.negative else f"class={self.negative}"
        flags = {
            "nested": self.guidance_nested or None,
            "interval": None if self.guidance_interval is None else list(self.guidance_interval),
            "rescale": self.guidance_rescale,
            "threshold": self.guidance_threshold,
            "negative": None if away is None else dict([read_pair("--negative", away)]),
            "bad": self.bad_model,
            "classifier": self.classifier,
        }
        return found | {name: value for name, value in flags.items() if value is not None}


def is_given(value: object) -> bool:
    """Return whether a flag was given: its value is not the empty default."""
    return not (value is None or value is False or value == ())


def flag(name: str) -> str:
    """Return how the flag of a field is written."""
    return f"--{name.rstrip('_').replace('_', '-')}"
