"""Classes that were asked for: their shares are right by construction, and what is seen is measured instead."""

import json

import numpy as np
import pytest

from gendi.data.dataset import Data
from gendi.data.images.evaluation import evaluate
from gendi.errors import UsageError
from gendi.evaluate.classes import confusion_matrix
from gendi.evaluate.result import Evaluation

N = 200
pytestmark = pytest.mark.usefixtures("cache")


@pytest.fixture(scope="module")
def digits(small_mnist: Data) -> tuple[np.ndarray, np.ndarray]:
    """As many of each test digit, in turn, and their classes."""
    labels = small_mnist.heldout.labels
    assert labels is not None
    turn = np.stack([np.flatnonzero(labels == c)[: N // 10] for c in range(10)], axis=1).ravel()
    return small_mnist.heldout.batch(turn), labels[turn]


@pytest.fixture(scope="module")
def told(digits: tuple[np.ndarray, np.ndarray], small_mnist: Data) -> Evaluation:
    images, labels = digits
    return evaluate(images, small_mnist, n=N, extractor="pixels", asked=labels)


def test_confusion_by_hand() -> None:
    asked, seen = np.array([0, 0, 1, 2, 2, 2, -1]), np.array([0, 1, 1, 0, 2, 2, 1])
    assert confusion_matrix(asked, seen, 3) == ((1, 1, 0), (0, 1, 0), (1, 0, 2))
    with pytest.raises(UsageError, match="Class 2 was asked for"):
        confusion_matrix(asked, seen, 2)


@pytest.mark.statistical
def test_what_is_seen_is_what_was_asked_for(told: Evaluation) -> None:
    """The classifier is right on 99.3% of test digits: four wrong answers or more of 200 have probability 0.05, ten or
    more 2e-6."""
    found = told["asked-seen"]
    assert found.value is not None and found.value > 1 - 10 / N
    assert found.interval is not None and found.interval[0] < found.value
    assert found.floor is not None and found.floor > 0.95
    assert told.classes is not None and told.classes.confusion is not None
    matrix = np.array(told.classes.confusion)
    assert matrix.sum(axis=1).tolist() == [N // 10] * 10
    assert np.trace(matrix) == round(found.value * N)


def test_shares_that_are_right_by_construction_are_no_grades(told: Evaluation) -> None:
    assert told.classes is not None and told.classes.told
    for name in ("class-entropy", "class-chi-square", "class-p-value"):
        assert not told[name].graded and "by construction" in told[name].no_grade
    assert told["confidence"].graded and told["asked-seen"].graded
    assert any("right by construction" in note for note in told.notes)
    again = Evaluation.from_dict(json.loads(json.dumps(told.to_dict(), allow_nan=False)))
    assert again.classes == told.classes and again["class-p-value"].no_grade == told["class-p-value"].no_grade


def test_a_model_that_draws_the_wrong_class_is_caught(digits: tuple[np.ndarray, np.ndarray], small_mnist: Data) -> None:
    """Threes for fives and fives for threes: every histogram is right, and a fifth of the answers is wrong."""
    images, labels = digits
    swapped = labels.copy()
    swapped[labels == 3], swapped[labels == 5] = 5, 3
    found = evaluate(images, small_mnist, n=N, extractor="pixels", asked=swapped)
    assert found["asked-seen"].value == pytest.approx(0.8, abs=0.05)
    assert found.classes is not None and found.classes.confusion is not None
    assert found.classes.confusion[3][5] >= 17 and found.classes.confusion[5][3] >= 17


def test_the_shares_of_free_samples_are_measured_instead(
    digits: tuple[np.ndarray, np.ndarray], small_mnist: Data
) -> None:
    """A model that never chooses a three by itself, and draws perfect ones on request. Of n samples of the others in
    their proportions, with a share p of threes in the data, chi-square is n p / (1 - p) = 180 * 0.11 = 20.5, whose
    p-value is 0.015."""
    images, labels = digits
    free = images[labels != 3]
    found = evaluate(images, small_mnist, n=N, extractor="pixels", asked=labels, free=free)
    assert found.classes is not None and not found.classes.told
    assert sum(found.classes.histogram) == len(free) and found.classes.histogram[3] <= 2
    assert found["class-p-value"].graded and found["class-p-value"].value is not None
    assert found["class-p-value"].value < 0.03
    assert any("drawn without a class" in note for note in found.notes)


def test_without_classes_asked_nothing_is_by_construction(
    digits: tuple[np.ndarray, np.ndarray], small_mnist: Data
) -> None:
    images, _ = digits
    for asked in (None, np.full(N, -1)):
        found = evaluate(images, small_mnist, n=N, extractor="pixels", asked=asked)
        assert found.classes is not None and not found.classes.told and found.classes.confusion is None
        assert found["class-p-value"].graded
        assert "asked-seen" not in {metric.name for metric in found.metrics}
    with pytest.raises(UsageError, match="10 classes were given for 200 samples"):
        evaluate(images, small_mnist, n=N, extractor="pixels", asked=[0] * 10)
