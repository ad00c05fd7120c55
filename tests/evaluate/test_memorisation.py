import numpy as np
import pytest

from gendi.errors import PreemptedError, UsageError
from gendi.evaluate import nearest as module
from gendi.evaluate.memorisation import Memorisation, memorisation
from gendi.evaluate.nearest import nearest_images

rng = np.random.default_rng(11)


def preempt() -> None:
    raise PreemptedError("stopped")


def images(n: int, shape: tuple[int, int, int] = (5, 4, 2)) -> np.ndarray:
    return rng.integers(0, 256, (n, *shape), dtype=np.uint8)


def brute(queries: np.ndarray, train: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    difference = queries[:, None].astype(np.float64) / 255 - train[None].astype(np.float64) / 255
    distance = np.sqrt((difference**2).sum(axis=(2, 3, 4)))
    return distance.min(axis=1), distance.argmin(axis=1)


@pytest.mark.parametrize("block", [1, 4000, 1 << 26])
def test_nearest_is_the_least_of_all_distances(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BLOCK_BYTES", block)
    queries, train = images(13), images(57)
    distance, index = (found[:, 0] for found in nearest_images(queries, train))
    expected, where = brute(queries, train)
    np.testing.assert_allclose(distance, expected, rtol=1e-12)
    np.testing.assert_array_equal(index, where)


def test_a_copy_is_at_distance_0_exactly_and_is_found() -> None:
    train = images(200, (28, 28, 1))
    order = rng.permutation(200)
    distance, index = (found[:, 0] for found in nearest_images(train[order], train))
    assert (distance == 0).all()
    np.testing.assert_array_equal(index, order)


def test_one_grey_level_in_one_pixel_is_1_over_255() -> None:
    train = images(50, (28, 28, 1)) // 2
    query = train[[17]].copy()
    query[0, 3, 4, 0] += 1
    distance, index = (found[:, 0] for found in nearest_images(query, train))
    assert index[0] == 17
    assert distance[0] == pytest.approx(1 / 255, rel=1e-12)


def test_near_copies_and_ratio_are_their_definitions() -> None:
    heldout = np.arange(1.0, 201)  # the 1% quantile of 1..200 is 1 + 0.01 * 199 = 2.99
    found = Memorisation(np.array([0.5, 2.9, 3.0, 400.0]), np.zeros(4, np.int64), heldout)
    assert found.threshold == pytest.approx(2.99)
    assert found.near_copies == 0.5
    assert found.heldout_near_copies == 0.01
    assert found.ratio == pytest.approx(2.95 / 100.5)


def test_the_floor_is_one_percent_whatever_the_data() -> None:
    train, heldout = images(300), images(1000)
    assert memorisation(images(10), train, heldout).heldout_near_copies == pytest.approx(0.01, abs=1e-9)


def test_copies_are_copies_even_where_held_out_images_are_copies_too() -> None:
    train = images(30)
    found = memorisation(train[:10], train, train[10:20])
    assert (found.near_copies, found.threshold) == (1, 0)
    assert np.isnan(found.ratio)


def test_poll_is_called_and_empty_sets_are_refused() -> None:
    with pytest.raises(PreemptedError):
        nearest_images(images(3), images(9), poll=preempt)
    with pytest.raises(UsageError, match="0 queries"):
        nearest_images(images(0), images(9))


def test_a_mirror_image_is_a_copy_where_mirrors_were_trained_on() -> None:
    train, heldout = images(40), images(20)
    turned = train[:10, :, ::-1]
    plain, mirrored = (memorisation(turned, train, heldout, mirrored=flag) for flag in (False, True))
    assert (mirrored.distance == 0).all() and (plain.distance > 0).all()
    np.testing.assert_array_equal(mirrored.neighbour, np.arange(10))
    both = np.concatenate([train, train[:, :, ::-1]])
    np.testing.assert_allclose(mirrored.heldout_distance, brute(heldout, both)[0], rtol=1e-12)
