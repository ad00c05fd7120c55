"""Colours of pictures: real ones pass, and every planted shift of colour fails at a gate that is meant for it."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.datasets import load_sample_images

from gendi.data.dataset import Data
from gendi.data.images.colour import colour_metrics
from gendi.data.split import Split
from gendi.evaluate.result import Metric

Pictures = NDArray[np.uint8]
SIDE, N = 8, 1000


def data_of(train: Pictures, heldout: Pictures) -> Data:
    return Data("made", "made", Split(train), Split(heldout), (), "made", None, (), (), kind="images")


def measured(samples: Pictures, data: Data, seed: int = 0) -> dict[str, Metric]:
    return {metric.name: metric for metric in colour_metrics(samples, data, seed=seed)}


def failed(samples: Pictures, data: Data, seed: int = 0) -> set[str]:
    return {name for name, metric in measured(samples, data, seed).items() if not metric.passed}


@pytest.fixture(scope="module")
def patches() -> Pictures:
    """8,480 patches of 8 x 8 pixels of two photographs, none over another, in a random order."""
    cut = []
    for photo in load_sample_images().images:
        rows, columns = photo.shape[0] // SIDE, photo.shape[1] // SIDE
        whole = photo[: rows * SIDE, : columns * SIDE].reshape(rows, SIDE, columns, SIDE, 3)
        cut.append(whole.swapaxes(1, 2).reshape(-1, SIDE, SIDE, 3))
    return np.random.default_rng(0).permutation(np.concatenate(cut))


@pytest.fixture(scope="module")
def photographs(patches: Pictures) -> Data:
    return data_of(patches[:5000], patches[5000:6000])


@pytest.fixture(scope="module")
def unseen(patches: Pictures) -> Pictures:
    """Patches that the pool of the gates does not hold."""
    return patches[6000 : 6000 + N]


def tinted(pictures: Pictures, channel: int, levels: int) -> Pictures:
    moved = pictures.astype(np.int64)
    moved[..., channel] += levels
    return np.clip(moved, 0, 255).astype(np.uint8)


def desaturated(pictures: Pictures, keep: float) -> Pictures:
    grey = pictures.mean(axis=3, keepdims=True)
    return np.rint(grey + keep * (pictures - grey)).astype(np.uint8)


def flatter(pictures: Pictures) -> Pictures:
    """Every picture half as far from the mean of all as before: the brightness of all is nearly the same."""
    means = pictures.mean(axis=(1, 2), keepdims=True)
    return np.clip(np.rint(pictures - 0.5 * (means - means.mean(axis=0))), 0, 255).astype(np.uint8)


def test_flat_pictures_have_the_values_that_are_worked_out_by_hand() -> None:
    flat = np.empty((2, 3, 4, 3), np.uint8)
    flat[0], flat[1] = (0, 20, 30), (50, 60, 250)
    data = data_of(np.repeat(flat, 10, axis=0), flat)
    found = {name: metric.value for name, metric in measured(flat, data).items()}
    variance = (25**2 + 20**2 + 110**2) / 3  # of two equal halves, each channel's half distance squared
    assert found == pytest.approx(
        {
            "mean-red": 25,
            "mean-green": 40,
            "mean-blue": 140,
            "tint-red": 25 - 205 / 3,
            "tint-green": 40 - 205 / 3,
            "tint-blue": 140 - 205 / 3,
            "spread-of-means": variance**0.5,
            "saturation": (30 + 200) / 2,
            "black-point-red": 0,
            "black-point-green": 20,
            "black-point-blue": 30,
            "white-point-red": 50,
            "white-point-green": 60,
            "white-point-blue": 250,
            "blacks": 1 / 6,
            "whites": 1 / 6,
        }
    )


def test_black_and_white_points_are_means_of_half_a_hundredth() -> None:
    """Of 1,000 values, one is 0, four are 10: the darkest five have the mean 8. Likewise 255 and 245 above: 247."""
    values = np.full(1000, 100)
    values[0], values[1:5], values[5:9], values[9] = 0, 10, 245, 255
    picture = values.reshape(2, 20, 25, 1).astype(np.uint8)
    found = measured(picture, data_of(picture, picture))
    assert found["black-point-grey"].value == pytest.approx(8)
    assert found["white-point-grey"].value == pytest.approx(247)


@pytest.mark.statistical
def test_real_photographs_pass(unseen: Pictures, photographs: Data) -> None:
    assert failed(unseen, photographs) == set()


@pytest.mark.statistical
@pytest.mark.parametrize("channel", [0, 1, 2])
@pytest.mark.parametrize("levels", [4, -4])
def test_a_tint_of_four_bytes_in_one_channel_fails(
    unseen: Pictures, photographs: Data, channel: int, levels: int
) -> None:
    name = ("red", "green", "blue")[channel]
    assert {f"grey-balance-{name}", f"black-point-{name}", f"white-point-{name}"} & failed(
        tinted(unseen, channel, levels), photographs
    )


@pytest.mark.statistical
@pytest.mark.parametrize(
    ("change", "meant"),
    [
        (lambda x: desaturated(x, 0.7), "saturation"),
        (lambda x: np.where(x < 40, 0, x).astype(np.uint8), "blacks"),
        (lambda x: np.where(x > 215, 255, x).astype(np.uint8), "whites"),
        (lambda x: np.rint(16 + x * (255 - 16) / 255).astype(np.uint8), "black-point-red"),
        (lambda x: np.rint(x * 235 / 255).astype(np.uint8), "white-point-blue"),
        (flatter, "spread-of-means"),
    ],
    ids=["desaturated", "crushed blacks", "blown whites", "lifted blacks", "grey whites", "equal brightness"],
)
def test_a_planted_shift_fails_where_it_should(
    change: Callable[[Pictures], Pictures], meant: str, unseen: Pictures, photographs: Data
) -> None:
    assert meant in failed(change(unseen), photographs)


@pytest.mark.statistical
def test_99_of_100_deals_of_real_digits_pass(mnist: Data) -> None:
    """Disjoint deals of training digits that the pool does not hold: 6 or more failures of 102, where 1 is expected,
    have a probability of 0.05%."""
    order = np.random.default_rng(3).permutation(len(mnist.train))  # digits of one writer are neighbours
    pool, others = np.asarray(mnist.train.rows)[order[:9000]], np.asarray(mnist.train.rows)[order[9000:]]
    deal = 500
    few = data_of(pool[:8000], pool[8000:])
    fails = sum(bool(failed(others[i : i + deal], few)) for i in range(0, len(others) - deal + 1, deal))
    assert fails < 6


@pytest.mark.statistical
def test_real_pictures_pass_although_the_pool_is_as_small_as_the_set() -> None:
    """Each trial draws a pool and a set of its own. 9 or more failures of 200, where at most 2 are expected, have a
    probability of 0.02%. Gates that took the pool for the whole truth would fail a tenth of them and more."""
    rng = np.random.default_rng(7)

    def draw(n: int) -> Pictures:
        colour = rng.normal((120, 130, 140), (30, 20, 25), (n, 1, 1, 3))
        return np.clip(np.rint(colour + rng.normal(0, 20, (n, 4, 4, 3))), 0, 255).astype(np.uint8)

    fails = sum(bool(failed(draw(200), data_of(draw(150), draw(50)), seed)) for seed in range(200))
    assert fails < 9


def test_one_channel_has_no_tint_and_no_saturation(small_mnist: Data) -> None:
    digits = small_mnist.heldout.batch(np.arange(N))
    assert list(measured(digits, small_mnist)) == [
        "mean-grey",
        "spread-of-means",
        "black-point-grey",
        "white-point-grey",
        "blacks",
        "whites",
    ]


@pytest.mark.statistical
def test_digits_whose_blacks_are_lifted_fail(small_mnist: Data) -> None:
    digits = small_mnist.heldout.batch(np.sort(np.random.default_rng(5).permutation(len(small_mnist.heldout))[:N]))
    assert failed(digits, small_mnist) == set()
    assert "black-point-grey" in failed(np.maximum(digits, 4), small_mnist)


def test_a_tint_in_grey_pictures_of_three_channels_fails(small_mnist: Data) -> None:
    grey = np.repeat(small_mnist.heldout.batch(np.arange(2 * N)), 3, axis=3)
    data = data_of(grey[:N], grey[N:])
    assert failed(grey[:N], data) == set()
    assert {"tint-blue", "saturation", "black-point-blue"} <= failed(tinted(grey[:N], 2, 4), data)


def test_intervals_shrink_as_the_root_of_the_number_of_samples(patches: Pictures, photographs: Data) -> None:
    """The standard error of a mean is known: the deviation of the pictures' means over the root of their number."""
    for n in (100, 400):
        found = measured(patches[:n], photographs)["mean-red"]
        expected = patches[:n, ..., 0].mean(axis=(1, 2)).std() / np.sqrt(n)
        assert found.standard_error == pytest.approx(expected, rel=0.2)  # of 200 replicates: 5%, and 4 of those
        assert found.value == pytest.approx(patches[:n, ..., 0].mean())
        assert found.interval is not None
        assert found.interval[1] - found.interval[0] == pytest.approx(2 * 1.96 * found.standard_error)  # type: ignore[operator]
