"""The classes of samples are compared with what the same classifier sees in real pictures, and it may be a weak one."""

import dataclasses

import numpy as np
import pytest
from scipy.stats import betabinom

from gendi.data.dataset import Data
from gendi.data.images import class_classifier, learned_features
from gendi.data.images.choose_extractors import choose_extractors
from gendi.data.images.class_metrics import (
    IGNORED,
    MISSING,
    NOBODY_KNOWS,
    ClassReader,
    Drawn,
    Real,
    asked_check,
    class_metrics,
    reader_of,
    seen_in_real,
)
from gendi.data.images.evaluation import evaluate
from gendi.data.split import Split
from gendi.evaluate.result import Metric

K = 5
pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture
def own_cache(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GENDI_CACHE", str(tmp_path))


class Told:
    """Features that are written into the pictures: the class that the classifier sees is the second byte."""

    name, sha256, resize = "told", "0" * 64, "none"

    def __call__(self, images: np.ndarray, poll: object = None) -> np.ndarray:
        return np.eye(K, dtype=np.float32)[images[:, 0, 1, 0]]


READER = ClassReader(Told(), lambda features: 0.1 + 0.5 * features)  # type: ignore[arg-type]


def pictures(labels: np.ndarray, right: float, rng: np.random.Generator) -> np.ndarray:
    """Return pictures (n, 1, 2, 1) of a class, and as what they are seen: of mistakes, two in three are class 0."""
    mistake = np.where(rng.random(len(labels)) < 2 / 3, 0, rng.integers(0, K, len(labels)))
    seen = np.where(rng.random(len(labels)) < right, labels, mistake)
    return np.stack([labels, seen], 1).astype(np.uint8)[:, None, :, None]


def world(right: float, rng: np.random.Generator, heldout: int = 300) -> Data:
    labels = rng.integers(0, K, 2000 + heldout)
    rows = pictures(labels, right, rng)
    parts = [
        Split(rows[part], {"class": labels[part].astype(np.int64)}) for part in (slice(0, 2000), slice(2000, None))
    ]
    return Data("drawn", "drawn", *parts, (), "drawn", None, (), (), kind="image")


def measured(data: Data, images: np.ndarray, drawn: Drawn | None = None) -> dict[str, Metric]:
    real = seen_in_real(READER, dataclasses.replace(data, fingerprint=str(id(data))), 0, None)
    return {m.name: m for m in class_metrics(READER, images, data, real, drawn or Drawn(), 0, None)[1]}


@pytest.mark.statistical
@pytest.mark.parametrize("right", [0.99, 0.4])
def test_real_pictures_pass_however_weak_the_classifier_is(right: float) -> None:
    """40 worlds of a classifier that sees class 0 too often: half of the p-values are below 1/2 (10 to 30 of 40 with
    probability 0.999), and one in 200 below the gate (at most two with probability 0.999)."""
    rng, found = np.random.default_rng(0), []
    for _ in range(40):
        metrics = measured(world(right, rng), pictures(rng.integers(0, K, 400), right, rng))
        assert metrics["class-p-value"].floor == 0.5 and metrics["class-chi-square"].floor == K - 1
        check = metrics["class-p-value"].check
        assert check is not None and check.gate == (0.005, None)
        found.append(metrics["class-p-value"].value or 0.0)
    assert 10 <= sum(p < 0.5 for p in found) <= 30
    assert sum(p < 0.005 for p in found) <= 2


def test_a_missing_class_is_caught_where_the_classifier_is_good_and_is_no_grade_where_it_is_blind() -> None:
    rng = np.random.default_rng(1)
    without = rng.integers(1, K, 400)
    for right in (0.99, 0.8):  # at 0.8, class 0 is seen in 0.15 instead of 0.31: 5 standard deviations
        found = measured(world(right, rng), pictures(without, right, rng))
        p, chi, entropy = (found[f"class-{name}"] for name in ("p-value", "chi-square", "entropy"))
        assert p.graded and p.check is not None and p.check.passed is False
        assert chi.graded and chi.check is not None and chi.check.passed is False
        assert entropy.graded and entropy.better == "closest"
    blind = measured(world(0.0, rng), pictures(without, 0.0, rng))
    for name in ("class-p-value", "class-chi-square", "class-entropy"):
        assert not blind[name].graded and "would hardly notice" in blind[name].no_grade
    check = blind["class-p-value"].check
    assert check is not None and check.missed == (MISSING,) and check.passed is None
    assert blind["confidence"].graded


def test_without_held_out_pictures_nobody_knows() -> None:
    rng = np.random.default_rng(2)
    data = dataclasses.replace(world(0.9, rng), heldout=Split(np.zeros((0, 1, 2, 1), np.uint8)))
    found = measured(data, pictures(rng.integers(0, K, 100), 0.9, rng), Drawn(asked=np.zeros(100, np.int64)))
    assert found["class-p-value"].no_grade == "right by construction, as the samples were drawn class by class"
    assert found["asked-seen"].no_grade == NOBODY_KNOWS and found["asked-seen"].floor is None


def test_what_was_asked_for_stands_beside_the_same_classes_of_real_pictures() -> None:
    """Of 40 real pictures of class 0 the classifier is right in 30, of 10 of class 1 in 9. Where class 0 is asked for
    three times as often as class 1, it is right in 3/4 * 0.75 + 1/4 * 0.9 = 0.7875 of real pictures; that stands for
    1 / (0.75^2 / 40 + 0.25^2 / 10) = 49.23 pictures of equal weight."""
    rng = np.random.default_rng(3)
    labels = np.repeat([0, 1], [40, 10])
    seen = np.concatenate([[0] * 30, [1] * 10, [1] * 9, [0]])
    real = Real(np.eye(K)[seen], labels)
    asked = np.array([0, 0, 0, 1] * 25)
    data = world(0.9, rng)
    _, metrics = class_metrics(READER, pictures(asked, 0.6, rng), data, real, Drawn(asked=asked), 0, None)
    found = metrics[0]
    assert found.name == "asked-seen" and found.floor == pytest.approx(0.7875)
    assert found.check is not None
    least = betabinom.ppf(0.005, 100, 0.7875 * 49.2308 + 0.5, 0.2125 * 49.2308 + 0.5) / 100
    assert found.check.gate == (pytest.approx(least), None) and 0.5 < least < 0.7
    assert found.check.controls.keys() == {IGNORED} and found.check.missed == ()
    unknown = Real(real.probabilities, np.full(50, -1))
    record, _ = class_metrics(READER, pictures(asked, 0.6, rng), data, unknown, Drawn(), 0, None)
    assert record.right is None and record.expected == pytest.approx((31 / 50, 19 / 50, 0, 0, 0))


def test_a_classifier_by_chance_gives_no_grade_of_what_was_asked_for() -> None:
    """It sees class 0 in 80% of everything. Where class 0 is asked for in 9 of 10 samples, 0.9 * 0.8 + 0.1 * 0.2 = 0.74
    are right, and so they are for samples that have nothing to do with what was asked for."""
    asked, seen = np.array([90.0, 10.0]), np.array([0.8, 0.2])
    check = asked_check(0.74, 100, 0.74, 200, asked, seen)
    assert check is not None and check.controls[IGNORED] == pytest.approx(0.74) and check.missed == (IGNORED,)
    good = asked_check(0.99, 100, 0.99, 200, asked, seen)
    assert good is not None and good.passed and not good.missed
    assert asked_check(0.5, 100, None, 0, asked, seen) is None


# --- the classifier that learned from the data -----------------------------------------------------------------------


def squares(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return noisy pictures of three plain colours with a random bright spot, and which colour each has."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 3
    rows = rng.normal(60, 12, (n, 12, 12, 3)) + 120 * np.eye(3)[labels][:, None, None]
    y, x = rng.integers(0, 9, (2, n))
    for i in range(n):
        rows[i, y[i] : y[i] + 3, x[i] : x[i] + 3] += 60
    return np.clip(rows, 0, 255).astype(np.uint8), labels.astype(np.int64)


def test_the_learned_classifier_is_right_and_says_how_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learned_features, "STEPS", 1)
    monkeypatch.setattr(class_classifier, "FEWEST_STEPS", 30)
    monkeypatch.setattr(class_classifier, "MOST_STEPS", 30)
    rows, labels = squares(480, 0)
    labels[400:430] = (labels[400:430] + 1) % 3  # some held-out pictures have a wrong label
    parts = [Split(rows[part], {"class": labels[part]}) for part in (slice(0, 400), slice(400, None))]
    data = Data("squares", "squares", *parts, (), "squares", None, (), (), kind="image")
    (extractor,), _ = choose_extractors("learned", data, None, "cpu", n=90)
    reader = reader_of(data, ["learned"])
    assert reader is not None
    fresh, truth = squares(90, 5)
    assert (reader(fresh).argmax(axis=1) == truth).all()
    seen = reader(rows[400:]).argmax(axis=1)
    right = float((seen == labels[400:]).mean())
    assert right == 50 / 80
    asked = np.where(np.arange(90) < 9, (truth + 1) % 3, truth)
    found = evaluate(fresh, data, n=90, extractor=[extractor], asked=asked)
    assert found.classes is not None and found.classes.right is not None
    each = [float((seen[labels[400:] == c] == c).mean()) for c in range(3)]
    weights = np.bincount(labels[:400]) / 400
    assert found.classes.right == pytest.approx(float(weights @ each))
    assert found["asked-seen"].value == pytest.approx(81 / 90)
    low, high = found.classes.right_interval or (0.0, 0.0)
    assert low < found.classes.right < high
    said = f"is right on {found.classes.right:.1%} ({low:.1%} to {high:.1%}) of real held-out images"
    assert any(said in note for note in found.notes)
