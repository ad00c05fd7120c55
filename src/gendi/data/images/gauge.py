"""The quick metrics of pictures: the kernel distance of features, and the train-likeness of pixels.

Features of MNIST are those of `gendi evaluate`, whose distances catch every fake. Other pictures have their pixels, as
a run should not begin with training another network. Before the first evaluation these are asked about the fakes of
`gendi.data.images.controls`. Where they take one for real pictures, the network of `gendi.data.images.learned_features`
is trained, if the run can spare the work, and its features are asked in turn. The choice is made once and kept in the
run's checkpoints; it depends on the data, the seed and the budget, and not on what the cache holds.

The kernel distance, which is unbiased, is on the scale of the kid of these features.
"""

import math

import numpy as np
from jaxtyping import Int64

from gendi.data.dataset import Data
from gendi.data.images.choose_extractors import LEARNED, digits_suit, learned_alone
from gendi.data.images.controls import make_controls
from gendi.data.images.extractors import Extractor, get_extractor
from gendi.data.images.learned_features import FEWEST, learning_work
from gendi.data.split import Split
from gendi.diffusion.randomness import stream
from gendi.evaluate.gauge import (
    FEWEST_HELD_OUT,
    REFERENCE_MOST,
    Distance,
    FeatureGauge,
    GaugeChoice,
    Nearest,
    TrainLikeness,
    cubic_kernel,
)
from gendi.evaluate.nearest import Images, nearest_images
from gendi.machine.stopping import Poll, may_stop

RECORDS_BYTES = 1 << 25
"""Most bytes of training pictures among which the nearest are searched: 43,000 digits, 11,000 of CIFAR-10."""
HELD_OUT_MOST = 256
"""Most held-out pictures whose nearest training pictures are searched."""
REFERENCE_NUMBERS = 1 << 24
"""Most numbers in the features of the reference."""
FEATURE_WORK = 1e7
"""Floating-point operations of the features of a picture by a network; pixels need none."""
FAKES = 256
"""Fakes of each kind that a distance is asked about: as many as the samples that it measures."""


def choose_gauge(data: Data, seed: int, spare: float, poll: Poll | None = None) -> GaugeChoice:
    """Choose the features for the quick metrics of a run, which can spend `spare` floating-point operations on them.

    Raises `UsageError` if there are fewer than 2 training pictures.
    """
    if digits_suit(data):
        return GaugeChoice()
    missed = missed_fakes(data, seed, get_extractor("pixels"), poll)
    if not missed or len(data.train) < FEWEST or learning_work(data) > spare:
        return GaugeChoice(missed=missed)
    learned = learned_alone(data, poll)
    return GaugeChoice(LEARNED, missed_fakes(data, seed, learned, poll), learned.sha256)


def missed_fakes(data: Data, seed: int, extractor: Extractor, poll: Poll | None = None) -> tuple[str, ...]:
    """Return the names of the fakes that the kernel distance of these features takes for real pictures."""
    distance, places = _distance(data, seed, extractor, poll)
    labels = None if data.train.labels is None else np.asarray(data.train.labels)[places].astype(np.int64)
    fakes = make_controls(data.train.batch(places), labels, FAKES, seed)
    missed = []
    for name, pictures in fakes.items():
        may_stop(poll)
        if distance.misses(extractor(pictures)):
            missed.append(name)
    return tuple(missed)


def picture_gauge(data: Data, seed: int, features: str = "", poll: Poll | None = None) -> FeatureGauge:
    """Return the quick metrics of pictures like those of raw `data`, with random draws from `seed`.

    `features` are the usual ones, or `learned`. Raises `UsageError` if there are fewer than 2 training pictures.
    """
    usual, extractor = digits_suit(data), get_extractor("pixels")
    if features == LEARNED:
        extractor = learned_alone(data, poll)
    elif usual:
        extractor = get_extractor("digits")
    pixels = math.prod(data.train.rows.shape[1:])
    distance, _ = _distance(data, seed, extractor, poll)
    heldout = data.heldout.batch(_some(data.heldout, _most(pixels), seed))
    work = FEATURE_WORK if usual or features else 0.0
    if len(heldout) < FEWEST_HELD_OUT:
        return FeatureGauge(distance, extractor, None, work=work, sha256=extractor.sha256)
    heldout = heldout[:: -(-len(heldout) // HELD_OUT_MOST)]
    whole, most = data.train.rows.nbytes <= RECORDS_BYTES, max(_most(pixels), RECORDS_BYTES // pixels)
    records: Images = data.train.rows if whole else data.train.batch(_some(data.train, most, seed))
    each = 2.0 * pixels * (len(records) + len(heldout))
    likeness = TrainLikeness(_nearest(records), _nearest(heldout), heldout, each)
    return FeatureGauge(distance, extractor, likeness, records=np.asarray, work=work, sha256=extractor.sha256)


def _distance(
    data: Data, seed: int, extractor: Extractor, poll: Poll | None
) -> tuple[Distance, Int64[np.ndarray, " m"]]:
    """Return the kernel distance of some features to a reference, and the numbers of its training pictures."""
    most = _most(math.prod(data.train.rows.shape[1:]))
    reference, others = (_some(part, most, seed) for part in (data.train, data.heldout))
    heldout = extractor(data.heldout.batch(others), poll=poll) if len(others) else np.zeros((0, 1), np.float32)
    of_reference = extractor(data.train.batch(reference), poll=poll)
    return Distance(f"kid-{extractor.name}", cubic_kernel, of_reference, heldout), reference


def _most(pixels: int) -> int:
    return min(REFERENCE_MOST, max(100, REFERENCE_NUMBERS // pixels))


def _nearest(images: Images) -> Nearest:
    def search(rows: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        return nearest_images(rows, images, k)

    return search


def _some(split: Split, most: int, seed: int) -> Int64[np.ndarray, " m"]:
    """Return the numbers of up to `most` random pictures, in their order in the split."""
    return np.sort(stream(seed, "quick metrics").permutation(len(split))[:most]).astype(np.int64)
