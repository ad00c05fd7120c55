"""Guidance by a classifier of noisy data."""

from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from gendi.diffusion.conditions import Conditions
from gendi.diffusion.gaussian.denoiser import Denoiser
from gendi.diffusion.gaussian.guidance.base import Answer, Guided, answer_of
from gendi.diffusion.gaussian.guidance.classifier_free import check_given
from gendi.diffusion.gaussian.guidance.scale import Scale, checked_scale, scale_at
from gendi.diffusion.gaussian.process import Batch, PerSample, like
from gendi.errors import UsageError


@runtime_checkable
class Classifier(Protocol):
    """Maps x_t (B, ...) and t () or (B,) to log p(y | x_t, t) up to a constant per row, (B, classes)."""

    def __call__(self, x_t: Tensor, t: Tensor) -> Tensor: ...


def log_likelihood_gradient(classifier: Classifier, x_t: Batch, t: PerSample, labels: Int64[Tensor, " batch"]) -> Batch:
    """Return the gradient of log p(y | x_t, t) in x_t, of its shape; 0 in rows whose label is null, -1.

    Raises `UsageError` for a label that the classifier does not know.
    """
    with torch.inference_mode(False), torch.enable_grad():
        x, t, labels = x_t.detach().clone().requires_grad_(), t.clone(), labels.clone()
        logits: Float[Tensor, " batch classes"] = classifier(x, t)
        if bool((labels >= logits.shape[1]).any()):
            raise UsageError(f"class {labels.max().item()} is out of range: the classifier knows {logits.shape[1]}.")
        known = labels >= 0
        log_p = logits.log_softmax(1).gather(1, labels.clamp(min=0)[:, None])[:, 0]
        (gradient,) = torch.autograd.grad(torch.where(known, log_p, 0).sum(), x)
    return gradient.detach()


class ClassifierGuidance(Guided):
    """Classifier guidance.  [Dhariwal & Nichol 2021, section 4.2; in x0-form by Tweedie's formula]

        x0 = x0_hat + w sigma^2 / alpha grad log p(y | x_t, t)

    By default the denoiser is not given the class. Then w = 1 samples q(x_0 | y) as a denoiser with the class would,
    and w = 0 is the plain denoiser. With `conditional` the denoiser is given the class too, and the gradient comes on
    top of that.

    Args:
        denoiser: the denoiser to guide, conditional or not.
        classifier: a differentiable classifier of x_t at time t.
        scale: w, a number or a function of time, 0 or more.
        name: the condition that holds y, (B,) int64.
        conditional: whether the denoiser is given y too.

    Raises:
        UsageError: the scale is NaN, infinite or below 0; in a call, there is no condition `name`, or the classifier
            does not know the class.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        classifier: Classifier,
        scale: Scale,
        *,
        name: str = "class",
        conditional: bool = False,
    ) -> None:
        super().__init__(denoiser)
        self.classifier, self.scale, self.name, self.conditional = classifier, checked_scale(scale), name, conditional

    def _answer(self, x_t: Tensor, t: Tensor, cond: Conditions) -> Answer:
        check_given(cond, [self.name])
        known = {name: value for name, value in cond.items() if self.conditional or name != self.name}
        answer = answer_of(self.denoiser, x_t, t, known)
        alpha, sigma = self.schedule(t)
        factor = scale_at(self.scale, t) * sigma**2 / alpha
        if not bool(factor.any()):
            return answer
        gradient = log_likelihood_gradient(self.classifier, x_t, t, cond[self.name])
        return Answer(answer.x_0 + like(factor, x_t) * gradient, answer.share)
