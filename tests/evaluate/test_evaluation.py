"""Evaluations of digits: sound ones raise no alarm, and each planted fault is caught by the metric meant for it."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from torch import nn

from gendi.data.dataset import Data
from gendi.data.images.evaluation import _deals, evaluate, load_samples
from gendi.data.images.extractors import ModuleExtractor
from gendi.data.split import Split
from gendi.errors import DataError, PreemptedError, UsageError
from gendi.evaluate.comparison import compare
from gendi.evaluate.result import Evaluation, Metric


def preempt() -> None:
    raise PreemptedError("stopped")


N = 500
pytestmark = pytest.mark.usefixtures("cache")


@pytest.fixture(scope="module")
def sound(small_mnist: Data) -> np.ndarray:
    """Real test digits, drawn independently of the floor's."""
    return small_mnist.heldout.batch(np.random.default_rng(0).permutation(len(small_mnist.heldout))[:N])


@pytest.fixture(scope="module")
def healthy(sound: np.ndarray, small_mnist: Data) -> Evaluation:
    return evaluate(sound, small_mnist, n=N)


def value(evaluation: Evaluation, name: str) -> float:
    found = evaluation[name].value
    assert found is not None
    return found


def floor(evaluation: Evaluation, name: str) -> float:
    found = evaluation[name].floor
    assert found is not None
    return found


@pytest.mark.statistical
def test_real_digits_in_the_samples_place_are_at_the_floor(healthy: Evaluation) -> None:
    """Shares over 500 images scatter by at most sqrt(2 / (4 * 500)) = 3% between two draws: 4 of those are 0.13."""
    for name in ("precision-digits", "recall-digits", "coverage-digits"):
        assert value(healthy, name) == pytest.approx(floor(healthy, name), abs=0.13)
    assert value(healthy, "fid-digits") < 2 * floor(healthy, "fid-digits")
    assert abs(value(healthy, "kid-digits")) < 5 * healthy["kid-digits"].standard_error  # type: ignore[operator]
    assert value(healthy, "class-p-value") > 1e-4
    assert value(healthy, "confidence") == pytest.approx(floor(healthy, "confidence"), abs=0.02)
    assert value(healthy, "nearest-train-ratio") == pytest.approx(1, abs=0.1)
    assert value(healthy, "near-copies") < 0.04  # binomial(500, 1%): 20 or more has probability 1e-7
    assert floor(healthy, "near-copies") == pytest.approx(0.01)


def test_a_missing_digit_shows_in_chi_square_and_coverage(small_mnist: Data, healthy: Evaluation) -> None:
    assert small_mnist.heldout.labels is not None
    without = small_mnist.heldout.batch(np.flatnonzero(small_mnist.heldout.labels != 3)[:N])
    found = evaluate(without, small_mnist, n=N)
    assert found.classes is not None
    assert found.classes.histogram[3] <= 5
    assert value(found, "class-p-value") < 1e-6
    assert value(found, "class-entropy") < np.log(9.2)
    assert value(found, "coverage-digits") < value(healthy, "coverage-digits") - 0.04
    assert value(found, "fid-digits") > 1.5 * floor(found, "fid-digits")


def test_copies_of_training_images_are_near_copies(small_mnist: Data) -> None:
    indices = np.arange(100, 100 + N)
    found = evaluate(small_mnist.train.batch(indices), small_mnist, n=N)
    assert value(found, "near-copies") == 1
    assert value(found, "nearest-train-ratio") == 0
    assert found.memorisation is not None
    assert found.memorisation.neighbours == tuple(indices)
    assert value(found, "precision-digits") > 0.5  # nothing else would have told


def test_noise_costs_distance_and_precision(small_mnist: Data, sound: np.ndarray) -> None:
    """Not confidence: the classifier reads digits through noise, so confidence alone would have praised these."""
    noise = np.random.default_rng(1).normal(0, 80, sound.shape)
    found = evaluate(np.clip(sound + noise, 0, 255).astype(np.uint8), small_mnist, n=N)
    assert value(found, "fid-digits") > 3 * floor(found, "fid-digits")
    assert value(found, "kid-digits") > 5 * found["kid-digits"].standard_error  # type: ignore[operator]
    assert value(found, "precision-digits") < floor(found, "precision-digits") - 0.2
    assert value(found, "near-copies") == 0


def test_half_formed_digits_cost_confidence(small_mnist: Data, sound: np.ndarray, healthy: Evaluation) -> None:
    blends = ((sound.astype(np.uint16) + np.roll(sound, 1, axis=0)) // 2).astype(np.uint8)
    found = evaluate(blends, small_mnist, n=N)
    assert value(found, "confidence") < value(healthy, "confidence") - 0.1
    assert value(found, "fid-digits") > 3 * floor(found, "fid-digits")


def test_a_single_digit_repeated_keeps_precision_and_loses_coverage(small_mnist: Data) -> None:
    jitter = np.repeat(small_mnist.heldout.batch([0]), N, axis=0)
    jitter[:, 0, 0, 0] = np.arange(N) % 3  # not quite identical
    found = evaluate(jitter, small_mnist, n=N)
    assert value(found, "coverage-digits") < 0.1
    assert value(found, "recall-digits") < 0.1
    assert value(found, "class-entropy") == 0


# --- the record ------------------------------------------------------------------------------------------------------


def test_every_metric_carries_what_fixes_its_scale(healthy: Evaluation) -> None:
    text = json.dumps(healthy.to_dict(), allow_nan=False)
    for name, metric in json.loads(text)["metrics"].items():
        assert {"value", "floor", "n", "seed", "reference", "reference_n", "floor_n", "ema"} <= metric.keys(), name
        assert metric["value"] is not None
        assert metric["floor"] is not None
    fid = json.loads(text)["metrics"]["fid-digits"]
    assert (fid["n"], fid["reference"], fid["extractor"], len(fid["sha256"])) == (N, "train", "digits", 64)
    again = Evaluation.from_dict(json.loads(text))
    assert again.to_dict() == healthy.to_dict()
    assert [row.name for row in again.table()] == list(json.loads(text)["metrics"])
    assert again["confidence"].report == 0.9305


def test_the_same_evaluation_twice_is_the_same_to_round_off(
    sound: np.ndarray, small_mnist: Data, healthy: Evaluation
) -> None:
    again = evaluate(sound[..., 0], small_mnist, n=N)  # (N, H, W), and features from the cache
    assert again.memorisation == healthy.memorisation
    for one, two in zip(again.metrics, healthy.metrics, strict=True):
        # Float32 convolutions sum in an order that depends on where in memory the images lie: 1e-6 of a feature.
        assert (one.value, one.floor) == pytest.approx((two.value, two.floor), rel=1e-4, abs=1e-6), one.name


def test_comparing_what_is_on_two_scales_is_an_error(healthy: Evaluation) -> None:
    better = dataclasses.replace(healthy, metrics=(Metric("fid-digits", 0.0, 1.0, "lower", extractor="digits"),))
    assert [(d.name, d.winner) for d in compare(healthy, better)] == [("fid-digits", "b")]
    assert {d.winner for d in compare(healthy, healthy)} == {None}
    other = dataclasses.replace(healthy.extractors[0], sha256="0" * 64)
    for change, named in [
        ({"n": 1000}, r"n \(500 against 1000\)"),
        ({"fingerprint": "x"}, "fingerprint"),
        ({"reference_n": 7}, "reference n"),
        ({"seed": 1}, "seed"),
        ({"extractors": (other,)}, "extractor digits"),
        ({"extractors": ()}, "extractors"),
    ]:
        with pytest.raises(UsageError, match=named):
            compare(healthy, dataclasses.replace(healthy, **change))
    with pytest.raises(UsageError, match="EMA"):
        compare(dataclasses.replace(healthy, ema=True), dataclasses.replace(healthy, ema=False))


def test_a_foreign_json_is_no_evaluation(healthy: Evaluation) -> None:
    for wrong in ({}, [], None, healthy.to_dict() | {"version": 99}, {"version": 1}):
        with pytest.raises(DataError, match="not an evaluation"):
            Evaluation.from_dict(wrong)


# --- other data, small data, bad input -------------------------------------------------------------------------------


@pytest.fixture
def colours(small_mnist: Data) -> Data:
    """40 colour images of 6 x 9, of which 6 are held out; no classifier knows them."""
    made = np.random.default_rng(2).integers(0, 256, (46, 6, 9, 3), dtype=np.uint8)
    return dataclasses.replace(
        small_mnist,
        name="colours",
        train=Split(made[6:]),
        heldout=Split(made[:6]),
        conditions=(),
        fingerprint="colours",
    )


def test_any_data_with_any_extractor(colours: Data) -> None:
    samples = np.random.default_rng(3).integers(0, 256, (30, 6, 9, 3), dtype=np.uint8)
    mean = ModuleExtractor(nn.AdaptiveAvgPool2d(1), name="mean-colour")
    found = evaluate(samples, colours, n=30, extractor=["auto", mean])
    assert [r.name for r in found.extractors] == ["pixels", "mean-colour"]
    assert found.extractors[1].dimensions == 3
    assert found.classes is None
    assert found["fid-pixels"].report is None
    assert any("only 6 held-out images for 30 samples" in note for note in found.notes)


def test_too_few_held_out_images_leave_floors_empty_and_say_so(colours: Data) -> None:
    one = dataclasses.replace(colours, heldout=Split(colours.heldout.rows[:1]), fingerprint="one")
    found = evaluate(colours.train.rows[:20], one, n=20)
    assert found["fid-pixels"].floor is None
    assert found["fid-pixels"].value is not None
    assert any("no floor of some metrics" in note for note in found.notes)
    json.dumps(found.to_dict(), allow_nan=False)


def test_fewer_samples_than_asked_are_used_and_noted(colours: Data) -> None:
    found = evaluate(colours.heldout.rows, colours, n=1000)
    assert (found.n, found.reference_n, found.floor_n) == (6, 6, 6)
    assert "fewer than the 1000" in found.notes[0]


def test_bad_samples_are_refused_with_a_reason(colours: Data, small_mnist: Data) -> None:
    images = colours.train.rows
    for samples, error, why in [
        (images.astype(np.float32), DataError, "float32; metrics see bytes"),
        (images[..., :1], DataError, r"6x9 with 1 channel\(s\), the images of mnist 6x9 with 3"),
        (images[..., 0], DataError, "with 1 channel"),
        (images[:, :4], DataError, "4x9"),
        (images[0, 0], DataError, "shape"),
        (images[:1], UsageError, "at least 2"),
    ]:
        with pytest.raises(error, match=why):
            evaluate(samples, colours)
    for options, why in [
        ({"n": 1}, "n = 1"),
        ({"seed": -1}, "seed = -1"),
        ({"extractor": "pixel"}, "Perhaps you meant 'pixels'"),
        ({"extractor": []}, "No feature extractor"),
        ({"extractor": ["pixels", "auto"]}, "twice"),
        ({"extractor": "digits"}, "28x28"),
        ({"batch_size": 0}, "batch_size = 0"),
    ]:
        with pytest.raises(UsageError, match=why):
            evaluate(images, colours, **options)


def test_poll_is_called(colours: Data) -> None:
    with pytest.raises(PreemptedError):
        evaluate(colours.train.rows, colours, poll=preempt)

    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate(colours.train.rows, colours, poll=interrupt)


def test_samples_are_read_from_npz_and_npy(tmp_path: Path, colours: Data) -> None:
    images = colours.train.rows
    np.savez(tmp_path / "a.npz", samples=images)
    np.save(tmp_path / "a.npy", images)
    for name in ("a.npz", "a.npy"):
        np.testing.assert_array_equal(load_samples(tmp_path / name), images)
    (tmp_path / "broken.npz").write_bytes((tmp_path / "a.npz").read_bytes()[:300])
    for name, why in [("none.npz", "no file"), ("broken.npz", "could not be read"), ("a.txt", "neither")]:
        (tmp_path / "a.txt").touch()
        with pytest.raises(DataError, match=why):
            load_samples(tmp_path / name)


def test_every_metric_of_pictures_has_intervals_of_value_and_floor(healthy: Evaluation) -> None:
    for metric in healthy.metrics:
        assert metric.value is not None and metric.interval is not None and metric.standard_error is not None
        assert metric.interval[0] <= metric.value <= metric.interval[1], metric.name
        assert metric.floor is not None
        if metric.name in ("class-chi-square", "class-p-value"):  # their floors are known without any chance
            assert metric.floor == {"class-chi-square": 9.0, "class-p-value": 0.5}[metric.name]
            continue
        assert metric.floor_interval is not None and metric.floor_error is not None
        assert metric.floor_interval[0] <= metric.floor <= metric.floor_interval[1], metric.name
    again = Evaluation.from_dict(json.loads(json.dumps(healthy.to_dict())))
    assert again["fid-digits"].floor_interval == healthy["fid-digits"].floor_interval


def test_evaluations_written_before_there_were_intervals_are_read(healthy: Evaluation) -> None:
    data = json.loads(json.dumps(healthy.to_dict()))
    for entry in data["metrics"].values():
        for name in ("interval", "floor_error", "floor_interval"):
            del entry[name]
    found = Evaluation.from_dict(data)["fid-digits"]
    assert (found.value, found.interval, found.floor_interval) == (healthy["fid-digits"].value, None, None)


def test_floors_come_from_disjoint_deals_where_there_are_enough(small_mnist: Data, sound: np.ndarray) -> None:
    """Eight deals of 50 at most; 100 held-out digits have only two, too few for an interval of their spread."""
    n = 50
    found = evaluate(sound[:n], small_mnist, n=n)
    assert any(f"means over 8 disjoint deals of {n} held-out images" in note for note in found.notes)
    deals = _deals(len(small_mnist.heldout), n, 0, "evaluation floor")
    assert len(np.unique(np.concatenate(deals))) == len(deals) * n
    few = evaluate(sound[:n], dataclasses.replace(small_mnist, heldout=Split(small_mnist.heldout.rows[: 2 * n])), n=n)
    assert not any("disjoint deals" in note for note in few.notes)
    assert few["fid-digits"].floor_interval is not None


def test_the_distance_at_infinity_is_a_metric_with_a_floor(small_mnist: Data, colours: Data) -> None:
    """For 3 colours 24 images are enough, for 162 pixels 30 are not."""
    mean = ModuleExtractor(nn.AdaptiveAvgPool2d(1), name="mean-colour")
    many = dataclasses.replace(colours, heldout=colours.train, fingerprint="many")
    found = evaluate(colours.train.rows[:30], many, n=30, extractor=[mean, "pixels"], fid_infinity=True)
    assert found["fid-infinity-mean-colour"].interval is not None
    assert found["fid-infinity-mean-colour"].floor_interval is not None
    assert found["fid-infinity-pixels"].value is None
    assert any("pixels: features of 162 dimensions need 1,296 images" in note for note in found.notes)
