"""Guidance as a request states it: models are given by their folders, and conditions by name."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from gendi.api.conditions import as_texts, as_words
from gendi.diffusion.gaussian.guidance import Scale, Strength
from gendi.errors import UsageError
from gendi.train.kept.bundle import Bundle
from gendi.train.kept.classifier_bundle import ClassifierBundle


@dataclass(frozen=True)
class Guidance(Strength):
    """Which rule, how strong, and where; `gendi.diffusion.gaussian.guidance.GuidanceRule` is the rule itself.

    The rule is autoguidance if `bad` is given, classifier guidance if `classifier` is, factorised guidance if `scales`
    are, and otherwise classifier-free guidance.
    """

    negative: Mapping[str, Any] = field(default_factory=dict)
    """Conditions that guidance moves away from, instead of the null conditions; one value each, for all samples."""
    bad: Bundle | str | Path | None = None
    """A worse model that guidance moves away from, or the folder of its run or bundle."""
    classifier: ClassifierBundle | str | Path | None = None
    """A classifier of noisy pictures that guides towards the class, or its folder."""

    @staticmethod
    def of(guidance: "Guidance | float | None") -> "Guidance | None":
        """Return the settings for a scale; settings are returned as they are, and None (no guidance) as None."""
        return guidance if guidance is None or isinstance(guidance, Guidance) else Guidance(guidance)

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Self | None:
        """Return the guidance for plain values by field, as `to_dict` returns them; None if there are no fields."""
        if not fields:
            return None
        given = dict(fields)
        if given.get("interval") is not None:
            given["interval"] = tuple(given["interval"])
        given["negative"] = as_words(given.get("negative", {}))
        return cls(**given)

    def to_dict(self) -> dict[str, Any]:
        """Return the fields that differ from their defaults, as plain values; models are given by their folders.

        Raises `UsageError` for what cannot be written down: a function of time, or a model in memory.
        """
        values: dict[str, Any] = {"scales": _numbers(self.scales)} if self.scales else _numbers({"scale": self.scale})
        values["nested"] = self.nested or None
        values["interval"] = None if self.interval is None else list(self.interval)
        values["rescale"] = self.rescale or None
        values["threshold"] = self.threshold
        values["negative"] = as_texts(self.negative) or None
        values |= {name: None if place is None else str(place) for name, place in self.folders().items()}
        return {name: value for name, value in values.items() if value is not None}

    def folders(self) -> dict[str, str | Path]:
        """Return the folders of the models that guide, by field. Raises `UsageError` for a model in memory."""
        found: dict[str, str | Path] = {}
        for name, model in (("bad", self.bad), ("classifier", self.classifier)):
            if isinstance(model, Bundle | ClassifierBundle):
                raise UsageError(f"guidance by a {name} model in memory cannot be written down: give its folder.")
            if model is not None:
                found[name] = model
        return found


def _numbers(scales: Mapping[str, Scale]) -> dict[str, float]:
    numbers: dict[str, float] = {}
    for name, scale in scales.items():
        if callable(scale):
            raise UsageError(f"the guidance {name} is a function of time, which cannot be written down.")
        numbers[name] = scale
    return numbers
