"""The quick metrics of pictures: the kernel distance of cheap features, and the train-likeness of pixels.

Features are those of `gendi evaluate` for MNIST, and pixels for other pictures, as a run should not begin with training
another network. The kernel distance, which is unbiased, is on the scale of the kid of these features.
"""

import math

import numpy as np

from gendi.data.dataset import Data
from gendi.data.images.extractors import get_extractor
from gendi.data.split import Split
from gendi.diffusion.randomness import stream
from gendi.evaluate.gauge import (
    FEWEST_HELD_OUT,
    REFERENCE_MOST,
    Distance,
    FeatureGauge,
    Nearest,
    TrainLikeness,
    cubic_kernel,
)
from gendi.evaluate.nearest import Images, nearest_images

RECORDS_BYTES = 1 << 25
"""Most bytes of training pictures among which the nearest are searched: 43,000 digits, 11,000 of CIFAR-10."""
HELD_OUT_MOST = 256
"""Most held-out pictures whose nearest training pictures are searched."""
REFERENCE_NUMBERS = 1 << 24
"""Most numbers in the features of the reference."""
FEATURE_WORK = 1e7
"""Floating-point operations of the digit features of a picture; pixels need none."""


def picture_gauge(data: Data, seed: int) -> FeatureGauge:
    """Return the quick metrics of pictures like those of raw `data`, with random draws from `seed`.

    Raises `UsageError` if there are fewer than 2 training pictures.
    """
    usual = data.name == "mnist" and tuple(data.train.rows.shape[1:]) == (28, 28, 1)
    extractor = get_extractor("digits" if usual else "pixels")
    pixels = math.prod(data.train.rows.shape[1:])
    most = min(REFERENCE_MOST, max(100, REFERENCE_NUMBERS // pixels))
    reference, heldout = (_some(part, most, seed) for part in (data.train, data.heldout))
    distance = Distance(
        f"kid-{extractor.name}",
        cubic_kernel,
        extractor(reference),
        extractor(heldout) if len(heldout) else np.zeros((0, 1), np.float32),
    )
    work = FEATURE_WORK if usual else 0.0
    if len(heldout) < FEWEST_HELD_OUT:
        return FeatureGauge(distance, extractor, None, work=work)
    heldout = heldout[:: -(-len(heldout) // HELD_OUT_MOST)]
    whole = data.train.rows.nbytes <= RECORDS_BYTES
    records: Images = data.train.rows if whole else _some(data.train, max(most, RECORDS_BYTES // pixels), seed)
    each = 2.0 * pixels * (len(records) + len(heldout))
    likeness = TrainLikeness(_nearest(records), _nearest(heldout), heldout, each)
    return FeatureGauge(distance, extractor, likeness, records=np.asarray, work=work)


def _nearest(images: Images) -> Nearest:
    def search(rows: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        return nearest_images(rows, images, k)

    return search


def _some(split: Split, most: int, seed: int) -> np.ndarray:
    """Return up to `most` random pictures, in their order in the split."""
    return split.batch(np.sort(stream(seed, "quick metrics").permutation(len(split))[:most]))
