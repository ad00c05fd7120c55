"""How strong guidance is and where, as one small table, and the rule that it stands for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from gendi.diffusion.gaussian.denoiser import Denoiser
from gendi.diffusion.gaussian.guidance.auto import Autoguidance
from gendi.diffusion.gaussian.guidance.base import Guided, MixtureRule
from gendi.diffusion.gaussian.guidance.classifier import Classifier, ClassifierGuidance
from gendi.diffusion.gaussian.guidance.classifier_free import ClassifierFree, Factorised
from gendi.diffusion.gaussian.guidance.interval import Interval
from gendi.diffusion.gaussian.guidance.scale import Scale
from gendi.diffusion.gaussian.guidance.shape import Rescale, Threshold
from gendi.errors import UsageError


@dataclass(frozen=True)
class Strength:
    """How strong guidance is, and where: what does not depend on the rule."""

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


@dataclass(frozen=True)
class GuidanceRule(Strength):
    """Which rule, how strong, and where.

    The rule is autoguidance with `bad`, classifier guidance with `classifier`, factorised with `scales`, and
    classifier-free guidance with none of them.
    """

    negative: Mapping[str, Tensor | float] = field(default_factory=dict)
    """Conditions to be led away from in the null ones' place, each one value for all rows."""
    bad: Denoiser | None = None
    """A worse model to be led away from."""
    classifier: Classifier | None = None
    """A classifier of noisy data."""

    def guide(self, denoiser: Denoiser, names: Sequence[str] | None = None) -> Guided:
        """Return `denoiser` guided; `names` are the conditions that it can do without, all by default.

        Raises `UsageError` for settings that exclude each other, and what the rules raise.
        """
        given = {
            "bad": self.bad is not None,
            "classifier": self.classifier is not None,
            "scales": bool(self.scales),
            "negative": bool(self.negative),
        }
        chosen = [name for name, is_given in given.items() if is_given]
        if len(chosen) > 1:
            raise UsageError(f"guidance by {' and by '.join(chosen)} cannot be combined: choose one.")
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
