import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gendi.data import Split
from gendi.data import split as split_module
from gendi.data.images.hold_out import hold_out
from gendi.data.split import fingerprint


def numbered(n: int) -> np.ndarray:
    """Return n images (2, 3, 1) that tell their number."""
    return np.broadcast_to(np.arange(n, dtype=np.uint8).reshape(n, 1, 1, 1), (n, 2, 3, 1)).copy()


def key() -> np.random.Generator:
    return np.random.default_rng(5)


@given(st.integers(2, 250), st.integers(1, 40), st.booleans())
def test_parts_are_disjoint_whole_and_keep_their_labels(n: int, classes: int, labelled: bool) -> None:
    labels = np.random.default_rng(n).integers(0, classes, n) if labelled else None
    truth = None if labels is None else labels.copy()
    train, heldout, _ = hold_out(numbered(n), {} if labels is None else {"class": labels}, key())
    numbers = np.concatenate([train.rows[:, 0, 0, 0], heldout.rows[:, 0, 0, 0]])
    assert sorted(numbers) == list(range(n))
    assert 1 <= len(heldout) <= max(1, round(0.05 * n))
    if truth is not None:
        assert train.labels is not None
        assert heldout.labels is not None
        np.testing.assert_array_equal(np.concatenate([train.labels, heldout.labels]), truth[numbers])
        if len(np.unique(truth)) < n:
            assert set(train.labels) == set(truth), "every class stays in training"


@pytest.mark.parametrize(("n", "k"), [(2, 1), (10, 1), (100, 5), (30_000, 1000)])
def test_share_held_out(n: int, k: int) -> None:
    train, heldout, notes = hold_out(np.zeros((n, 1, 1, 1), np.uint8), {}, key())
    assert (len(train), len(heldout), notes) == (n - k, k, ())


def test_one_image_is_both_with_a_note() -> None:
    train, heldout, notes = hold_out(numbered(1), {}, key())
    assert len(train) == len(heldout) == 1
    assert "only one image" in notes[0]


def test_every_class_with_one_image_is_noted() -> None:
    train, heldout, notes = hold_out(numbered(3), {"class": np.arange(3)}, key())
    assert (len(train), len(heldout)) == (2, 1)
    assert "single image" in notes[0]


def test_batches_are_fresh_and_contiguous() -> None:
    images = np.arange(5 * 3 * 4 * 6, dtype=np.uint8).reshape(5, 3, 4, 6).transpose(0, 2, 3, 1)
    split = Split(images)
    for indices in ([4, 0, 4], range(2, 4), np.array([1], np.uint8)):
        batch = split.batch(indices)
        np.testing.assert_array_equal(batch, images[list(indices)])
        assert batch.flags.c_contiguous
        assert not np.shares_memory(batch, images)
    assert split.batch([]).shape == (0, 4, 6, 3)


def test_fingerprint_sees_every_change() -> None:
    images, labels = numbered(6), np.arange(6)
    seen = {
        fingerprint(Split(images)),
        fingerprint(Split(images, {"class": labels})),
        fingerprint(Split(images, {"class": labels[::-1]})),
    }
    seen.add(fingerprint(Split(images.reshape(6, 3, 2, 1))))
    seen.add(fingerprint(Split(images[:3]), Split(images[3:])))
    changed = images.copy()
    changed[5, 1, 2, 0] ^= 1
    seen.add(fingerprint(Split(changed)))
    assert len(seen) == 6
    assert fingerprint(Split(np.asfortranarray(images))) == fingerprint(Split(images)), "not how they lie in memory"


def test_fingerprint_of_huge_images_samples_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(split_module, "FINGERPRINT_BYTES", 10)
    monkeypatch.setattr(split_module, "FINGERPRINT_ROWS", 3)
    images = numbered(9)
    before = fingerprint(Split(images))
    for row, seen in [(0, True), (4, True), (8, True), (1, False)]:
        changed = images.copy()
        changed[row] ^= 1
        assert (fingerprint(Split(changed)) != before) == seen
