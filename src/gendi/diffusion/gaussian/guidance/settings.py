"""What to ask for, as one small table, and the rules it stands for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gendi.diffusion.gaussian.denoiser import Denoiser
from gendi.diffusion.gaussian.guidance.auto import Autoguidance
from gendi.diffusion.gaussian.guidance.base import Guided, MixtureRule
from gendi.diffusion.gaussian.guidance.classifier import ClassifierGuidance
from gendi.diffusion.gaussian.guidance.classifier_free import ClassifierFree, Factorised
from gendi.diffusion.gaussian.guidance.interval import Interval
from gendi.diffusion.gaussian.guidance.scale import Scale
from gendi.diffusion.gaussian.guidance.shape import Rescale, Threshold
from gendi.errors import UsageError


@dataclass(frozen=True)
class Guidance:
    """Which rule, how strong, and where. In `gendi.sample` models may be given by their folders and conditions by name.

    The rule is autoguidance with `bad`, classifier guidance with `classifier`, factorised with `scales`, and
    classifier-free guidance with none of them.
    """

    scale: Scale = 1.0
    """w, a number or a function of time; 1 is no guidance."""
    scales: Mapping[str, Scale] = field(default_factory=dict)
    """A scale for each of several conditions, in place of `scale`."""
    nested: bool = False
    """With `scales`: each condition is told on top of those before it."""
    interval: tuple[float, float] | None = None
    """sigma / alpha from and up to which to guide; everywhere by default."""
    rescale: float = 0.0
    """phi of `Rescale`."""
    threshold: float | None = None
    """Percentile of dynamic thresholding, in (0, 1]."""
    negative: Mapping[str, Any] = field(default_factory=dict)
    """Conditions to be led away from in the null ones' place."""
    bad: Any = None
    """A worse model to be led away from: a denoiser."""
    classifier: Any = None
    """Of noisy data: see `gendi.diffusion.gaussian.guidance.classifier.Classifier`."""

    def guide(self, denoiser: Denoiser, names: Sequence[str] | None = None) -> Guided:
        """Return `denoiser` guided; `names` are the conditions that it can do without, all by default.

        Raises `UsageError` for settings that exclude each other, and what the rules raise.
        """
        rules = ("bad", "classifier", "scales", "negative")
        given = [name for name in rules if getattr(self, name) is not None and getattr(self, name) != {}]
        if len(given) > 1:
            raise UsageError(f"guidance by {' and by '.join(given)} cannot be had at once: choose one.")
        rule, outside = self._rule(denoiser, names)
        if self.rescale:
            if not isinstance(rule, MixtureRule):
                raise UsageError("classifier guidance has no conditional answer to rescale to: leave rescale out.")
            rule = Rescale(rule, self.rescale)
        if self.interval is not None:
            rule = Interval(rule, outside, *self.interval)
        return rule if self.threshold is None else Threshold(rule, self.threshold)

    def _rule(self, denoiser: Denoiser, names: Sequence[str] | None) -> tuple[Guided, Denoiser]:
        """Return the rule, and what stands outside its interval."""
        if self.bad is not None:
            return Autoguidance(denoiser, self.bad, self.scale), denoiser
        if self.classifier is not None:
            rule = ClassifierGuidance(denoiser, self.classifier, self.scale)
            return rule, ClassifierGuidance(denoiser, self.classifier, 0.0)
        if self.scales:
            return Factorised(denoiser, self.scales, nested=self.nested), denoiser
        return ClassifierFree(denoiser, self.scale, names=names, negative=self.negative), denoiser
