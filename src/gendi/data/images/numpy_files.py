"""Reading arrays from .npy and .npz files, without pickle. A .npy that does not fit in memory is read row by row."""

import hashlib
import io
import math
import tokenize
import zipfile
import zlib
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from gendi.errors import DataError, ResourceError
from gendi.storage.file_rows import ArrayRows, FileRows
from gendi.storage.store import fits_in_memory

BROKEN = (OSError, EOFError, ValueError, zlib.error, zipfile.BadZipFile, NotImplementedError)
"""The exceptions that reading a damaged file can raise."""


def file_key(path: Path) -> str:
    """Return a name for the decoded content of a file. It changes with the path, the size and the time of the file."""
    stat = path.stat()
    return hashlib.sha256(f"1|{path.resolve()}|{stat.st_size}|{stat.st_mtime_ns}".encode()).hexdigest()[:32]


def names_of(key: str) -> tuple[str, str]:
    """Return the possible names of the array that has the names of the classes, tags or numbers in array `key`."""
    return f"{key}_names", f"{key.removesuffix('_train')}_names"


class Members:
    """The arrays of an open .npz file."""

    def __init__(self, path: Path, archive: zipfile.ZipFile) -> None:
        self.path, self.archive = path, archive
        self.key = file_key(path)
        self.names = tuple(name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy"))

    def test_of(self, key: str | None, other: str = "") -> str | None:
        """Return the name of the test set's part of array `key`, or else `other`_test, or None if there is neither."""
        named = [f"{name.removesuffix('_train')}_test" for name in (key, other) if name]
        return next((name for name in named if name in self.names and name != key), None)

    def header(self, key: str) -> tuple[np.dtype[Any], tuple[int, ...]]:
        """Return dtype and shape of an array of numbers or text. Raises `DataError` for any other."""
        with cast(io.BufferedIOBase, self.archive.open(f"{key}.npy")) as file:
            return _npy_header(file, f"{self.path}: {key}", text=True)[:2]

    def read(self, key: str, *, text: bool = False) -> NDArray[Any]:
        """Return an array. Raises `DataError`, or `ResourceError` if it does not fit in memory."""
        return _read_member(self.path, self.archive, key, text=text)

    def words(self, *keys: str) -> tuple[str, ...]:
        """Return the texts (K,) of the first of these arrays that is there; no texts if none is there.

        Raises `DataError` if the array does not hold texts (K,).
        """
        key = next((key for key in keys if key in self.names), None)
        if key is None:
            return ()
        array = self.read(key, text=True)
        if array.ndim != 1 or array.dtype.kind != "U":
            raise DataError(f"{self.path}: {key} has dtype {array.dtype}, shape {array.shape}; names are texts (K,).")
        return tuple(str(word) for word in array)


def read_npy(path: Path) -> ArrayRows:
    """Return the array of numbers in a .npy file.

    Raises `DataError` naming the file and what is wrong with it, and `ResourceError` for an array in Fortran's order,
    whose rows are scattered over the file, if it does not fit in memory.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            dtype, shape, fortran = _npy_header(file, str(path))
            offset = file.tell()
        nbytes = math.prod(shape) * dtype.itemsize
        if offset + nbytes > size:
            raise DataError(
                f"{path} is truncated: its header says shape {shape} of {dtype}, {nbytes} bytes, and {size - offset} "
                "are there."
            )
        if nbytes == 0:
            return np.empty(shape, dtype)
        if not fits_in_memory(nbytes) and not fortran and shape:
            return FileRows(path, dtype, shape, offset)
        if not fits_in_memory(nbytes):
            raise ResourceError(
                f"{path} takes {nbytes / 1e9:.1f} GB, more than a quarter of the memory, and its rows are scattered "
                "over the file, which is in Fortran's order. Save numpy.ascontiguousarray of it."
            )
        array = np.fromfile(path, dtype, math.prod(shape), offset=offset)
        if array.size != math.prod(shape):
            raise DataError(f"{path} became shorter while it was read. Save it again.")
    except BROKEN as error:
        raise DataError(f"{path} could not be read as .npy: {error}. It may be half copied: save it again.") from error
    return array.reshape(shape, order="F" if fortran else "C")


def _read_member(path: Path, archive: zipfile.ZipFile, key: str, *, text: bool) -> NDArray[Any]:
    info = archive.getinfo(f"{key}.npy")
    where = f"{path}: {key}"
    with cast(io.BufferedIOBase, archive.open(info)) as file:
        dtype, shape, fortran = _npy_header(file, where, text=text)
        nbytes = math.prod(shape) * dtype.itemsize
        if nbytes > info.file_size:
            raise DataError(
                f"{where} is truncated: its header says shape {shape} of {dtype}, {nbytes} bytes, and the archive "
                f"holds {info.file_size}."
            )
        if not fits_in_memory(nbytes):
            raise ResourceError(
                f"{where} takes {nbytes / 1e9:.1f} GB, more than a quarter of the memory, and a zip cannot be "
                "mapped. Save the images alone with numpy.save as .npy."
            )
        data = bytearray()
        while chunk := file.read(1 << 20):
            data += chunk
            if len(data) > nbytes:
                break
    if len(data) != nbytes:
        raise DataError(f"{where} holds {len(data)} bytes or more, and its header says {nbytes}.")
    return np.frombuffer(data, dtype).reshape(shape, order="F" if fortran else "C")


def _npy_header(
    file: io.BufferedIOBase, where: str, *, text: bool = False
) -> tuple[np.dtype[Any], tuple[int, ...], bool]:
    """Return dtype, shape, and whether the order is Fortran's. Raises `DataError` on object and structured dtypes."""
    version = np.lib.format.read_magic(file)
    if version not in {(1, 0), (2, 0)}:
        raise DataError(f"{where} has .npy version {version}: images are wanted as plain numbers.")
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    try:
        shape, fortran, dtype = read(file)
    except (tokenize.TokenError, SyntaxError, TypeError, RecursionError) as error:  # errors of NumPy's parser
        raise ValueError(f"malformed header: {error}") from None
    if dtype.hasobject:
        raise DataError(
            f"{where} has object dtype, which only unpickling could read, and a pickle can run code. Save the array "
            "as numbers (uint8)."
        )
    if dtype.kind not in ("biufU" if text else "biuf"):
        raise DataError(f"{where} has dtype {dtype}: images and labels are wanted as numbers (uint8 at best).")
    if min(shape, default=0) < 0:
        raise DataError(f"{where} has the impossible shape {shape}.")
    return dtype, shape, fortran
