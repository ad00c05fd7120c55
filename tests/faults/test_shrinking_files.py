"""A file that shrinks while it is in use, a full disk behind a memory map: a sentence and exit code, never SIGBUS."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_loops import _may_mount
from victims import FLAGS

import gendi.storage.store as store
from gendi.data import open_data
from gendi.data.images.idx import encode_idx
from gendi.errors import DataError
from gendi.storage.file_rows import FileRows

N = 4000
SMALL_MEMORY = """
import sys
import gendi.storage.store as store
from gendi.cli import main
store.MEMORY_SHARE = 0.0
sys.exit(main(sys.argv[1:]))
"""


def pictures(n: int = N) -> np.ndarray:
    """Return n random pictures, of which more than a page of memory must be read."""
    return np.random.default_rng(0).integers(0, 256, (n, 6, 6), dtype=np.uint8)


def saved(folder: Path, form: str) -> str:
    """Write pictures in a form of data that does not fit in memory; return its spec."""
    if form == "npy":
        np.save(folder / "data.npy", pictures())
        return str(folder / "data.npy")
    place = folder / "data"
    place.mkdir()
    if form == "idx":
        (place / "train-images-idx3-ubyte").write_bytes(encode_idx(pictures()))
        (place / "train-labels-idx1-ubyte").write_bytes(encode_idx(np.arange(N, dtype=np.uint8) % 3))
    else:
        for i, picture in enumerate(pictures(300)):
            Image.fromarray(picture).save(place / f"{i}.png")
    return str(place)


@pytest.mark.slow
@pytest.mark.parametrize("form", ["npy", "idx", "folder"])
def test_data_that_are_truncated_under_a_run_end_it_with_exit_3(tmp_path: Path, form: str) -> None:
    """The data, or the pictures of a folder as they are decoded in the cache, lose their end while a process trains."""
    spec = saved(tmp_path, form)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GENDI_CACHE": str(tmp_path / "cache")}
    words = ("train", spec, *FLAGS, "--steps", "1000000", "--out", str(tmp_path / "run"))
    command = [sys.executable, "-c", SMALL_MEMORY, *words]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "loss" in line:
                break
        else:
            raise AssertionError("it does not train")
        names = {"npy": "data.npy", "idx": "data/train-images*", "folder": "cache/decoded/*.npy"}
        (file,) = tmp_path.glob(names[form])
        os.truncate(file, 1000)
        told = process.stderr.read()
    assert process.returncode == 3, told
    assert f"{file} changed while it was read" in told.splitlines()[-1] and "Traceback" not in told


FULL_DISK = """
import shutil, subprocess, sys
from collections import namedtuple
disk = sys.argv[1]
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", disk], check=True)
import gendi.storage.store as store
from gendi.cli import main
store.MEMORY_SHARE = 0.0
shutil.disk_usage = lambda path: namedtuple("usage", "total used free")(1 << 40, 0, 1 << 40)  # full a moment later
sys.exit(main(["data", "check", sys.argv[2], "--size", "32"]))
"""


@pytest.mark.skipif(sys.platform != "linux" or not _may_mount(), reason="no file system can be mounted here")
def test_a_full_disk_behind_a_map_is_exit_5(tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GENDI_CACHE": str(tmp_path / "cache")}
    command = ["unshare", "-rm", sys.executable, "-c", FULL_DISK, str(tmp_path / "cache"), saved(tmp_path, "folder")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 5, done.stderr
    assert "could not be written to" in done.stderr and "Traceback" not in done.stderr


def test_rows_of_a_file_are_those_of_the_array(tmp_path: Path) -> None:
    array = np.random.default_rng(1).integers(-9, 9, (7, 3, 4, 5)).astype(np.int16)
    (tmp_path / "rows").write_bytes(b"head" + array.tobytes())
    rows = FileRows(tmp_path / "rows", np.int16, array.shape, 4)
    assert (rows.shape, rows.ndim, rows.nbytes, len(rows)) == (array.shape, 4, array.nbytes, 7)
    moved = rows.viewed(axes=(0, 2, 3, 1))
    cases = (slice(None), slice(2, 5), slice(5, 2), slice(6, None, -2), 3, -1, [3, 0, 3], np.array([[1], [6]]))
    for index in (*cases, array[:, 0, 0, 0] > 0, np.array([], np.int64)):
        assert np.array_equal(rows[index], array[index])
        assert np.array_equal(moved[index], array.transpose(0, 2, 3, 1)[index])
    assert np.array_equal(rows.viewed(channels=2)[:], array[..., :2])
    assert np.array_equal(rows.first(4), array[:4])
    assert np.array_equal(np.stack(list(rows)), array)
    with pytest.raises(IndexError):
        rows[7]
    with pytest.raises(ValueError, match="are wanted"):
        FileRows(tmp_path / "rows", np.int16, (8, 3, 4, 5), 4)


@pytest.mark.parametrize("change", ["shrink", "grow", "touch"])
def test_rows_of_a_file_that_changed_are_refused(tmp_path: Path, change: str) -> None:
    np.arange(4096, dtype=np.uint8).tofile(tmp_path / "rows")
    rows = FileRows(tmp_path / "rows", np.uint8, (64, 64), 0)
    assert rows[3][0] == 192
    if change == "touch":
        os.utime(tmp_path / "rows", (1, 1))
    else:
        os.truncate(tmp_path / "rows", 100 if change == "shrink" else 9999)
    for index in (0, 63, slice(0, 2), [5]):
        with pytest.raises(DataError, match="changed while it was read"):
            rows[index]


def test_a_file_that_shrinks_between_the_look_and_the_read_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.arange(4096, dtype=np.uint8).tofile(tmp_path / "rows")
    rows = FileRows(tmp_path / "rows", np.uint8, (64, 64), 0)
    monkeypatch.setattr(rows, "_stat", lambda: rows._stamp)
    os.truncate(tmp_path / "rows", 100)
    with pytest.raises(DataError, match="changed while it was read"):
        rows[63]


@pytest.mark.parametrize("form", ["npy", "idx", "folder"])
def test_data_in_a_file_are_the_data_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str) -> None:
    """The same rows in the same order, held out and trained on, and so the same run."""
    monkeypatch.setenv("GENDI_CACHE", str(tmp_path / "cache"))
    spec = saved(tmp_path, form)
    within = open_data(spec)
    monkeypatch.setattr(store, "MEMORY_SHARE", 0.0)
    beyond = open_data(spec)
    assert isinstance(within.train.rows, np.ndarray) and not isinstance(beyond.train.rows, np.ndarray)
    assert within.fingerprint == beyond.fingerprint
    for one, two in ((within.train, beyond.train), (within.heldout, beyond.heldout)):
        assert np.array_equal(one.batch(range(len(one))), two.batch(range(len(two))))
        assert one.conditions.keys() == two.conditions.keys()
        assert all(np.array_equal(one.conditions[name], two.conditions[name]) for name in one.conditions)


@pytest.mark.parametrize("form", ["channels first", "floats"])
def test_arrays_of_other_forms_in_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str) -> None:
    monkeypatch.setenv("GENDI_CACHE", str(tmp_path / "cache"))
    array = np.random.default_rng(2).integers(0, 256, (20, 3, 8, 6), dtype=np.uint8)
    np.save(tmp_path / "data.npy", array if form == "channels first" else array.astype(np.float32) / 255)
    monkeypatch.setattr(store, "MEMORY_SHARE", 0.0)
    data = open_data(str(tmp_path / "data.npy"))
    found = np.concatenate([data.train.batch(range(len(data.train))), data.heldout.batch(range(len(data.heldout)))])
    wanted = {picture.tobytes() for picture in array.transpose(0, 2, 3, 1)}
    assert {picture.tobytes() for picture in found} == wanted and found.shape == (20, 8, 6, 3)


def test_a_damaged_file_of_the_cache_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GENDI_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(store, "MEMORY_SHARE", 0.0)
    spec = saved(tmp_path, "folder")
    before = open_data(spec).fingerprint
    (file,) = (tmp_path / "cache" / "decoded").glob("*.npy")
    os.truncate(file, 1000)
    assert open_data(spec).fingerprint == before
    file.with_suffix(".json").write_text("{")
    assert open_data(spec).fingerprint == before


def test_an_array_in_fortran_s_order_that_does_not_fit_in_memory_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.save(tmp_path / "data.npy", np.asfortranarray(pictures(50)))
    assert len(open_data(str(tmp_path / "data.npy")).train) == 48
    monkeypatch.setattr(store, "MEMORY_SHARE", 0.0)
    with pytest.raises(Exception, match="ascontiguousarray") as caught:
        open_data(str(tmp_path / "data.npy"))
    assert caught.value.exit_code == 5  # type: ignore[attr-defined]
