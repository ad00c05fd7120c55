"""Samples on disk come back byte for byte, with how they were made."""

import dataclasses
import json
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from gendi.api.conditions import as_words
from gendi.api.guidance import Guidance
from gendi.api.request import OPTIONAL, REQUIRED, Request, read_request
from gendi.data.images import sample_files
from gendi.data.images.sample_files import read_samples
from gendi.diffusion.gaussian.samplers import Drawing
from gendi.errors import DataError, ResourceError, UsageError

MADE = Request(
    "runs/é",
    6,
    Drawing(sampler="ddim", steps=7, seed=2**62, options={"eta": 0.25}),
    condition=as_words({"class": "cat,dog", "dose": "0.5"}),
    per_class=3,
    guidance=Guidance(2.0, interval=(0.3, 5.0), negative=as_words({"class": "é"}), bad="runs/small"),
    clip=False,
    weights="ab",
)


def write_samples(path: Path, given: np.ndarray, made: Request) -> None:
    sample_files.write_samples(path, given, made.texts, made.how.first_index)


def images(n: int, height: int, width: int, channels: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, height, width, channels), dtype=np.uint8)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 12), st.integers(1, 70), st.integers(1, 70), st.integers(1, 4), st.sampled_from(["png", "npz"]))
def test_grids_and_archives_come_back(n: int, height: int, width: int, channels: int, suffix: str) -> None:
    given_images, made = images(n, height, width, channels), dataclasses.replace(MADE, n=n)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "deep" / f"x.{suffix}"
        write_samples(path, given_images, made)
        np.testing.assert_array_equal(read_samples(path), given_images)
        assert read_request(path) == made
        assert [p.name for p in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("channels", [1, 3])
def test_folders_come_back(tmp_path: Path, channels: int) -> None:
    given_images, made = images(6, 9, 5, channels), MADE.part(6, 40)
    write_samples(tmp_path / "x", given_images, made)
    assert [p.name for p in sorted((tmp_path / "x").iterdir())] == [f"{i:05d}.png" for i in range(40, 46)]
    np.testing.assert_array_equal(read_samples(tmp_path / "x"), given_images)
    assert read_request(tmp_path / "x") == made
    assert read_request(tmp_path / "x" / "00043.png") == made.part(1, 43)


def test_the_archive_is_what_others_expect(tmp_path: Path) -> None:
    for channels, shape in ((1, (6, 9, 5)), (3, (6, 9, 5, 3))):
        path = tmp_path / f"{channels}.npz"
        write_samples(path, images(6, 9, 5, channels), MADE)
        with np.load(path, allow_pickle=False) as arrays:
            assert arrays["samples"].shape == shape
            assert arrays["samples"].dtype == np.uint8


def test_a_grid_is_a_picture_that_anyone_can_open(tmp_path: Path) -> None:
    write_samples(tmp_path / "x.png", np.full((4, 16, 16, 1), 7, np.uint8), MADE)
    with Image.open(tmp_path / "x.png") as picture:
        assert picture.mode == "L"
        assert (np.asarray(picture) == 7).sum() == 4 * 16 * 16 * 4 * 4  # four images, each enlarged fourfold


def test_old_samples_are_replaced(tmp_path: Path) -> None:
    for seed in (0, 1):
        write_samples(tmp_path / "x.npz", images(6, 4, 4, 1, seed), MADE)
    np.testing.assert_array_equal(read_samples(tmp_path / "x.npz"), images(6, 4, 4, 1, 1))


def test_what_cannot_be_written_is_refused(tmp_path: Path) -> None:
    for name, given_images, said in [
        ("x.jpg", images(2, 2, 2, 1), "not as .jpg"),
        ("x.png", images(2, 2, 2, 5), "1 to 4 channels"),
        ("x.png", images(10_001, 1, 1, 1), "at most 10,000"),
    ]:
        with pytest.raises(UsageError, match=said):
            write_samples(tmp_path / name, given_images, MADE)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["x.png", "x.npz", "x"])
def test_a_disk_that_refuses_leaves_nothing_behind(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(ResourceError, match="no space left"):
        write_samples(tmp_path / name, images(2, 2, 2, 1), MADE)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_someone_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "mine.png").write_bytes(b"mine")
    with pytest.raises(UsageError, match="not an empty folder"):
        write_samples(tmp_path / "x", images(2, 2, 2, 1), MADE)
    assert [p.name for p in (tmp_path / "x").iterdir()] == ["mine.png"]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)
FIELDS = [*REQUIRED, *OPTIONAL]


@given(st.dictionaries(st.sampled_from(FIELDS), json_values) | json_values)
def test_settings_of_any_content_are_read_or_refused(value: object) -> None:
    base = json.loads(MADE.to_json())
    text = json.dumps(base | value if isinstance(value, dict) else value)
    try:
        made = Request.from_json(text, Path("x"))
    except DataError:
        return
    assert made.how.steps >= 1
    assert made.n >= 1
    assert 0 <= made.how.seed < 2**63


def test_settings_come_back_and_newer_ones_are_refused() -> None:
    """A setting that this version does not know may be what made the samples what they are."""
    assert Request.from_json(MADE.to_json(), Path("x")) == MADE
    newer = json.dumps({**json.loads(MADE.to_json()), "version": "9.1", "warp": 2})
    with pytest.raises(DataError, match=r"gendi 9\.1.*'warp'"):
        Request.from_json(newer, Path("x"))


OLD = """{"run": "r", "sampler": "ddim", "steps": 7, "seed": 3, "n": 6, "first": 2, "eta": 0.25, "grid": "uniform", \
"options": {}, "condition": {"class": "cat"}, "per_class": null, "guidance": {"scale": 2.0, "classifier": "c"}, \
"clip": false, "weights": "ab", "guides": {"classifier": "cd"}, "version": "0.1.0"}"""


def test_what_version_0_1_wrote_is_read_and_written_as_it_was() -> None:
    made = Request.from_json(OLD, Path("x"))
    how = Drawing(sampler="ddim", steps=7, seed=3, first_index=2, grid="uniform", options={"eta": 0.25})
    guidance = Guidance(2.0, classifier="c")
    same = {"condition": as_words({"class": "cat"}), "guides": {"classifier": "cd"}, "version": "0.1.0"}
    assert made == Request("r", 6, how, guidance=guidance, clip=False, weights="ab", **same)  # type: ignore[arg-type]
    assert made.to_json() == OLD
    more = dataclasses.replace(made, how=dataclasses.replace(how, bounds=(0.1, 5.0)), precision="bf16")
    assert Request.from_json(more.to_json(), Path("x")) == more


def test_what_no_file_can_hold_is_refused() -> None:
    for changes in ({"condition": {"class": 7}}, {"guidance": Guidance(lambda t: 2.0)}):
        with pytest.raises(UsageError):
            dataclasses.replace(MADE, **changes).to_json()  # type: ignore[arg-type]


def test_files_that_say_nothing(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", samples=images(2, 2, 2, 1))
    Image.new("L", (4, 4)).save(tmp_path / "x.png")
    (tmp_path / "text.png").write_text("text")
    (tmp_path / "text.npz").write_text("text")
    (tmp_path / "empty").mkdir()
    for name in ("x.npz", "x.png", "text.png", "text.npz", "empty", "none.png"):
        with pytest.raises(DataError):
            read_request(tmp_path / name)
    for name in ("x.png", "text.png", "text.npz", "empty", "none.png", "none.npz"):
        with pytest.raises(DataError):
            read_samples(tmp_path / name)


def test_an_edited_archive_is_refused(tmp_path: Path) -> None:
    made = np.array(MADE.to_json())
    np.savez(tmp_path / "floats.npz", samples=np.zeros((2, 4, 4)), settings=made)
    np.savez(tmp_path / "flat.npz", samples=np.zeros((2, 4), np.uint8), settings=made)
    np.savez(tmp_path / "none.npz", settings=made)
    for path in sorted(tmp_path.iterdir()):
        with pytest.raises(DataError):
            read_samples(path)


def test_an_edited_grid_is_not_cut(tmp_path: Path) -> None:
    write_samples(tmp_path / "x.png", images(6, 4, 4, 1), MADE)
    with Image.open(tmp_path / "x.png") as picture:
        cropped = picture.crop((0, 0, picture.width - 1, picture.height))
        from PIL.PngImagePlugin import PngInfo

        info = PngInfo()
        info.add_text("gendi-grid", picture.info["gendi-grid"])
        cropped.save(tmp_path / "y.png", pnginfo=info)
    with pytest.raises(DataError, match="edited"):
        read_samples(tmp_path / "y.png")
