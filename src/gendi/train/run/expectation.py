"""What a run will reach, as far as runs of its preset have shown it."""

import dataclasses
import math
from collections.abc import Sequence
from itertools import pairwise

from gendi.train.config import RunConfig
from gendi.train.presets import PRESETS, Reached


def between(curve: Sequence[Reached], images: float) -> Reached | None:
    """Return what runs of so many images reach: the measured curve, straight in the logarithms of images, of the excess
    and of the confidence's distance from 1. None outside of the curve.
    """
    for low, high in pairwise(curve):
        if low.images <= images <= high.images:
            share = math.log(images / low.images) / math.log(high.images / low.images)
            excess = low.excess ** (1 - share) * high.excess**share
            doubt = (1 - low.confidence) ** (1 - share) * (1 - high.confidence) ** share
            return Reached(round(images), excess, 1 - doubt)
    return None


def expected_of(config: RunConfig, data: str, images: float) -> str | None:
    """Return a line on the quality that so many images mean; None where nobody has measured it.

    Measured are the presets as they are, on MNIST.

    Args:
        data: the name of the data.
        images: how many images the run will see.
    """
    preset = PRESETS.get(config.preset)
    if preset is None or not preset.curve or data != "mnist" or not _is_the_same(config, preset.config):
        return None
    first, last = preset.curve[0], preset.curve[-1]
    if images < first.images:
        return f"runs of {first.images:,} images reached {_in_words(first)}; this one will see fewer"
    if images > last.images:
        return f"runs of {last.images:,} images reached {_in_words(last)}; this one will see more"
    reached = between(preset.curve, images)
    assert reached is not None
    return f"runs of so many images reached {_in_words(reached)}"


def _in_words(reached: Reached) -> str:
    return (
        f"about {reached.confidence:.1%} confidence of the digit classifier and a Fréchet distance "
        f"{reached.excess:.2f} above that of real digits"
    )


def _is_the_same(config: RunConfig, preset: RunConfig) -> bool:
    """Return whether a configuration trains the preset's network in the preset's way."""
    optim = dataclasses.replace(config.optim, muon_precision=preset.optim.muon_precision)
    return (config.network, config.process, config.objective, optim, config.train.batch_size, config.sample) == (
        *(preset.network, preset.process, preset.objective, preset.optim, preset.train.batch_size, preset.sample),
    )
