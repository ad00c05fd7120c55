"""The classifier of any folder's classes: right on held-out pictures, by chance where there is nothing to learn."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binom

from gendi.data.dataset import Data
from gendi.data.images import class_classifier as classifier
from gendi.data.images.class_classifier import class_classifier as classifier_of
from gendi.data.images.class_classifier import has_classes, steps_for, varied
from gendi.data.images.class_metrics import ClassReader, Drawn, class_metrics, may_read, reader_of, seen_in_real
from gendi.data.images.extractors import state_sha256
from gendi.data.images.gauge import choose_gauge
from gendi.data.split import Split
from gendi.errors import PreemptedError
from gendi.evaluate.result import ClassesRecord, Metric

SIDE = 14
SHAPES = ("disc", "ring", "square", "cross")


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GENDI_CACHE", str(tmp_path))
    monkeypatch.setattr(classifier, "FEWEST_STEPS", 60)
    monkeypatch.setattr(classifier, "MOST_STEPS", 60)
    return tmp_path


def shapes(labels: np.ndarray, seed: int) -> np.ndarray:
    """Return pictures of shapes of about one area at any place, in any grey, under noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:SIDE, :SIDE]
    out = []
    for label in labels:
        dy, dx = y - rng.uniform(4.5, 8.5), x - rng.uniform(4.5, 8.5)
        far, square = np.hypot(dy, dx), np.maximum(abs(dy), abs(dx))
        cross = (np.minimum(abs(dy), abs(dx)) < 1.2) & (square < 4.5)
        drawn = (far < 3.4, (far < 4.2) & (far > 2.3), square < 3, cross)[label]
        out.append(rng.uniform(0, 60) + drawn * rng.uniform(90, 180) + rng.normal(0, 8, (SIDE, SIDE)))
    return np.clip(np.stack(out), 0, 255).astype(np.uint8)[..., None]


def data_of(labels: np.ndarray, pictures: np.ndarray, heldout: int, fingerprint: str) -> Data:
    parts = [
        Split(pictures[part], {"class": labels[part].astype(np.int64)})
        for part in (slice(heldout, None), slice(heldout))
    ]
    return Data("shapes", "shapes", *parts, (), fingerprint, None, (), (), kind="image")


@pytest.fixture(scope="module")
def drawn() -> Data:
    labels = np.random.default_rng(0).integers(0, 4, 800)
    return data_of(labels, shapes(labels, 1), 200, "drawn")


def measured(data: Data, images: np.ndarray, asked: np.ndarray) -> tuple[ClassesRecord, dict[str, Metric]]:
    reader = reader_of(data, ["auto"])
    assert isinstance(reader, ClassReader)
    record, found = class_metrics(reader, images, data, seen_in_real(reader, data, 0, None), Drawn(asked), 0, None)
    return record, {metric.name: metric for metric in found}


@pytest.mark.statistical
def test_it_names_shapes_that_it_has_not_seen_and_says_how_many(drawn: Data) -> None:
    """The share that is stated is that on the held-out pictures, by the frequencies of the training pictures, and 200
    more pictures of the same making are named as often, but for chance: four standard errors of a difference."""
    labels = np.arange(200) % 4
    fresh = shapes(labels, 2)
    record, found = measured(drawn, fresh, labels)
    assert record.right is not None and record.right > 0.9
    low, high = record.right_interval or (0.0, 0.0)
    assert low < record.right <= high and high - low < 0.15
    seen = found["asked-seen"]
    assert seen.graded and seen.check is not None and seen.check.passed
    error = np.sqrt(record.right * (1 - record.right) * (1 / 200 + 1 / 200) + 1 / 200**2)
    assert abs((seen.value or 0.0) - record.right) < 4 * error
    wrong = np.where(np.arange(200) < 40, (labels + 1) % 4, labels)  # a fifth is of another class
    _, found = measured(drawn, fresh, wrong)
    assert found["asked-seen"].check is not None and found["asked-seen"].check.passed is False


@pytest.mark.statistical
def test_labels_that_say_nothing_give_chance_and_no_grade(drawn: Data) -> None:
    """Labels dealt at random: as many of 200 held-out pictures are right as guesses would be, in 999 of 1000 cases."""
    assert drawn.train.labels is not None and drawn.heldout.labels is not None
    labels = np.random.default_rng(3).permutation(np.concatenate([drawn.heldout.labels, drawn.train.labels]))
    pictures = np.concatenate([drawn.heldout.rows[:], drawn.train.rows[:]])
    shuffled = data_of(labels, pictures, 200, "shuffled")
    record, found = measured(shuffled, shapes(np.arange(200) % 4, 2), np.arange(200) % 4)
    low, high = binom.ppf([0.0005, 0.9995], 200, 0.25) / 200
    assert record.right is not None and low - 0.02 < record.right < high + 0.02  # 0.02: classes are weighted anew
    assert not found["asked-seen"].graded and found["asked-seen"].check is not None
    assert found["asked-seen"].check.missed == ("ignored classes",)


def test_it_is_trained_once_and_then_read(drawn: Data, own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = classifier_of(drawn)
    (path,) = (own_cache / "extractors").iterdir()
    kept = path.read_bytes()
    path.unlink()
    assert state_sha256(classifier_of(drawn).network) == state_sha256(first.network)  # every draw is keyed
    assert path.read_bytes() == kept
    trained: list[int] = []
    monkeypatch.setattr(classifier, "train_classifier", lambda *_: trained.append(1))
    assert state_sha256(classifier_of(drawn).network) == state_sha256(first.network)
    assert not trained
    path.write_bytes(kept[:200])  # damaged: it is trained again
    classifier_of(drawn)
    classifier_of(dataclasses.replace(drawn, fingerprint="others"))
    assert len(trained) == 2 and len(list((own_cache / "extractors").iterdir())) == 2


def test_a_request_to_stop_is_heard(drawn: Data, own_cache: Path) -> None:
    def stop() -> None:
        raise PreemptedError("stopped")

    with pytest.raises(PreemptedError):
        classifier_of(drawn, stop)
    assert not (own_cache / "extractors").exists()


def test_who_has_classes(drawn: Data) -> None:
    assert has_classes(drawn) and may_read(drawn, ()) and may_read(drawn, ("learned",))
    assert not may_read(drawn, ("pixels",)) and reader_of(drawn, ["pixels"]) is None
    labels = np.asarray(drawn.train.labels)

    def told(labels: np.ndarray | None, n: int = 600) -> Data:
        rows = drawn.train.rows[:n]
        return dataclasses.replace(drawn, train=Split(rows, {} if labels is None else {"class": labels[:n]}))

    assert not has_classes(told(None))
    assert not has_classes(told(np.zeros(600, np.int64)))  # one class
    assert not has_classes(told(np.where(labels == 2, 3, labels)))  # a class without pictures
    assert not has_classes(told(labels, 150))
    assert has_classes(told(np.where(np.arange(600) < 50, -1, labels)))  # some are of no class


def test_pictures_without_a_class_teach_nothing(drawn: Data) -> None:
    """With wrong pictures among them: noise that belongs to no class."""
    rows, labels = drawn.train.rows[:].copy(), np.asarray(drawn.train.labels).copy()
    rows[::3] = np.random.default_rng(0).integers(0, 256, rows[::3].shape)
    labels[::3] = -1
    some = dataclasses.replace(drawn, train=Split(rows, {"class": labels}), fingerprint="some")
    reader = reader_of(some, ["auto"])
    assert reader is not None
    right = reader(drawn.heldout.rows[:]).argmax(axis=1) == np.asarray(drawn.heldout.labels)
    assert right.mean() > 0.8


def test_pictures_of_any_shape(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(classifier, "MOST_STEPS", 1)
    rng = np.random.default_rng(0)
    for shape in ((5, 9, 3), (70, 66, 1), (1, 1, 4)):
        rows = rng.integers(0, 256, (230, *shape), dtype=np.uint8)
        data = data_of(np.arange(230) % 2, rows, 10, str(shape))
        found = classifier_of(data)
        assert ("area" in found.resize) is (shape[0] == 70)
        reader = reader_of(data, ["learned"])
        assert reader is not None and reader(rows[:3]).shape == (3, 2)


def test_steps_grow_with_pictures_and_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(classifier, "FEWEST_STEPS", 300)
    monkeypatch.setattr(classifier, "MOST_STEPS", 1200)
    assert steps_for(200, 3) == 300
    assert steps_for(3200, 3) == 15 * 3200 / 64
    assert steps_for(1000, 26) == 40 * 26
    assert steps_for(10**6, 1000) == 1200


def test_varied_pictures_are_of_the_same_class_and_not_mirrored() -> None:
    """A bright left edge stays on the left, and the mean of a plain picture changes by a tenth at most."""
    import torch

    x = torch.zeros(64, 1, 16, 16)
    x[..., :5] = 1
    out = varied(x, np.random.default_rng(0))
    assert (out[..., :8].mean((1, 2, 3)) > out[..., 8:].mean((1, 2, 3)) + 0.2).all()
    plain = varied(torch.ones(64, 1, 16, 16), np.random.default_rng(1))
    assert ((plain - 1).abs() <= 0.1 + 1e-6).all() and plain.std() > 0.01


def test_evaluations_while_a_run_trains_need_no_classifier(drawn: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their budget counts the feature network alone (`learning_work`)."""
    monkeypatch.setattr(classifier, "train_classifier", lambda *_: pytest.fail("a classifier was trained"))
    choose_gauge(drawn, 0, 0.0)
