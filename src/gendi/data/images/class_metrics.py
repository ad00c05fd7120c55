"""The classes of samples, as a classifier sees them: how sure it is, how often it sees each, and whether it sees what
was asked for.

Where samples were drawn class by class, as conditional models draw them, the shares of the classes are right **by
construction**: they tell nothing about the model. Then two other things are measured:

- **asked against seen**: how often the classifier sees the class that was asked for, beside how often it is right on
  held-out images, and which classes it takes for which (the confusion matrix);
- the shares of samples that were drawn **without a class**, if there are any: how often a model that may choose draws
  each class is its own doing.

The classifier is the one that comes with gendi for MNIST, and the head of the network that learned from the data
(`gendi.data.images.learned_features`) for others that have classes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Int64

from gendi.data.dataset import Data
from gendi.data.images.choose_extractors import LEARNED, LearnedExtractor, digits_suit
from gendi.data.images.digit_classifier import WEIGHTS_SHA256, class_probabilities, load_classifier
from gendi.data.images.extractors import Extractor
from gendi.data.images.learned_features import FEWEST
from gendi.evaluate import intervals
from gendi.evaluate.classes import ClassBalance, class_balance, class_estimates, confusion_matrix
from gendi.evaluate.result import GENDI_REPORT, Better, ClassesRecord, Estimate, Metric
from gendi.machine.stopping import Poll

BY_CONSTRUCTION = "right by construction, as the samples were drawn class by class"
Labels = Int64[np.ndarray, " n"]


@dataclass(frozen=True)
class ClassReader:
    """A classifier of pictures: its name, the hash of its weights, and its softmax probabilities (n, K) of images."""

    name: str
    sha256: str
    probabilities: Callable[[np.ndarray, Poll | None], Float[np.ndarray, "_ _"]]


@dataclass(frozen=True)
class Drawn:
    """What is known of how samples came by their classes."""

    asked: Labels | None = None
    """The class that each sample was asked to be; -1 where none was asked for. None if nobody knows."""
    free: np.ndarray | None = None
    """Further samples (m, H, W, C), drawn without a class."""

    @property
    def told(self) -> bool:
        """Whether classes were asked for."""
        return self.asked is not None and bool((self.asked >= 0).any())


def reader_of(data: Data, extractors: list[Extractor]) -> ClassReader | None:
    """Return the classifier of the data's classes; None if there is none.

    Data without training images of some class have none: the shares of their classes cannot be compared.
    """
    if digits_suit(data):
        classifier = load_classifier()
        return ClassReader("digits", WEIGHTS_SHA256, lambda x, poll: class_probabilities(classifier, x, poll=poll))
    if data.train.labels is None:
        return None
    for each in extractors:
        if isinstance(each, LearnedExtractor) and each.learned.network.named is not None:
            named = each.learned.network.named
            if (np.bincount(_known(data.train.labels), minlength=named.out_features) > 0).all():
                return ClassReader(each.name, each.sha256, each.class_probabilities)
    return None


def may_read(data: Data, extractors: Sequence[str]) -> bool:
    """Return whether an evaluation by the named extractors, none for the usual one, may have a reader of classes."""
    learns = data.train.labels is not None and len(data.train) >= FEWEST
    return digits_suit(data) or (learns and (not extractors or LEARNED in extractors or "auto" in extractors))


def class_metrics(
    reader: ClassReader,
    images: np.ndarray,
    data: Data,
    floor: Int64[np.ndarray, " m"],
    drawn: Drawn,
    seed: int,
    poll: Poll | None,
) -> tuple[ClassesRecord, list[Metric]]:
    """Return the record of the classes of images (n, H, W, C) and its metrics; `floor` numbers held-out images."""
    assert data.train.labels is not None, "a reader of classes knows them"
    seen = reader.probabilities(images, poll)
    k = seen.shape[1]
    counts = np.bincount(_known(data.train.labels), minlength=k).astype(np.float64)
    free = seen if drawn.free is None else reader.probabilities(drawn.free, poll)
    ours, estimates = class_balance(free, counts), class_estimates(free, counts, seed)
    theirs: ClassBalance | None = None
    floors: dict[str, Estimate] = {}
    right = Estimate(None)
    if len(floor):
        unseen = reader.probabilities(data.heldout.batch(floor), poll)
        theirs, floors = class_balance(unseen, counts), class_estimates(unseen, counts, seed)
        right = _accuracy(unseen, None if data.heldout.labels is None else np.asarray(data.heldout.labels)[floor])
    estimates["confidence"] = class_estimates(seen, counts, seed)["confidence"]
    told = drawn.told and drawn.free is None
    record = ClassesRecord(
        names=data.class_names or tuple(str(c) for c in range(k)),
        histogram=ours.histogram,
        floor_histogram=theirs.histogram if theirs else None,
        frequencies=tuple(float(c) for c in counts / counts.sum()),
        entropy_maximum=ours.entropy_maximum,
        classifier_sha256=reader.sha256,
        told=told,
    )

    def metric(name: str, key: str, better: Better) -> Metric:
        known, report = floors.get(key, Estimate(None)), GENDI_REPORT.get(name) if reader.name == "digits" else None
        no_grade = BY_CONSTRUCTION if told and key != "confidence" else ""
        return Metric.of(name, estimates[key], known, better, report=report, extractor=reader.name, no_grade=no_grade)

    found = [
        metric("confidence", "confidence", "higher"),
        metric("class-entropy", "entropy", "higher"),
        metric("class-chi-square", "chi-square", "lower"),
        metric("class-p-value", "p-value", "higher"),
    ]
    if drawn.told and drawn.asked is not None:
        record = replace(record, confusion=confusion_matrix(drawn.asked, seen.argmax(axis=1), k))
        as_asked = _accuracy(seen, drawn.asked)
        found.insert(0, Metric.of("asked-seen", as_asked, right, "higher", extractor=reader.name))
    return record, found


def in_words(record: ClassesRecord, n: int) -> list[str]:
    """Return the notes of an evaluation of n samples on their classes."""
    if record.confusion is None:
        return []
    if record.told:
        return [
            "Classes were asked for, so class entropy, chi-square and p-value are right by construction and say "
            "nothing about the model; asked-seen is the share of samples in which the classifier sees the class that "
            "was asked for."
        ]
    m = sum(record.histogram)
    return [
        f"Class entropy, chi-square and p-value are those of {m:,} further samples, drawn without a class; those of "
        f"the {n:,} that were asked to be of a class would be right by construction."
    ]


def _accuracy(probabilities: Float[np.ndarray, "n k"], labels: Labels | None) -> Estimate:
    """Return the share of images in which a classifier sees the class that they have, among those that have one."""
    if labels is None or not (known := labels >= 0).any():
        return Estimate(None)
    share = float((probabilities.argmax(axis=1)[known] == labels[known]).mean())
    return intervals.of_share(share, int(known.sum()))


def _known(labels: Labels) -> Labels:
    return np.asarray(labels[labels >= 0], np.int64)
