"""The flags for conditions and for guidance to them, which sample, evaluate and the edits share."""

from dataclasses import dataclass
from typing import Annotated, Any

import tyro

from gendi.cli.parse import Folder, Number, Text, named, shows, spec
from gendi.cli.values import read_pair, read_scale
from gendi.errors import UsageError

GUIDANCE = (
    "guidance",
    *("guidance_nested", "guidance_interval", "guidance_rescale", "guidance_threshold"),
    *("negative", "bad_model", "classifier"),
)


@dataclass(frozen=True)
class ConditionFlags:
    """What to ask for, and how strongly to lead to it."""

    class_: Annotated[Text, tyro.conf.arg(name="class", help_behavior_hint="(default: not asked for)")] = None
    """Class, by name or number, or several with commas in turn, of a model that was trained with classes. Where nothing
    is asked for, sample and evaluate draw every class in turn.
    """
    condition: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """What else to ask for, NAME=VALUE; may be given again."""
    guidance: Annotated[str | None, spec("W", str), shows("none")] = None
    """How strongly to lead to what is asked for: 1 is no guidance, 0 ignores it, 2 to 3 are usual; or NAME=W,NAME=W."""
    guidance_nested: bool = False
    """With a scale each: tell every condition on top of those before it."""
    guidance_interval: Annotated[tuple[float, float] | None, named("LOW HIGH", "(default: everywhere)")] = None
    """Guide only where sigma / alpha lies between these: faster, and more varied."""
    guidance_rescale: Annotated[Number, shows("0")] = None
    """Share, 0 to 1, by which the guided picture's contrast is brought back to the unguided one's."""
    guidance_threshold: Annotated[Number, shows("none")] = None
    """Percentile, up to 1, of dynamic thresholding: 0.995."""
    negative: Annotated[Text, shows("none")] = None
    """Class, or NAME=VALUE, to be led away from, in the place of no condition."""
    bad_model: Annotated[Folder, shows("none")] = None
    """Folder of a smaller or earlier run to be led away from (autoguidance)."""
    classifier: Annotated[Folder, shows("none")] = None
    """Folder that gendi train-classifier wrote: it leads to the class in the model's place."""

    def given(self) -> list[str]:
        """Return the flags that were given, as they are written."""
        return [flag(name) for name in ("class_", "condition", *GUIDANCE) if is_given(getattr(self, name))]

    def conditions(self) -> dict[str, str]:
        """Return what was asked for, in words by name. Raises `UsageError` for something asked for twice."""
        found = {} if self.class_ is None else {"class": self.class_}
        for word in self.condition:
            name, value = read_pair("--condition", word)
            if name in found:
                raise UsageError(f"--condition {word}: {name} was asked for twice.")
            found[name] = value
        return found

    def guidance_fields(self) -> dict[str, Any]:
        """Return the fields of `gendi.api.guidance.Guidance` that were given, none without --guidance.

        Raises `UsageError` for a scale that is none, and for what goes with --guidance alone.
        """
        if self.guidance is None:
            if extra := [flag(name) for name in GUIDANCE if is_given(getattr(self, name))]:
                raise UsageError(f"{extra[0]} needs --guidance W, how strongly: 2 is usual.")
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
    """Return whether a flag's value is not its default of nothing."""
    return not (value is None or value is False or value == ())


def flag(name: str) -> str:
    """Return how the flag of a field is written."""
    return f"--{name.rstrip('_').replace('_', '-')}"
