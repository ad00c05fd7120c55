"""From a bundle and what was asked of it to a guided denoiser and its conditions: what every way of sampling shares."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from gendi.diffusion.conditions import ask
from gendi.diffusion.config import ConditionConfig
from gendi.diffusion.gaussian.denoiser import Denoiser
from gendi.diffusion.gaussian.guidance import Guidance, Threshold
from gendi.errors import UsageError
from gendi.train.bundle import Bundle, load_bundle
from gendi.train.classifier_bundle import ClassifierBundle, load_classifier


def guided(
    bundle: Bundle,
    guidance: Guidance | float | None,
    condition: Mapping[str, Any] | None,
    n: int,
    first_index: int = 0,
    *,
    device: str = "cpu",
    precision: str | None = None,
    editing: bool = False,
    seed: int = 0,
) -> tuple[Denoiser, dict[str, Tensor]]:
    """Return a denoiser to draw n samples with, and their conditions.

    Args:
        guidance: a scale, or settings whose `bad` and `classifier` may be folders or bundles and whose `negative` is
            as asked for; None guides nothing.
        condition: see `gendi.diffusion.conditions.ask`; the rest as the codec says (`gendi.data.codec.Codec`).
        precision: "fp32" or "bf16"; what the training chose by default.
        editing: it is a picture that is edited: what is not told is null, and x0_hat is not bounded even where the
            model's sampling bounds it, as gradients and the ODE need it.
        seed: of the samples, for conditions that the codec draws as in training.

    Raises:
        UsageError: a condition the model does not know, guidance that the model cannot be given, a bad model or a
            classifier for other pictures; when editing, a condition that the model was never trained without and is
            not told.
    """
    clip = 1.0 if bundle.config.sample.clip and not editing else None
    denoiser = _plain(bundle, device, precision, clip if guidance is None else None)
    if guidance is None:
        own = bundle.config.conditions
        if editing:
            return denoiser, ask(own, _or_null(own, condition), n, first_index)
        return denoiser, bundle.codec.draw_conditions(own, condition, n, seed, first_index)
    asked = guidance if isinstance(guidance, Guidance) else Guidance(guidance)
    changes: dict[str, Any] = {}
    if isinstance(asked.bad, Bundle | str | Path):
        changes["bad"] = _plain(_bad(bundle, asked.bad), device, precision, None)
    if isinstance(asked.classifier, ClassifierBundle | str | Path):
        judge = _judge(bundle, asked.classifier)
        asked = dataclasses.replace(asked, classifier=judge)
        changes["classifier"] = judge.classifier(denoiser.schedule, device)
    specs = known_conditions(bundle, asked)
    changes["negative"] = {name: rows[0] for name, rows in _negative(specs, asked.negative).items()}
    if editing:
        cond = ask(specs, _or_null(specs, condition), n, first_index)
    else:
        cond = bundle.codec.draw_conditions(specs, condition, n, seed, first_index)
    names = None
    if asked.bad is None and asked.classifier is None:
        names = _names_to_forget(specs, cond, asked)
    rule: Denoiser = dataclasses.replace(asked, **changes).guide(denoiser, names)
    if clip is not None and asked.threshold is None:
        rule = Threshold(rule, None, clip)
    return rule, cond


def _or_null(specs: Sequence[ConditionConfig], condition: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return what was asked for, and None for all the rest. Raises `UsageError` for what has no null and needs one."""
    told = dict(condition or {})
    for spec in specs:
        if spec.dropout == 0 and told.get(spec.name) is None:
            raise UsageError(
                f"this model was never trained without its {spec.name}: say which by "
                f"{'--class' if spec.name == 'class' else f'--condition {spec.name}=VALUE'} (in Python by condition)."
            )
    return {spec.name: None for spec in specs} | told


def known_conditions(bundle: Bundle, guidance: Guidance | None) -> tuple[ConditionConfig, ...]:
    """Return what can be asked for: what the model is told, and the classes of a `ClassifierBundle` in `guidance`."""
    own = bundle.config.conditions
    judge = None if guidance is None else guidance.classifier
    return (*own, judge.condition) if isinstance(judge, ClassifierBundle) and bundle.condition("class") is None else own


def _plain(bundle: Bundle, device: str, precision: str | None, clip: float | None) -> Any:
    denoiser = bundle.denoiser(device, clip)
    if precision is not None:
        denoiser.precision = precision
    return denoiser


def _negative(specs: Sequence[ConditionConfig], negative: Mapping[str, Any]) -> dict[str, Tensor]:
    return ask(specs, negative, 1) if negative else {}


def _names_to_forget(specs: Sequence[ConditionConfig], cond: Mapping[str, Tensor], asked: Guidance) -> list[str]:
    """Return the conditions whose null was trained. Raises `UsageError` if there is nothing to guide by."""
    if not specs:
        raise UsageError(
            "this model was trained without conditions, so there is nothing for guidance to lead to. Train one with "
            "--condition class, or guide it by a classifier (gendi train-classifier) or a worse model (--bad-model)."
        )
    if not cond and not asked.negative:
        raise UsageError(f"guidance needs a condition to lead to: ask for {' or '.join(spec.name for spec in specs)}.")
    always = {spec.name for spec in specs if spec.dropout == 0}
    forgotten = [name for name in (asked.scales or cond) if name not in always or name in asked.negative]
    needed = asked.scales or ({} if forgotten or asked.negative else cond)
    for name in sorted(always & set(needed)):
        raise UsageError(
            f"the condition {name} was told of every training picture (dropout 0), so the model does not know what it "
            "is to do without, and guidance has nothing to lead away from. Train it with a dropout of 0.1."
        )
    return forgotten


def _bad(bundle: Bundle, bad: Bundle | str | Path) -> Bundle:
    other = bad if isinstance(bad, Bundle) else load_bundle(bad)
    if other.codec != bundle.codec:
        raise UsageError(f"the bad model draws samples of {_size(other)}, the model of {_size(bundle)}.")
    for spec in bundle.config.conditions:
        there = other.condition(spec.name)
        if there is None or (there.kind, there.size, there.names) != (spec.kind, spec.size, spec.names):
            raise UsageError(
                f"the bad model is not told {spec.name} as the model is: it must know the same conditions."
            )
    return other


def _judge(bundle: Bundle, classifier: ClassifierBundle | str | Path) -> ClassifierBundle:
    judge = classifier if isinstance(classifier, ClassifierBundle) else load_classifier(classifier)
    if judge.codec != bundle.codec:
        raise UsageError(f"the classifier names pictures of {_size(judge)}, the model draws some of {_size(bundle)}.")
    own = bundle.condition("class")
    if own is not None and (own.kind, own.size, own.names) != ("class", judge.classes, judge.class_names):
        raise UsageError("the classifier was trained on other classes than the model.")
    return judge


def _size(bundle: Bundle | ClassifierBundle) -> str:
    return bundle.codec.description
