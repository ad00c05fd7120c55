import gzip
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import gendi.data
from gendi.data import check_data, open_data
from gendi.data.images.idx import encode_idx, write_idx
from gendi.errors import DataError, UsageError
from gendi.storage import store


def test_importing_the_package_loads_no_torch() -> None:
    code = "import sys, gendi.data, gendi.data.images.mnist, gendi.data.images.folder; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_exported_name_is_there() -> None:
    assert all(getattr(gendi.data, name) is not None for name in gendi.data.__all__)
    with pytest.raises(AttributeError):
        _ = gendi.data.nothing


@pytest.mark.parametrize("spec", ["mnits", "FashionMNIST", "", "a\0b", "x" * 5000, "~nobody-of-that-name/x"])
def test_an_unknown_name_is_refused(spec: str) -> None:
    with pytest.raises(DataError) as caught:
        open_data(spec)
    if spec in {"mnits", "FashionMNIST"}:
        assert "Perhaps you meant" in str(caught.value)


def test_a_path_object_is_a_path_and_no_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("mnist", np.arange(20 * 16, dtype=np.uint8).reshape(20, 4, 4))
    Path("mnist.npy").rename("mnist")
    with pytest.raises(DataError, match="mnist is a file"):  # a file without a known suffix, and not the digits
        open_data(Path("mnist"))
    Path("mnist").rename("a.npy")
    found = open_data(Path("a.npy"))
    assert (found.spec, len(found.train)) == ("./a.npy", 19)
    assert open_data(tmp_path / "a.npy").spec == str(tmp_path / "a.npy")


def test_an_array_in_memory_is_told_what_to_do() -> None:
    with pytest.raises(UsageError, match=r"ndarray\. Save it with numpy\.save"):
        open_data(np.zeros((5, 8, 8), np.uint8))


@pytest.mark.parametrize("size", [0, -3, (28, 0), (10**6, 28)])
def test_a_size_that_cannot_be_is_refused(size: int | tuple[int, int]) -> None:
    with pytest.raises(UsageError, match=r"size = .* out of range"):
        open_data("mnist", size=size)


def test_a_negative_max_bad_is_refused() -> None:
    with pytest.raises(UsageError, match="max_bad = -1"):
        open_data("mnist", max_bad=-1)


@pytest.fixture
def npz(tmp_path: Path, rng: np.random.Generator) -> Path:
    path = tmp_path / "a.npz"
    np.savez(path, images=rng.integers(0, 256, (40, 6, 4, 3), np.uint8), labels=np.arange(40) % 3)
    return path


def test_held_out_images_are_the_same_every_time(npz: Path) -> None:
    first, second = open_data(str(npz)), open_data(str(npz))
    assert first.fingerprint == second.fingerprint
    np.testing.assert_array_equal(first.heldout.rows, second.heldout.rows)
    assert (len(first.train), len(first.heldout)) == (38, 2)
    assert (first.name, first.spec) == ("a.npz", str(npz))


def test_a_size_is_honoured(npz: Path) -> None:
    data = open_data(str(npz), size=5)
    assert data.train.rows.shape == (38, 5, 5, 3)
    assert data.codec.shape == (3, 5, 5)
    assert "6 x 4 were brought to 5 x 5" in data.notes[0]


def test_changed_data_have_another_fingerprint(npz: Path) -> None:
    before = open_data(str(npz)).fingerprint
    with np.load(npz) as file:
        images, labels = file["images"], file["labels"]
    images[7, 1, 2, 0] ^= 1
    np.savez(npz, images=images, labels=labels)
    assert open_data(str(npz)).fingerprint != before


# ------------------------------------------------------------------------------------------ folders of idx files

IMAGES, LABELS = np.arange(6 * 3 * 2, dtype=np.uint8).reshape(6, 3, 2), np.array([0, 1, 2, 0, 1, 3], np.uint8)


@pytest.mark.parametrize(
    ("train", "label", "test", "test_label"),
    [
        (
            "train-images-idx3-ubyte.gz",
            "train-labels-idx1-ubyte.gz",
            "t10k-images-idx3-ubyte",
            "t10k-labels-idx1-ubyte",
        ),
        ("train-images.idx3-ubyte", "train-labels.idx1-ubyte", "t10k-images.idx3-ubyte", "t10k-labels.idx1-ubyte"),
        ("emnist-train-images.idx", "emnist-train-labels.idx", "emnist-test-images.idx", "emnist-test-labels.idx"),
    ],
)
def test_idx_folder_with_a_test_set(folder: Path, train: str, label: str, test: str, test_label: str) -> None:
    write_idx(folder / train, IMAGES)
    write_idx(folder / label, LABELS)
    write_idx(folder / test, IMAGES[:2])
    write_idx(folder / test_label, LABELS[1:3])
    data = open_data(str(folder))
    np.testing.assert_array_equal(data.train.rows[..., 0], IMAGES)
    np.testing.assert_array_equal(data.train.labels, LABELS)
    np.testing.assert_array_equal(data.heldout.labels, LABELS[1:3])
    assert data.class_names == ("0", "1", "2", "3")


def test_idx_folder_with_any_single_pair(folder: Path) -> None:
    write_idx(folder / "pictures.idx3", IMAGES)
    write_idx(folder / "what-they-are.idx1.gz", LABELS)
    data = open_data(str(folder))
    assert (len(data.train), len(data.heldout)) == (5, 1)
    assert data.train.labels is not None


def test_idx_folder_with_images_alone(folder: Path) -> None:
    write_idx(folder / "x.idx", IMAGES)
    (folder / "x.idx.gz").write_bytes(gzip.compress(encode_idx(IMAGES)))
    assert open_data(str(folder)).train.labels is None


def test_idx_folder_with_two_sets_is_refused(folder: Path) -> None:
    for name in ("letters-images.idx", "digits-images.idx"):
        write_idx(folder / name, IMAGES)
    with pytest.raises(DataError, match=r"digits-images\.idx \(6, 3, 2\), letters.*folder of its own"):
        open_data(str(folder))


def test_idx_labels_of_another_number_are_refused(folder: Path) -> None:
    write_idx(folder / "images.idx", IMAGES)
    write_idx(folder / "labels.idx", LABELS[:4])
    with pytest.raises(DataError, match="with 6 images the labels must have shape"):
        open_data(str(folder))


def test_idx_truncated_file_is_named(folder: Path) -> None:
    (folder / "images-idx3-ubyte").write_bytes(encode_idx(IMAGES)[:-1])
    with pytest.raises(DataError, match="images-idx3-ubyte is truncated"):
        open_data(str(folder))


# ------------------------------------------------------------------------------------------ the report and the cache


def test_report(npz: Path) -> None:
    with np.load(npz) as file:
        images, labels = file["images"], file["labels"]
    images[::4] = images[0]  # ten alike
    images[1] = 0
    images[2] = 255
    np.savez(npz, images=images, labels=labels)
    report = check_data(str(npz))
    plain = report.to_dict()
    assert (report.train, report.heldout, report.height, report.width, report.channels) == (38, 2, 6, 4, 3)
    assert (report.low, report.high) == (0, 255)
    assert report.mean == pytest.approx(open_data(str(npz)).train.rows.mean())
    data = open_data(str(npz))
    alike = int((data.train.rows == images[0]).all((1, 2, 3)).sum())
    assert report.duplicates == alike - 1
    assert report.heldout_in_train == 10 - alike
    (classes,) = report.conditions
    assert (classes.name, classes.kind, classes.size, classes.missing) == ("class", "class", 3, 0)
    assert sum(classes.counts.values()) == 38
    assert list(classes.counts) == ["0", "1", "2"]
    assert plain["fingerprint"] == data.fingerprint
    assert plain["skipped"] == []


def test_report_lists_skipped_files(folder: Path, tmp_path: Path) -> None:
    for i in range(3):
        store_png(folder / f"{i}.png")
    (folder / "bad.png").write_bytes(b"")
    report = check_data(str(folder))
    assert report.skipped == ((str(folder / "bad.png"), "empty file (0 bytes)"),)
    assert report.to_dict()["skipped"] == [{"path": str(folder / "bad.png"), "reason": "empty file (0 bytes)"}]
    assert any("every pixel" in note for note in report.notes)


def store_png(path: Path) -> None:
    from PIL import Image

    Image.new("L", (3, 3), 7).save(path)


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("GENDI_CACHE", "/a/b")
    assert store.cache_dir() == Path("/a/b")
    monkeypatch.delenv("GENDI_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    assert store.cache_dir() == Path("/x/gendi")
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")  # to be ignored, says the XDG specification
    monkeypatch.setenv("HOME", "/home/me")
    assert store.cache_dir() == Path("/home/me/.cache/gendi")


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("seq:a.csv", "Perhaps you meant sequences:a.csv"),
        ("cell:a.h5ad", "Perhaps you meant cells:a.h5ad"),
        ("toyy:moons", "Perhaps you meant toy:moons"),
        ("https://example.org/a.csv", "Download it, and give the path of the file"),
    ],
)
def test_a_prefix_that_is_nearly_one_and_an_address_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spec: str, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=said):
        open_data(spec)


def test_a_file_whose_name_has_a_colon_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "seq:a.csv").write_text("x,y\n" + "".join(f"{i},{i * i}\n" for i in range(40)))
    assert open_data("seq:a.csv").kind == "table"
