"""Fakes of pictures are what they are said to be, and a metric that takes one for real pictures is no grade."""

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from torch import nn

from gendi.data.dataset import Data
from gendi.data.images import controls as c
from gendi.data.images.control_checks import DISTANCES, ControlCheck
from gendi.data.images.evaluation import evaluate
from gendi.data.images.extractors import ModuleExtractor
from gendi.data.split import Split
from gendi.evaluate.comparison import compare
from gendi.evaluate.memorisation import copy_checks
from gendi.evaluate.result import Evaluation

Pictures = NDArray[np.uint8]
SIDE = 16


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GENDI_CACHE", str(tmp_path))
    return tmp_path


def drawings(n: int, seed: int) -> Pictures:
    """White pictures with one dark bar or one dark disc at a random place, in a random tone."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:SIDE, :SIDE] + 0.5
    at, size = rng.uniform(5, SIDE - 5, (2, n, 1, 1)), rng.uniform(2, 4, (n, 1, 1))
    disc = (x - at[0]) ** 2 + (y - at[1]) ** 2 < size**2
    bar = (abs(x - at[0]) < 1.5) & (abs(y - at[1]) < size + 2)
    ink = np.where(rng.random((n, 1, 1)) < 0.5, disc, bar)
    return np.where(ink, rng.uniform(0, 120, (n, 1, 1)), 250.0)[..., None].astype(np.uint8)


def data_of(train: Pictures, heldout: Pictures) -> Data:
    return Data("drawn", "drawn", Split(train), Split(heldout), (), "drawn", None, (), (), kind="images")


@pytest.fixture(scope="module")
def pictures() -> Pictures:
    return drawings(700, 0)


@pytest.fixture(scope="module")
def drawn(pictures: Pictures) -> Data:
    return data_of(pictures[:600], pictures[600:])


def mean_tone() -> ModuleExtractor:
    return ModuleExtractor(nn.AdaptiveAvgPool2d(1), name="mean-tone")


def edges() -> ModuleExtractor:
    """A random convolution, its absolute value, and the mean over quarters: blind to nothing much."""
    import torch

    torch.manual_seed(0)
    conv = nn.Conv2d(1, 12, 5, padding=2, bias=False)

    class Abs(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.abs()

    return ModuleExtractor(nn.Sequential(conv, Abs(), nn.AdaptiveAvgPool2d(2)), name="edges")


# --- the fakes -------------------------------------------------------------------------------------------------------


@pytest.mark.statistical
def test_noise_has_the_mean_and_the_spectrum_of_the_data() -> None:
    """Of smooth grey pictures that hardly meet the ends of the range. An average power over 600 fields has a relative
    error of 1 / sqrt(600) = 4%; six of these are 0.25. The mean of 600 pixels of deviation s errs by s / 24."""
    rng = np.random.default_rng(1)
    wave = rng.standard_normal((600, SIDE, SIDE, 2))
    smooth = sum(np.roll(wave, (i, j), (1, 2)) for i in range(3) for j in range(3)) / 3
    smooth[..., 1] += smooth[..., 0]  # channels that go together
    real = np.clip(np.rint(128 + 18 * smooth + 20 * np.sin(np.arange(SIDE))[:, None]), 0, 255).astype(np.uint8)
    fake = c.spectral_noise(real, 600, np.random.default_rng(2))
    mean = real.mean(axis=0)
    assert np.abs(fake.mean(axis=0) - mean).max() < 6 * real.std(axis=0).max() * np.sqrt(2 / 600)
    ours, theirs = (np.fft.fft2(x - mean, axes=(1, 2)) for x in (fake, real))
    strong = (abs(theirs) ** 2).mean(axis=0) > SIDE**2 * 20  # rounding to bytes adds 1/12 to every power
    power = (abs(ours) ** 2).mean(axis=0)[strong] / (abs(theirs) ** 2).mean(axis=0)[strong]
    assert strong.sum() > 50 and (abs(power - 1) < 0.4).all()
    cross = [np.mean((z[..., 0] * z[..., 1].conj()).real) / np.mean(abs(z[..., 0]) ** 2) for z in (ours, theirs)]
    assert cross[0] == pytest.approx(cross[1], abs=0.1)


def test_shuffled_patches_are_the_same_patches(pictures: Pictures) -> None:
    shuffled = c.shuffled_patches(pictures[:20], np.random.default_rng(0))
    for before, after in zip(pictures[:20], shuffled, strict=True):
        one, two = (sorted(x.reshape(4, 4, 4, 4).swapaxes(1, 2).reshape(16, 16).tolist()) for x in (before, after))
        assert one == two
    assert (shuffled != pictures[:20]).any(axis=(1, 2, 3)).all()


def test_a_rest_at_the_border_and_tiny_pictures_are_shuffled_too() -> None:
    odd = np.arange(2 * 9 * 6, dtype=np.uint8).reshape(2, 9, 6, 1)
    out = c.shuffled_patches(odd, np.random.default_rng(0))
    np.testing.assert_array_equal(out[:, 8:], odd[:, 8:])
    np.testing.assert_array_equal(out[:, :, 4:], odd[:, :, 4:])
    assert sorted(out.ravel()) == sorted(odd.ravel())
    assert c.shuffled_patches(odd[:, :1, :2], np.random.default_rng(0)).shape == (2, 1, 2, 1)


def test_a_blurred_point_is_a_gaussian() -> None:
    point = np.zeros((1, 31, 31, 1), np.uint8)
    point[0, 15, 15] = 255
    found = c.blurred(point, 1.5)[0, :, :, 0].astype(float)
    y, x = np.mgrid[-15:16, -15:16]
    density = np.exp(-(x**2 + y**2) / (2 * 1.5**2)) / (2 * np.pi * 1.5**2)
    assert np.abs(found - 255 * density).max() < 1  # half a byte of rounding, and sums over pixels for integrals


def test_blobs_keep_the_contrast_where_nothing_is_clipped() -> None:
    rng = np.random.default_rng(0)
    real = np.rint(128 + 12 * rng.standard_normal((5, SIDE, SIDE, 3))).astype(np.uint8)
    fake = c.blobs(real, 2.0)
    np.testing.assert_allclose(fake.std(axis=(1, 2)), real.std(axis=(1, 2)), rtol=0.02)
    steps = [np.abs(np.diff(x.astype(int), axis=1)).mean() for x in (fake, real)]
    assert steps[0] < steps[1] / 2


def test_means_are_those_of_sixteen_of_one_class() -> None:
    """Pictures of class k have the values k and 10 + k in halves: means lie between them, in steps of 10 / 16."""
    labels = np.repeat(np.arange(5), 40)
    real = (100 * (labels > 2) + labels + 10 * (np.arange(200) % 2))[:, None, None, None].astype(np.uint8)
    found = c.mean_pictures(real, labels, 300, np.random.default_rng(0)).ravel()
    assert set(found) <= set(range(13)) | set(range(103, 115))
    assert len(set(found)) > 10
    one = c.mean_pictures(real, None, 50, np.random.default_rng(0)).ravel()
    assert 20 < one.mean() < 70 and one.std() < 30  # of all classes at once


# --- gates -----------------------------------------------------------------------------------------------------------


def test_features_that_are_blind_to_a_fake_are_no_grades(drawn: Data) -> None:
    """Shuffled patches have exactly the mean of their picture, so mean tones cannot tell them from real ones."""
    check = ControlCheck(mean_tone(), drawn, 200)
    assert check.size == 200
    for name in check.gates:
        assert "shuffled" in check.missed(name), name
    assert "noise" not in check.missed("fid")  # clipped at white, it is darker
    (said,) = check.in_words()
    assert "shuffled" in said and "None of these metrics is a grade here" in said


def test_features_that_see_shapes_catch_every_fake(drawn: Data) -> None:
    check = ControlCheck(edges(), drawn, 200)
    assert {name: check.missed(name) for name in DISTANCES} == dict.fromkeys(DISTANCES, ())


@pytest.mark.statistical
def test_real_pictures_pass_and_the_fakes_would_not(drawn: Data) -> None:
    extractor = edges()
    check = ControlCheck(extractor, drawn, 200)
    unseen = check.checks(extractor(drawings(200, 5)))
    assert all(found.passed for found in unseen.values() if not found.missed)
    noise = check.checks(extractor(c.spectral_noise(drawn.train.rows[:], 200, np.random.default_rng(3))))
    assert noise["fid"].passed is False
    assert noise["precision"].missed == ("blurred",)  # so it has no verdict
    assert noise["precision"].passed is None


def test_samples_may_be_sorted(drawn: Data) -> None:
    """Dark pictures first, as a folder may have them: the first 200 of 600 would be a third of the tones."""
    extractor, unseen = edges(), drawings(600, 7)
    dark_first = unseen[np.argsort(unseen.min(axis=(1, 2, 3)), kind="stable")]
    check = ControlCheck(extractor, drawn, 600)
    assert check.size == 200
    assert check.checks(extractor(dark_first))["fid"].passed
    assert check.checks(extractor(dark_first[:200]))["fid"].passed is False


def test_gates_and_fakes_come_from_the_cache(drawn: Data, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = ControlCheck(mean_tone(), drawn, 200)
    monkeypatch.setattr("gendi.data.images.control_checks.make_controls", lambda *_: pytest.fail("made again"))
    again = ControlCheck(mean_tone(), drawn, 200)
    assert (again.gates, again.controls) == (first.gates, first.controls)
    (path,) = (cache / "features").glob("controls-*.json")
    for damage in ("", "[]", '{"gates": {"fid": [1]}, "controls": {"fid": {}}}'):
        path.write_text(damage)
        with pytest.raises(pytest.fail.Exception):
            ControlCheck(mean_tone(), drawn, 200)


def test_too_few_pictures_have_no_gates_and_a_note_says_so(pictures: Pictures) -> None:
    few = data_of(pictures[:30], pictures[30:40])
    found = evaluate(pictures[40:60], few, n=20, extractor=mean_tone())
    assert found["fid-mean-tone"].check is None
    assert any("too few real images to check" in note for note in found.notes)


# --- in an evaluation ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def blind() -> Iterator[Evaluation]:
    with pytest.MonkeyPatch.context() as patch:
        import tempfile

        with tempfile.TemporaryDirectory() as folder:
            patch.setenv("GENDI_CACHE", folder)
            real = drawings(700, 0)
            yield evaluate(drawings(200, 6), data_of(real[:600], real[600:]), n=150, extractor=[mean_tone(), edges()])


def test_an_evaluation_says_what_is_no_grade(blind: Evaluation) -> None:
    assert not blind["fid-mean-tone"].graded
    assert blind["fid-edges"].graded
    table = json.loads(json.dumps(blind.to_dict(), allow_nan=False))
    entry = table["metrics"]["fid-mean-tone"]
    assert entry["graded"] is False
    assert entry["check"]["n"] == 150
    assert entry["check"]["controls"].keys() == set(c.FAKES)
    assert "shuffled" in entry["check"]["missed"]
    assert table["metrics"]["fid-edges"]["graded"] is True
    assert Evaluation.from_dict(table) == Evaluation.from_dict(json.loads(json.dumps(table)))
    assert Evaluation.from_dict(table).to_dict() == blind.to_dict()
    for one in table["metrics"].values():
        del one["check"], one["graded"]
    assert Evaluation.from_dict(table)["fid-mean-tone"].graded  # an older file: nobody asked


def test_nobody_wins_a_metric_that_is_no_grade(blind: Evaluation) -> None:
    metrics = tuple(dataclasses.replace(m, value=m.value / 100 if m.value else m.value) for m in blind.metrics)
    found = {d.name: d for d in compare(dataclasses.replace(blind, metrics=metrics), blind)}
    assert found["fid-edges"].winner == "a"
    assert found["fid-mean-tone"].winner is None and not found["fid-mean-tone"].tie


# --- the nearest training picture ------------------------------------------------------------------------------------


@pytest.mark.statistical
def test_the_ratio_is_read_from_both_sides() -> None:
    """Distances are normal around 10 with deviation 1. The median of 400 errs by 1.25 / 20 = 0.06: gates are a few of
    these wide, and 0.9 or 1.1 of the distances lies ten and more of them away."""
    rng = np.random.default_rng(0)
    heldout = 10 + rng.standard_normal(400)
    for factor, passed in ((1.0, True), (0.9, False), (1.1, False)):
        ours = factor * (10 + rng.standard_normal(400))
        assert copy_checks(ours, heldout, 0.01)["nearest-train-ratio"].passed is passed


@pytest.mark.statistical
def test_unseen_pictures_have_few_near_copies() -> None:
    """Of 400 unseen pictures 1% are nearer than the threshold of 400 held-out ones, which chance moves too: over 300
    worlds, a gate for 1 in 200 fails for 5 or fewer with probability 0.999."""
    rng, failed = np.random.default_rng(1), 0
    for _ in range(300):
        heldout, ours = rng.random((2, 400))
        share = float((ours < np.quantile(heldout, 0.01)).mean())
        failed += copy_checks(ours, heldout, share)["near-copies"].passed is False
    assert failed <= 5
    assert copy_checks(np.zeros(400), rng.random(400), 1.0)["near-copies"].passed is False
    assert copy_checks(np.zeros(400), np.zeros(400), 1.0).keys() == {"near-copies"}
