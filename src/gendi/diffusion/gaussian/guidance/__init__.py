"""Guidance: a rule is a denoiser that holds a denoiser, so rules compose and no sampler knows of them.

    denoiser = ClassifierFree(bundle.denoiser(), 2.0)                     x_null + w (x_c - x_null)
    denoiser = Rescale(denoiser, 0.7)                                     its spread brought back to x_c's
    denoiser = Interval(denoiser, bundle.denoiser(), 0.3, 5.0)            only where 0.3 < sigma / alpha <= 5
    x = sample(denoiser, shape, n=64, cond={"class": labels})

In every rule w = 1 is the plain conditional denoiser, bit for bit and at its cost, and w = 0 is the denoiser without
the condition. A rule calls a network once per time, with all the rows that it needs in one batch. A learned variance
stays that of the first branch, which is the conditional one. Everything keeps x_t's dtype and takes times () or (B,).
"""

from gendi.diffusion.gaussian.guidance.auto import Autoguidance
from gendi.diffusion.gaussian.guidance.base import Guided, MixtureRule
from gendi.diffusion.gaussian.guidance.classifier import ClassifierGuidance
from gendi.diffusion.gaussian.guidance.classifier_free import ClassifierFree, Factorised
from gendi.diffusion.gaussian.guidance.interval import Interval
from gendi.diffusion.gaussian.guidance.scale import Scale, by_log_snr
from gendi.diffusion.gaussian.guidance.settings import GuidanceRule, Strength
from gendi.diffusion.gaussian.guidance.shape import Rescale, Threshold

__all__ = [
    "Autoguidance",
    "ClassifierFree",
    "ClassifierGuidance",
    "Factorised",
    "GuidanceRule",
    "Guided",
    "Interval",
    "MixtureRule",
    "Rescale",
    "Scale",
    "Strength",
    "Threshold",
    "by_log_snr",
]
