"""The models that a request names, each read once, and the denoiser that they make together."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from torch import Tensor

from gendi.api.conditions import read_one
from gendi.api.guidance import Guidance
from gendi.diffusion.conditions import Conditions, requested_conditions
from gendi.diffusion.config import ConditionConfig
from gendi.diffusion.discrete.denoiser import TokenDenoiser
from gendi.diffusion.discrete.guidance import TokenGuidance
from gendi.diffusion.gaussian.denoiser import Denoiser
from gendi.diffusion.gaussian.guidance import GuidanceRule, Strength, Threshold
from gendi.diffusion.networks.told import SCALE
from gendi.errors import Mend, UsageError
from gendi.train.kept.bundle import Bundle, load_bundle
from gendi.train.kept.classifier_bundle import ClassifierBundle, load_classifier


@dataclass(frozen=True)
class Models:
    """The model that draws, and the models that guide it."""

    own: Bundle
    bad: Bundle | None = None
    classifier: ClassifierBundle | None = None

    @classmethod
    def read(cls, own: Bundle, guidance: Guidance | None = None) -> Self:
        """Return a model together with those that `guidance` names.

        Raises:
            UsageError: a bad model or a classifier that does not fit the model, or a folder without one.
            BundleError: as `load_bundle`.
        """
        if guidance is None:
            return cls(own)
        return cls(
            own,
            None if guidance.bad is None else _bad(own, guidance.bad),
            None if guidance.classifier is None else _classifier(own, guidance.classifier),
        )

    @property
    def conditions(self) -> tuple[ConditionConfig, ...]:
        """The conditions that can be requested: those of the model, and the classes of the classifier."""
        specs = self.own.config.conditions
        if self.classifier is None or self.own.condition("class") is not None:
            return specs
        return (*specs, self.classifier.condition)

    @property
    def sha256(self) -> dict[str, str]:
        """SHA-256 of the weights of each model that was read from a folder: "" is the model's own, the others are those
        that guide it, by the field of the guidance.
        """
        all_ = {"": self.own, "bad": self.bad, "classifier": self.classifier}
        return {name: model.sha256 for name, model in all_.items() if model is not None and model.sha256 is not None}

    def denoiser(
        self,
        guidance: Guidance | None,
        cond: Conditions,
        *,
        device: str = "cpu",
        precision: str | None = None,
        clip: bool | None = None,
    ) -> Any:
        """Return the model's denoiser, with guidance if there is any: a `Denoiser`, or a `TokenDenoiser` of tokens.

        Args:
            cond: the conditions of the samples by name; only the names matter.
            precision: "fp32" or "bf16"; what the training chose by default.
            clip: whether x0_hat is bounded to the range of the data; as the model's sampling does it by default.

        Raises:
            UsageError: the model cannot be guided in the requested way.
        """
        if self.own.config.tokens.used:
            return self._of_tokens(guidance, cond, device, precision)
        if ends := self.own.config.objective.distil.guidance_range:
            denoiser = _plain(self.own, device, precision, 1.0 if self._clips(clip) else None)
            denoiser.told = {SCALE: told_scale(guidance, ends)}
            return denoiser
        bound = 1.0 if self._clips(clip) else None
        denoiser = _plain(self.own, device, precision, bound if guidance is None else None)
        if guidance is None:
            return denoiser
        names = None
        if self.bad is None and self.classifier is None:
            names = _names_to_forget(self.conditions, cond, guidance)
        rule = GuidanceRule(
            **{field.name: getattr(guidance, field.name) for field in dataclasses.fields(Strength)},
            negative=self._negative(guidance),
            bad=None if self.bad is None else _plain(self.bad, device, precision, None),
            classifier=None if self.classifier is None else self.classifier.classifier(denoiser.schedule, device),
        )
        with_guidance: Denoiser = rule.guide(denoiser, names)
        if bound is not None and guidance.threshold is None:
            return Threshold(with_guidance, None, bound)
        return with_guidance

    def _of_tokens(
        self, guidance: Guidance | None, cond: Conditions, device: str, precision: str | None
    ) -> TokenDenoiser:
        """Return the denoiser of a model of tokens. Raises `UsageError` for guidance that tokens do not have."""
        denoiser: TokenDenoiser = _plain(self.own, device, precision, None)
        if guidance is None:
            return denoiser
        if dataclasses.replace(guidance, scale=1.0) != Guidance() or callable(guidance.scale):
            raise UsageError(
                "models of tokens are guided by one scale: intervals, scales of several conditions, negative "
                "conditions, rescaling and the guidance by other models are for Gaussian noise. Give --guidance alone."
            )
        return TokenGuidance(denoiser, guidance.scale, _names_to_forget(self.conditions, cond, guidance))

    def _clips(self, clip: bool | None) -> bool:
        return self.own.config.sample.clip if clip is None else clip

    def _negative(self, guidance: Guidance) -> dict[str, Tensor | float]:
        if not guidance.negative:
            return {}
        values = {name: read_one(self.conditions, name, value) for name, value in guidance.negative.items()}
        return {name: rows[0] for name, rows in requested_conditions(self.conditions, values, 1).items()}


def told_scale(guidance: Guidance | None, ends: Sequence[float]) -> float:
    """Return the scale of guidance that a student is told which knows those between two ends.

    Raises `UsageError` for a scale outside, and for guidance that is more than one scale.
    """
    low, high = ends
    if guidance is not None and dataclasses.replace(guidance, scale=1.0) != Guidance():
        raise UsageError(
            "this student is told the scale of guidance, and is called once a step: it can be given neither an "
            "interval, a negative condition, another model nor a scale for each condition. Give --guidance alone, or "
            "ask its teacher."
        )
    wanted = 1.0 if guidance is None else guidance.scale
    if callable(wanted) or not low <= wanted <= high:
        what = "a function of time" if callable(wanted) else f"{wanted:g}"
        raise UsageError(
            f"guidance = {what} is out of range: this student learned the scales from {low:g} to {high:g}. Ask for one "
            "of them, or ask its teacher."
        )
    return float(wanted)


def null_where_silent(specs: Sequence[ConditionConfig], condition: Mapping[str, Any]) -> dict[str, Any]:
    """Return the requested conditions, and None for all others, as edits want it.

    Raises `UsageError` for what was never null in training and is not requested.
    """
    for spec in specs:
        if spec.dropout == 0 and condition.get(spec.name) is None:
            raise UsageError(
                f"this model was never trained without its {spec.name}: say which by "
                f"{'--class' if spec.name == 'class' else f'--condition {spec.name}=VALUE'} (in Python by condition)."
            ).mended_by(*_asking([spec]))
    return {spec.name: None for spec in specs} | dict(condition)


def _asking(specs: Sequence[ConditionConfig]) -> list[Mend]:
    """Return flags that request the first name of a condition, one way for each condition that has names."""
    flags = {
        spec.name: ("--class", "{}") if spec.name == "class" else ("--condition", f"{spec.name}={{}}") for spec in specs
    }
    return [Mend(add=(flags[s.name][0], flags[s.name][1].format(s.names[0]))) for s in specs if s.names]


def _plain(bundle: Bundle, device: str, precision: str | None, clip: float | None) -> Any:
    denoiser = bundle.denoiser(device, clip)
    if precision is not None:
        denoiser.precision = precision
    return denoiser


def _names_to_forget(specs: Sequence[ConditionConfig], cond: Mapping[str, Tensor], guidance: Guidance) -> list[str]:
    """Return the conditions whose null was trained. Raises `UsageError` if there is nothing to guide by."""
    if not specs:
        raise UsageError(
            "this model was trained without conditions, so there is nothing that guidance could move towards. Train "
            "one with --condition class, or guide it by a classifier (gendi train-classifier) or a worse "
            "model (--bad-model)."
        ).mended_by(Mend(drop=("--guidance",)))
    if not cond and not guidance.negative:
        raise UsageError(
            f"guidance needs a condition to move towards: request {' or '.join(spec.name for spec in specs)}."
        ).mended_by(*_asking(specs))
    always = {spec.name for spec in specs if spec.dropout == 0}
    forgotten = [name for name in (guidance.scales or cond) if name not in always or name in guidance.negative]
    needed = guidance.scales or ({} if forgotten or guidance.negative else cond)
    for name in sorted(always & set(needed)):
        raise UsageError(
            f"the condition {name} was given with every training picture (dropout 0), so the model never learned to "
            "draw without it, and guidance has nothing to move away from. Train the model with a dropout of 0.1."
        )
    return forgotten


def _bad(own: Bundle, bad: Bundle | str | Path) -> Bundle:
    other = bad if isinstance(bad, Bundle) else load_bundle(bad)
    if other.codec != own.codec:
        raise UsageError(f"the bad model draws samples of {_size(other)}, the model of {_size(own)}.")
    for spec in own.config.conditions:
        there = other.condition(spec.name)
        if there is None or (there.kind, there.size, there.names) != (spec.kind, spec.size, spec.names):
            raise UsageError(
                f"the bad model does not have the condition {spec.name} as the model has it: it must know the "
                "same conditions."
            )
    return other


def _classifier(own: Bundle, classifier: ClassifierBundle | str | Path) -> ClassifierBundle:
    read = classifier if isinstance(classifier, ClassifierBundle) else load_classifier(classifier)
    if read.codec != own.codec:
        raise UsageError(f"the classifier names pictures of {_size(read)}, the model draws some of {_size(own)}.")
    spec = own.condition("class")
    if spec is not None and (spec.kind, spec.size, spec.names) != ("class", read.classes, read.class_names):
        raise UsageError("the classifier was trained on other classes than the model.")
    return read


def _size(bundle: Bundle | ClassifierBundle) -> str:
    return bundle.codec.description
