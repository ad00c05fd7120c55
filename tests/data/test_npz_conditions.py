"""Every array of an .npz with a row per image is a condition."""

from pathlib import Path

import numpy as np
import pytest

from gendi.data import Data, check_data, open_data
from gendi.data.split import Split
from gendi.diffusion.config import ConditionConfig
from gendi.errors import DataError

N = 40


@pytest.fixture
def arrays(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Images whose first byte is their number, so that rows can be told apart after some are held out."""
    images = rng.integers(0, 256, (N, 6, 4, 3), np.uint8)
    images[:, 0, 0, 0] = np.arange(N)
    return {"images": images, "labels": np.arange(N) % 3}


def opened(tmp_path: Path, **arrays: np.ndarray) -> Data:
    np.savez(tmp_path / "a.npz", **arrays)
    return open_data(str(tmp_path / "a.npz"))


def spec(data: Data, name: str) -> ConditionConfig:
    return next(spec for spec in data.conditions if spec.name == name)


def numbers(split: Split) -> np.ndarray:
    return split.rows[:, 0, 0, 0].astype(int)


def test_each_kind_is_known_by_type_and_shape(
    tmp_path: Path, arrays: dict[str, np.ndarray], rng: np.random.Generator
) -> None:
    extra = {
        "type": np.arange(N, dtype=np.int16) % 5,
        "hair": np.array(["red", "black"])[np.arange(N) % 2],
        "dose": rng.normal(5, 2, N),
        "pose": rng.normal(size=(N, 7)),
        "wears": rng.random((N, 4)) < 0.5,
        "marks": (rng.random((N, 2)) < 0.5).astype(np.uint8),
        "counts": rng.integers(0, 9, (N, 2)),
        "depth": rng.integers(0, 256, (N, 6, 4), np.uint8),
        "style": rng.integers(0, 256, (N, 6, 4, 3), np.uint8),
    }
    data = opened(tmp_path, **arrays, **extra)
    kinds = {found.name: (found.kind, found.size, found.via) for found in data.conditions}
    assert kinds == {
        "class": ("class", 3, "embedding"),
        "type": ("class", 5, "embedding"),
        "hair": ("class", 2, "embedding"),
        "dose": ("value", 1, "embedding"),
        "pose": ("vector", 7, "embedding"),
        "wears": ("tags", 4, "embedding"),
        "marks": ("tags", 2, "embedding"),
        "counts": ("vector", 2, "embedding"),
        "depth": ("image", 1, "channels"),
        "style": ("image", 3, "channels"),
    }
    assert (data.left_out, data.notes) == ({}, ())
    assert spec(data, "hair").names == ("black", "red")
    extra["hair"], extra["depth"] = (np.arange(N) + 1) % 2, extra["depth"][..., None]
    for split in (data.train, data.heldout):  # every row stays with its image
        for name, rows in extra.items():
            np.testing.assert_array_equal(
                split.conditions[name], rows[numbers(split)].astype(split.conditions[name].dtype)
            )
        np.testing.assert_array_equal(split.conditions["class"], numbers(split) % 3)


def test_mean_and_deviation_are_those_of_the_training_part(tmp_path: Path, arrays: dict[str, np.ndarray]) -> None:
    dose = np.linspace(-3, 40, N) ** 2
    dose[::5] = np.nan
    data = opened(tmp_path, **arrays, dose=dose, same=np.full(N, 2.5))
    known = dose[numbers(data.train)]
    known = known[~np.isnan(known)]
    assert spec(data, "dose").mean == pytest.approx(known.mean(), rel=1e-6)
    assert spec(data, "dose").std == pytest.approx(known.std(), rel=1e-6)
    assert (spec(data, "same").mean, spec(data, "same").std) == (2.5, 1.0), "a number that never changes"


def test_what_is_missing_is_null(tmp_path: Path, arrays: dict[str, np.ndarray]) -> None:
    pose = np.ones((N, 3))
    pose[numbers(opened(tmp_path, **arrays).train)[4], 1] = np.nan
    type_ = np.arange(N) % 5 - 1
    hair = np.array(["", "red", "black"])[np.arange(N) % 3]
    data = opened(tmp_path, **arrays, pose=pose, type=type_, hair=hair)
    assert np.isnan(data.train.conditions["pose"]).all(axis=1).tolist() == [i == 4 for i in range(len(data.train))]
    np.testing.assert_array_equal(data.train.conditions["type"], type_[numbers(data.train)])
    np.testing.assert_array_equal(data.train.conditions["hair"] == -1, numbers(data.train) % 3 == 0)


def test_names_stand_in_an_array_beside(tmp_path: Path, arrays: dict[str, np.ndarray]) -> None:
    data = opened(
        tmp_path,
        **arrays,
        labels_names=np.array(["cat", "dog", "emu", "never seen"]),
        wears=np.eye(2, dtype=bool)[np.arange(N) % 2],
        wears_names=np.array(["hat", "scarf"]),
    )
    assert data.class_names == ("cat", "dog", "emu", "never seen")
    assert (data.left_out, data.notes[1:]) == ({}, ()), "the gap in the classes alone is noted"
    assert spec(data, "wears").names == ("hat", "scarf")
    with pytest.raises(DataError, match="label 2 and 2 names"):
        opened(tmp_path, **arrays, class_names=np.array(["cat", "dog"]))
    with pytest.raises(DataError, match=r"labels_names has dtype .*names are texts"):
        opened(tmp_path, **arrays, labels_names=np.arange(3))


def test_names_that_cannot_be_leave_the_condition_out(tmp_path: Path, arrays: dict[str, np.ndarray]) -> None:
    wears = np.eye(2, dtype=bool)[np.arange(N) % 2]
    data = opened(tmp_path, **arrays, wears=wears, wears_names=np.array(["hat"]), k=wears[:, 0], k_names=np.zeros(2))
    assert data.left_out["wears"] == "it has 2 columns and 1 names"
    assert "names are texts" in data.left_out["k"]
    data = opened(tmp_path, **arrays, hair_train=np.arange(N) % 3, hair_names=np.array(["a", "b"]))
    assert data.left_out["hair_train"] == "it has the class 2 and 2 names"


def test_a_test_set_has_conditions_of_its_own(tmp_path: Path, arrays: dict[str, np.ndarray]) -> None:
    test = arrays["images"][:5].copy()
    hair = np.array(["red", "black"])
    data = opened(
        tmp_path,
        **arrays,
        images_test=test,
        labels_test=np.array([2, 1, 0, 2, 1]),
        hair=hair[np.arange(N) % 2],
        hair_test=np.array(["red", "grey", "", "red", "black"]),
        dose=np.arange(N) / 2,
    )
    assert (len(data.train), len(data.heldout)) == (N, 5)
    assert data.heldout.conditions["class"].tolist() == [2, 1, 0, 2, 1]
    assert spec(data, "hair").names == ("black", "grey", "red")
    assert data.heldout.conditions["hair"].tolist() == [2, 1, -1, 2, 0]
    assert data.train.conditions["hair"][:2].tolist() == [2, 0]
    assert np.isnan(data.heldout.conditions["dose"]).all(), "not told of the test set"


def test_keras_names(tmp_path: Path, arrays: dict[str, np.ndarray]) -> None:
    data = opened(
        tmp_path,
        x_train=arrays["images"],
        y_train=arrays["labels"],
        x_test=arrays["images"][:3],
        dose_train=np.arange(N) / 2,
        dose_test=np.array([1.5, 2.5, np.nan]),
    )
    assert [found.name for found in data.conditions] == ["class", "dose"]
    np.testing.assert_array_equal(data.heldout.conditions["dose"], np.float32([1.5, 2.5, np.nan]))
    assert data.heldout.conditions["class"].tolist() == [-1, -1, -1]
    assert any("no labels" in note for note in data.notes)


@pytest.mark.parametrize(
    ("name", "array", "reason"),
    [
        ("a", np.zeros(N - 1), "39 rows for 40 images"),
        ("a", np.full(N, np.inf), "infinite.* first in row 0"),
        ("a", np.full(N, 1e300), "beyond float32"),
        ("a", np.full(N, np.nan), "missing .NaN. in every row"),
        ("a", np.full(N, -1), "whole numbers from -1 to -1"),
        ("a", np.arange(N) - 7, "whole numbers from -7 to 32"),
        ("a", np.arange(N) * 10**6, "save quantities as floats|Save quantities as floats"),
        ("a", np.array([f"caption {i}" for i in range(N)]), "40 different texts in 40 rows"),
        ("a", np.array([""] * N), "empty in every row"),
        ("a", np.zeros((N, 3, 3)), "dtype float64 and shape .* pictures are bytes"),
        ("a", np.zeros((N, 2, 3, 4, 5), np.uint8), "pictures are bytes"),
        ("a", np.zeros((N, 0)), "shape .40, 0."),
        ("a", np.zeros(N, complex), "dtype complex128"),
        ("a", np.array([None] * N), "object dtype"),
        ("1st", np.zeros(N), "made into a word"),
        ("class", np.zeros(N), "already"),
    ],
)
def test_what_is_no_condition_says_why_and_keeps_nobody_from_training(
    tmp_path: Path, arrays: dict[str, np.ndarray], name: str, array: np.ndarray, reason: str
) -> None:
    data = opened(tmp_path, **arrays, **{name: array})
    assert [found.name for found in data.conditions] == ["class"]
    with pytest.raises(AssertionError, match=reason):
        raise AssertionError(data.left_out[name])
    assert f"{name}: {data.left_out[name]}" in data.notes[0]


def test_numbers_that_are_no_rows_are_passed_over(tmp_path: Path, arrays: dict[str, np.ndarray]) -> None:
    data = opened(tmp_path, **arrays, settings=np.array("{}"), seed=np.array(3))
    assert (data.left_out, data.notes) == ({}, ())


def test_a_name_is_made_a_word(tmp_path: Path, arrays: dict[str, np.ndarray]) -> None:
    data = opened(tmp_path, **arrays, **{"hair colour (RAL)": np.arange(N) % 2})
    assert data.conditions[1].name == "hair-colour-RAL"


def test_names_that_samplers_have_are_names_like_others(tmp_path: Path, arrays: dict[str, np.ndarray]) -> None:
    data = opened(tmp_path, **arrays, t=np.zeros(N), noise=np.ones(N))
    assert {"t", "noise"} < data.train.conditions.keys() and not data.left_out


def test_pictures_follow_the_size_of_the_images(tmp_path: Path, arrays: dict[str, np.ndarray]) -> None:
    depth = np.repeat(np.repeat(arrays["images"][..., 0], 2, 1), 2, 2)
    np.savez(tmp_path / "a.npz", **arrays, depth=depth)
    assert open_data(str(tmp_path / "a.npz")).train.conditions["depth"].shape == (38, 6, 4, 1)
    small = open_data(str(tmp_path / "a.npz"), size=(3, 2))
    assert small.train.conditions["depth"].shape == (38, 3, 2, 1)
    assert small.train.conditions["class"].shape == (38,)


def test_pictures_without_a_test_part_are_left_out(tmp_path: Path, arrays: dict[str, np.ndarray]) -> None:
    data = opened(tmp_path, **arrays, images_test=arrays["images"][:2], depth=arrays["images"])
    assert "missing in the test set" in data.left_out["depth"]


def test_the_fingerprint_covers_conditions(tmp_path: Path, arrays: dict[str, np.ndarray]) -> None:
    dose = np.arange(N) / 2
    before = opened(tmp_path, **arrays, dose=dose)
    assert opened(tmp_path, **arrays, dose=dose).fingerprint == before.fingerprint
    dose[int(numbers(before.train)[3])] += 1
    assert opened(tmp_path, **arrays, dose=dose).fingerprint != before.fingerprint


def test_the_report_counts_conditions(tmp_path: Path, arrays: dict[str, np.ndarray]) -> None:
    tags = np.zeros((N, 2), np.uint8)
    tags[:, 1] = 1
    np.savez(
        tmp_path / "a.npz", **arrays, type=np.arange(N) % 2 - 1, tags=tags, depth=arrays["images"], same=np.full(N, 2.5)
    )
    kind, marks, _, same = check_data(str(tmp_path / "a.npz")).conditions[1:]
    assert kind.counts == {"0": 38 - kind.missing} and 0 < kind.missing < 38
    assert marks.counts == {"0": 0, "1": 38}
    assert (same.low, same.high, same.mean, same.std) == (2.5, 2.5, 2.5, 1.0)
