import io
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest

from gendi.data import open_data
from gendi.data.images import numpy_files
from gendi.data.images.arrays import load_npy, load_npz
from gendi.errors import DataError, ResourceError
from gendi.storage import store


def npy(tmp_path: Path, array: np.ndarray, **options: bool) -> Path:
    path = tmp_path / "a.npy"
    np.save(path, array, **options)
    return path


def npz(tmp_path: Path, *unnamed: np.ndarray, **named: np.ndarray) -> Path:
    path = tmp_path / "a.npz"
    np.savez(path, *unnamed, **named)
    return path


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((4, 27, 31), (4, 27, 31, 1)),
        ((4, 27, 31, 1), (4, 27, 31, 1)),
        ((4, 9, 6, 3), (4, 9, 6, 3)),
        ((4, 3, 9, 6), (4, 9, 6, 3)),
        ((4, 1, 9, 6), (4, 9, 6, 1)),
        ((4, 4, 9, 6), (4, 9, 6, 4)),
        ((4, 3, 9, 3), (4, 3, 9, 3)),
    ],
)
def test_layouts(tmp_path: Path, rng: np.random.Generator, shape: tuple[int, ...], expected: tuple[int, ...]) -> None:
    array = rng.integers(0, 256, shape, np.uint8)
    images = load_npy(npy(tmp_path, array)).rows
    assert images.shape == expected
    moved = expected != shape and len(shape) == 4
    np.testing.assert_array_equal(images, (np.moveaxis(array, 1, -1) if moved else array).reshape(expected))


@pytest.mark.parametrize("shape", [(28, 28), (4, 5, 6, 7), (4, 2, 6, 2), (2, 3, 4, 5, 3), (7,), ()])
def test_wrong_rank_is_refused(tmp_path: Path, shape: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match=r"Images are wanted as \(N, H, W\)"):
        load_npy(npy(tmp_path, np.zeros(shape, np.uint8)))


def test_no_images_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no image"):
        load_npy(npy(tmp_path, np.zeros((0, 28, 28), np.uint8)))


LEVELS = np.arange(256).reshape(1, 16, 16)


@pytest.mark.parametrize(
    "array",
    [
        LEVELS.astype(np.uint8),
        LEVELS.astype(np.int64),
        LEVELS.astype(">i2"),
        LEVELS.astype(np.float32),
        LEVELS.astype(np.float64) / 255,
        (LEVELS / 255).astype(np.float16),
        (LEVELS / 127.5 - 1).astype(np.float32),
        (LEVELS * 257).astype(np.uint16),
        np.asfortranarray(LEVELS / 255),
    ],
    ids=["bytes", "ints", "big-endian", "0-255", "0-1", "half", "-1-1", "16-bit", "column-major"],
)
def test_every_byte_comes_out_of_every_clear_range(tmp_path: Path, array: np.ndarray) -> None:
    np.testing.assert_array_equal(load_npy(npy(tmp_path, array)).rows[..., 0], LEVELS)


def test_booleans_are_black_and_white(tmp_path: Path) -> None:
    assert load_npy(npy(tmp_path, np.eye(4, dtype=bool)[None])).rows[0, :, :, 0].tolist() == (np.eye(4) * 255).tolist()


@pytest.mark.parametrize(("low", "high"), [(-0.1, 1.0), (0, 2.6), (-3, 3), (0, 300), (-128, 127), (-0.4, 0.4)], ids=str)
def test_unclear_range_is_refused(tmp_path: Path, low: float, high: float) -> None:
    with pytest.raises(DataError, match=r"a\.npy has dtype float32 and values from .* clearly"):
        load_npy(npy(tmp_path, np.linspace(low, high, 64, dtype=np.float32).reshape(1, 8, 8)))


@pytest.mark.parametrize("array", [np.array([[[-1, 3]]]), np.array([[[0, 256]]]), np.array([[[0, 70_000]]], np.uint32)])
def test_integers_beyond_a_byte_are_refused(tmp_path: Path, array: np.ndarray) -> None:
    with pytest.raises(DataError, match=r"0\.\.255"):
        load_npy(npy(tmp_path, array))


def test_nan_is_reported_with_count_and_first_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gendi.data.images.ranges._CHUNK_BYTES", 200)
    array = np.zeros((50, 4, 5, 3))
    array[31, 2, 4, 1] = np.nan
    array[31, 3, 0, 0] = np.inf
    array[49, 0, 0, 0] = np.nan
    with pytest.raises(DataError, match=r"has 3 value.* first in image 31 at row 2, column 4, channel 1"):
        load_npy(npy(tmp_path, array))


class Bomb:
    """Touches a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (self.path,)  # type: ignore[return-value]


def test_object_dtype_is_refused_and_nothing_is_executed(tmp_path: Path) -> None:
    trap = tmp_path / "executed"
    array = np.array([Bomb(trap)], object)
    with pytest.raises(DataError, match="object dtype"):
        load_npy(npy(tmp_path, array, allow_pickle=True))
    with pytest.raises(DataError, match="object dtype"):
        load_npz(npz(tmp_path, images=np.zeros((1, 2, 2), np.uint8), labels=array))
    (tmp_path / "p.npy").write_bytes(pickle.dumps(Bomb(trap)))
    (tmp_path / "p.npz").write_bytes(pickle.dumps(Bomb(trap)))
    for name in ("p.npy", "p.npz"):
        with pytest.raises(DataError, match="could not be read"):
            open_data(str(tmp_path / name))
    assert not trap.exists()


@pytest.mark.parametrize("dtype", ["U3", "complex64", [("a", "u1")], "M8[s]"])
def test_dtype_without_pixels_is_refused(tmp_path: Path, dtype: object) -> None:
    with pytest.raises(DataError, match="dtype"):
        load_npy(npy(tmp_path, np.zeros((1, 2, 2), dtype)))  # type: ignore[call-overload]


@pytest.mark.parametrize("keep", [0, 5, 20, 100, 130])
def test_truncated_npy_is_refused(tmp_path: Path, keep: int) -> None:
    path = npy(tmp_path, np.zeros((2, 4, 4), np.uint8))
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DataError, match=r"a\.npy"):
        load_npy(path)


def test_npy_header_larger_than_the_file_allocates_nothing(tmp_path: Path) -> None:
    out = io.BytesIO()
    np.lib.format.write_array_header_1_0(out, {"descr": "|u1", "fortran_order": False, "shape": (10**12, 28, 28)})
    path = tmp_path / "huge.npy"
    path.write_bytes(out.getvalue() + b"\0" * 50)
    with pytest.raises(DataError, match=r"truncated.*1000000000000"):
        load_npy(path)
    with zipfile.ZipFile(tmp_path / "huge.npz", "w") as archive:
        archive.write(path, "images.npy")
    with pytest.raises(DataError, match=r"truncated.*1000000000000"):
        load_npz(tmp_path / "huge.npz")


def test_damaged_npz_is_refused(tmp_path: Path) -> None:
    path = npz(tmp_path, images=np.zeros((2, 40, 40), np.uint8))
    whole = bytearray(path.read_bytes())
    whole[500] ^= 1
    path.write_bytes(whole)
    with pytest.raises(DataError, match="CRC"):
        load_npz(path)
    path.write_bytes(whole[:1000])
    with pytest.raises(DataError, match=r"a\.npz could not be read"):
        load_npz(path)


@pytest.mark.parametrize(
    ("images", "labels"), [("samples", "labels"), ("images", "y"), ("x", "labels"), ("x_train", "y_train")]
)
def test_npz_names(tmp_path: Path, rng: np.random.Generator, images: str, labels: str) -> None:
    pixels = rng.integers(0, 256, (5, 3, 4), np.uint8)
    loaded = load_npz(npz(tmp_path, **{images: pixels, labels: np.array([0, 2, 1, 0, 2], np.uint8)}))
    np.testing.assert_array_equal(loaded.rows[..., 0], pixels)
    assert loaded.labels is not None
    assert loaded.labels.tolist() == [0, 2, 1, 0, 2]
    assert loaded.class_names == ("0", "1", "2")


def test_npz_without_names(tmp_path: Path) -> None:
    loaded = load_npz(npz(tmp_path, np.zeros((2, 3, 3), np.uint8), np.array([[1], [0]])))
    assert loaded.labels is not None
    assert loaded.labels.tolist() == [1, 0]


def test_npz_with_a_test_set_keeps_it(tmp_path: Path) -> None:
    part = {"x_train": np.zeros((5, 3, 3), np.uint8), "y_train": np.arange(5) % 2}
    part |= {"x_test": np.ones((2, 3, 3), np.uint8), "y_test": np.array([0, 3])}
    data = open_data(str(npz(tmp_path, **part)))
    assert (len(data.train), len(data.heldout)) == (5, 2)
    assert data.heldout.rows.max() == 1
    assert data.class_names == ("0", "1", "2", "3")
    part["x_test"] = np.ones((2, 4, 3), np.uint8)
    with pytest.raises(DataError, match="must be alike"):
        load_npz(npz(tmp_path, **part))


def test_npz_without_images_says_what_is_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="weights, bias; the images must be named one of samples"):
        load_npz(npz(tmp_path, weights=np.zeros(3), bias=np.zeros(3)))


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.array([0, 1]), r"shape \(2,\)"),
        (np.array([0, -1, 2]), "label -1 .first at index 1"),
        (np.array([0, 1, 10**9]), "label 1000000000"),
        (np.array([0, 0.5, 1]), "whole numbers"),
        (np.array([0, np.nan, 1]), "whole numbers"),
        (np.eye(3), r"shape \(3, 3\)"),
        (np.array(["a", "b", "c"]), "numbers"),
    ],
)
def test_bad_labels_are_named(tmp_path: Path, labels: np.ndarray, message: str) -> None:
    with pytest.raises(DataError, match=message):
        load_npz(npz(tmp_path, images=np.zeros((3, 2, 2), np.uint8), labels=labels))


def test_a_gap_in_labels_works_and_is_noted(tmp_path: Path) -> None:
    loaded = load_npz(npz(tmp_path, images=np.zeros((3, 2, 2), np.uint8), labels=np.array([0, 3, 3])))
    assert loaded.class_names == ("0", "1", "2", "3")
    assert "2 of the labels 0 to 3 have no training image: 1, 2" in loaded.notes


@pytest.mark.parametrize("scaled", [False, True])
def test_npy_beyond_memory_is_mapped_and_never_changed(
    tmp_path: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch, scaled: bool
) -> None:
    array = rng.integers(0, 256, (60, 3, 7, 5), np.uint8)
    path = npy(tmp_path, array / np.float32(255) if scaled else array)
    in_memory = open_data(str(path))
    before = path.read_bytes()
    monkeypatch.setattr(numpy_files, "fits_in_memory", lambda nbytes: False)
    monkeypatch.setattr(store, "fits_in_memory", lambda nbytes: False)
    for _ in range(2):  # decoded, then found in the cache
        mapped = open_data(str(path))
        assert mapped.fingerprint == in_memory.fingerprint
        np.testing.assert_array_equal(mapped.train.rows, in_memory.train.rows)
    assert path.read_bytes() == before
    assert len(list((tmp_path / "cache").rglob("*.npy"))) == scaled
    assert not list((tmp_path / "cache").rglob("*.tmp"))


def test_npz_beyond_memory_says_how_to_mend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numpy_files, "fits_in_memory", lambda nbytes: False)
    with pytest.raises(ResourceError, match=r"numpy\.save"):
        load_npz(npz(tmp_path, images=np.zeros((3, 2, 2), np.uint8)))


def test_full_disk_is_said_before_decoding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "fits_in_memory", lambda nbytes: False)
    usage = store.shutil.disk_usage(tmp_path)._replace(free=3)
    monkeypatch.setattr(store.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(ResourceError, match=r"0\.0 GB left"):
        load_npy(npy(tmp_path, np.zeros((3, 2, 2))))
