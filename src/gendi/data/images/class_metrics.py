"""The classes of samples, as a classifier sees them: how sure it is, how often it sees each, and whether it sees what
was asked for.

A classifier makes mistakes in real pictures too. So what it sees in samples is compared with what it sees in **real
held-out pictures**: with the shares of the classes that it would see in real pictures of which there are as many of
each class as in training (`gendi.evaluate.shares`), and with its share of right answers. A classifier that would not
notice that the classes of a tenth of the pictures are missing gives no grades of the shares; one that is right no more
often than chance gives none of what was asked for.

Where samples were drawn class by class, as conditional models draw them, the shares of the classes are right **by
construction**: they tell nothing about the model. Then two other things are measured:

- **asked against seen**: how often the classifier sees the class that was asked for, beside how often it is right on
  real pictures of these classes, and which classes it takes for which (the confusion matrix);
- the shares of samples that were drawn **without a class**, if there are any: how often a model that may choose draws
  each class is its own doing.

The classifier is the one that comes with gendi for MNIST, and one that learned from the data
(`gendi.data.images.class_classifier`) for others that have classes.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float, Int64

from gendi.data.dataset import Data
from gendi.data.images.choose_extractors import LEARNED, digits_suit
from gendi.data.images.class_classifier import class_classifier, has_classes
from gendi.data.images.digit_classifier import DigitFeatures, softmax_of
from gendi.data.images.extractors import Extractor, ModuleExtractor, digits_extractor
from gendi.data.images.feature_cache import reference_features
from gendi.data.images.learned_features import to_input
from gendi.diffusion.randomness import stream
from gendi.evaluate import intervals
from gendi.evaluate.classes import class_balance, class_estimates, confidence_of, confusion_matrix
from gendi.evaluate.prediction import ALPHA
from gendi.evaluate.result import GENDI_REPORT, Better, Check, ClassesRecord, Estimate, Metric
from gendi.evaluate.shares import SeenShares
from gendi.machine.stopping import Poll

BY_CONSTRUCTION = "right by construction, as the samples were drawn class by class"
NOBODY_KNOWS = "without held-out pictures, it is unknown what the classifier sees in real ones"
CLASSES = "classes"
"""The name of the classifier that learned from the data."""
REAL_MOST = 2000
"""Most real pictures that are shown to the classifier."""
LEVEL = ALPHA / 2
"""How often real pictures fail the check of the shares, and how often that of asked against seen."""
MISSING, IGNORED = "missing classes", "ignored classes"
"""The fakes of these checks: real pictures without the classes of a tenth of the data, and such as have nothing to do
with the classes asked for."""
Labels = Int64[np.ndarray, " n"]
Probabilities = Float[np.ndarray, "_ _"]


@dataclass(frozen=True)
class ClassReader:
    """A classifier of pictures: features, and a head that gives softmax probabilities (n, K) of features (n, d)."""

    extractor: Extractor
    head: Callable[[np.ndarray], Probabilities]

    def __call__(self, images: np.ndarray, poll: Poll | None = None) -> Probabilities:
        """Return the probabilities of images (n, H, W, C)."""
        return self.head(self.extractor(images, poll=poll))


@dataclass(frozen=True)
class Real:
    """What a classifier sees in real pictures that it did not learn from."""

    probabilities: Probabilities
    labels: Labels
    """Their classes; -1 where nobody knows."""

    @property
    def counts(self) -> Int64[np.ndarray, "g k"]:
        """How many pictures of class i are seen as class j; a single row of all if no class is known."""
        k, seen = self.probabilities.shape[1], self.probabilities.argmax(axis=1)
        known = (self.labels >= 0) & (self.labels < k)
        if not known.any():
            return np.bincount(seen, minlength=k).astype(np.int64)[None]
        return np.array(confusion_matrix(self.labels[known], seen[known], k), np.int64)


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


def reader_of(data: Data, extractors: Sequence[str], poll: Poll | None = None) -> ClassReader | None:
    """Return the classifier of the data's classes, trained if need be, or None if there is none: see `may_read`.

    All processes call this together.
    """
    if not may_read(data, extractors):
        return None
    if digits_suit(data):
        digits = digits_extractor()
        assert isinstance(digits.module, DigitFeatures)
        return ClassReader(digits, softmax_of(digits.module.classifier.head))
    found = class_classifier(data, poll)
    features = ModuleExtractor(found.network, name=CLASSES, transform=to_input, resize=found.resize)
    return ClassReader(features, softmax_of(found.network.head))


def may_read(data: Data, extractors: Sequence[str]) -> bool:
    """Return whether an evaluation by the named extractors, none for the usual one, reads classes.

    It does where a classifier comes with gendi, and where one can learn the classes and the feature network learns from
    the data too.
    """
    learns = not extractors or LEARNED in extractors or "auto" in extractors
    return digits_suit(data) or (learns and has_classes(data))


def seen_in_real(reader: ClassReader, data: Data, seed: int, poll: Poll | None) -> Real | None:
    """Return what the classifier sees in up to `REAL_MOST` held-out pictures; None if there are none.

    All processes call this together; the features of the pictures are kept in the cache.
    """
    if not len(data.heldout):
        return None
    chosen = np.sort(stream(seed, "classes of real pictures").permutation(len(data.heldout))[:REAL_MOST])
    key = f"{data.fingerprint}/heldout"
    features = reference_features(reader.extractor, data.heldout.rows, chosen.astype(np.int64), key, poll=poll)
    known = data.heldout.labels
    labels = np.full(len(chosen), -1) if known is None else np.asarray(known)[chosen]
    return Real(reader.head(features), labels.astype(np.int64))


def class_metrics(
    reader: ClassReader,
    images: np.ndarray,
    data: Data,
    real: Real | None,
    drawn: Drawn,
    seed: int,
    poll: Poll | None,
) -> tuple[ClassesRecord, list[Metric]]:
    """Return the record of the classes of images (n, H, W, C) and its metrics; `real` is what `seen_in_real` found."""
    assert data.train.labels is not None, "a reader of classes knows them"
    seen = reader(images, poll)
    k, name = seen.shape[1], reader.extractor.name
    frequencies = np.bincount(_known(data.train.labels), minlength=k).astype(np.float64)
    expected, right = SeenShares.known(frequencies), Estimate(None)
    if real is not None:
        counts = real.counts
        expected = SeenShares.measured(counts, frequencies if len(counts) == k else np.ones(1))
        right = _right(counts, frequencies)[0]
    free = seen if drawn.free is None else reader(drawn.free, poll)
    ours, estimates = class_balance(free, expected), class_estimates(free, expected, seed)
    estimates["confidence"] = confidence_of(seen)
    sure = Estimate(None) if real is None else confidence_of(real.probabilities)
    told = drawn.told and drawn.free is None
    record = ClassesRecord(
        names=data.class_names or tuple(str(c) for c in range(k)),
        histogram=ours.histogram,
        floor_histogram=None
        if real is None
        else tuple(np.bincount(real.probabilities.argmax(1), minlength=k).tolist()),
        frequencies=tuple(float(c) for c in frequencies / frequencies.sum()),
        entropy_maximum=ours.entropy_maximum,
        classifier_sha256=reader.extractor.sha256,
        told=told,
        expected=None if real is None else tuple(expected.expected.tolist()),
        right=right.value,
        right_interval=right.interval,
    )
    checks: dict[str, Check] = {}
    no_grade = BY_CONSTRUCTION if told else NOBODY_KNOWS if real is None else ""
    if not no_grade:
        checks = share_checks(expected, ours.n, estimates)
        if checks["p-value"].missed:
            no_grade = (
                f"this classifier would hardly notice if the classes of a tenth of {ours.n:,} real pictures were "
                f"missing (p = {checks['p-value'].controls[MISSING]:.2g})"
            )
    entropy = intervals.measured(*expected.entropy(ours.n), least=0.0, most=ours.entropy_maximum)

    def metric(name: str, key: str, better: Better, usual: Estimate, **fields: Any) -> Metric:
        report = GENDI_REPORT.get(name) if reader.extractor.name == "digits" else None
        own = {"extractor": reader.extractor.name, "report": report, "check": checks.get(key), **fields}
        return Metric.of(name, estimates[key], usual, better, **own)

    found = [
        metric("confidence", "confidence", "higher", sure),
        metric("class-entropy", "entropy", "closest", entropy, ideal=entropy.value, no_grade=no_grade),
        metric("class-chi-square", "chi-square", "lower", Estimate(float(k - 1)), no_grade=no_grade),
        metric("class-p-value", "p-value", "higher", Estimate(0.5), no_grade=no_grade),
    ]
    if drawn.told and drawn.asked is not None:
        record = replace(record, confusion=confusion_matrix(drawn.asked, seen.argmax(axis=1), k))
        known = drawn.asked >= 0
        agree = seen.argmax(axis=1)[known] == drawn.asked[known]
        as_asked = intervals.of_share(float(agree.mean()), len(agree))
        fields: dict[str, Any] = {"no_grade": NOBODY_KNOWS}
        floor = Estimate(None)
        if real is not None and len(real.counts) == k:
            asked = np.bincount(drawn.asked[known], minlength=k).astype(np.float64)
            floor, worth = _right(real.counts, asked)
            fields = {"check": asked_check(as_asked.value, len(agree), floor.value, worth, asked, expected.expected)}
        found.insert(0, Metric.of("asked-seen", as_asked, floor, "higher", extractor=name, **fields))
    return record, found


def share_checks(expected: SeenShares, n: int, estimates: Mapping[str, Estimate]) -> dict[str, Check]:
    """Return the checks of the chi-square and the p-value of the shares of n samples, by these names.

    The control is what they would be, on average, if classes of a tenth of the data were missing.
    """
    fake, most = expected.without(n), expected.largest_chi_square(LEVEL)
    missed = (MISSING,) if fake.p_value >= LEVEL else ()
    return {
        "chi-square": Check(n, estimates["chi-square"].value, (None, most), {MISSING: fake.chi_square}, missed),
        "p-value": Check(n, estimates["p-value"].value, (LEVEL, None), {MISSING: fake.p_value}, missed),
    }


def asked_check(
    value: float | None,
    n: int,
    right: float | None,
    worth: float,
    asked: Float[np.ndarray, " k"],
    seen: Float[np.ndarray, " k"],
) -> Check | None:
    """Return the check of the share of n samples in which the class is seen that was asked for.

    If a classifier was right on k of m real pictures, its right answers among n others are beta-binomial. The control
    are samples whose classes have nothing to do with those that were asked for.

    Args:
        value: the share.
        n: the number of samples.
        right: the share of right answers on real pictures of the classes asked for; None if nobody knows.
        worth: the number m of pictures that this stands for.
        asked: how often each class was asked for.
        seen: the shares of the classes in what the classifier sees.
    """
    from scipy.stats import betabinom

    if right is None:
        return None
    least = float(betabinom.ppf(LEVEL, n, right * worth + 0.5, (1 - right) * worth + 0.5)) / n
    fake = float(asked / asked.sum() @ seen)
    return Check(n, value, (least, None), {IGNORED: fake}, (IGNORED,) if fake >= least else ())


def _right(counts: Int64[np.ndarray, "g k"], frequencies: Float[np.ndarray, " k"]) -> tuple[Estimate, float]:
    """Return the share of right answers on real pictures whose classes are as frequent as `frequencies`, and how many
    equally weighted pictures it stands for [Kish 1965]. Classes without real pictures do not count.
    """
    m = counts.sum(axis=1)
    there = (m > 0) & (frequencies > 0) if len(counts) == len(frequencies) else np.zeros(len(counts), bool)
    if not there.any():
        return Estimate(None), 0.0
    weight = frequencies[there] / frequencies[there].sum()
    worth = float(1 / (weight**2 / m[there]).sum())
    return intervals.of_share(float(weight @ (np.diag(counts)[there] / m[there])), worth), worth


def in_words(record: ClassesRecord, n: int) -> list[str]:
    """Return the notes of an evaluation of n samples on their classes."""
    notes = []
    if record.right is not None:
        notes.append(
            f"The classifier is right on {right_in_words(record)} of real held-out images, so the shares of the "
            "classes are compared with those that it sees in real images."
        )
    if record.confusion is None:
        return notes
    if record.told:
        return [
            *notes,
            "Classes were asked for, so class entropy, chi-square and p-value are right by construction and say "
            "nothing about the model; asked-seen is the share of samples in which the classifier sees the class that "
            "was asked for.",
        ]
    m = sum(record.histogram)
    return [
        *notes,
        f"Class entropy, chi-square and p-value are those of {m:,} further samples, drawn without a class; those of "
        f"the {n:,} samples that were drawn with a class would be right by construction.",
    ]


def right_in_words(record: ClassesRecord) -> str:
    """Return the share of real held-out pictures that the classifier names right, with its interval."""
    if record.right_interval is None:
        return f"{record.right:.1%}"
    low, high = record.right_interval
    return f"{record.right:.1%} ({low:.1%} to {high:.1%})"


def _known(labels: Labels) -> Labels:
    return np.asarray(labels[labels >= 0], np.int64)
