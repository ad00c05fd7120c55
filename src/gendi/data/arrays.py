"""Images in .npy and .npz files. Nothing is ever unpickled; a .npy that does not fit in memory is mapped."""

import hashlib
import io
import math
import zipfile
import zlib
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from gendi.data.labels import as_labels, numbered
from gendi.data.ranges import as_images, to_bytes
from gendi.data.split import Loaded, Split
from gendi.data.store import fits_in_memory, map_private
from gendi.errors import DataError, ResourceError

IMAGE_KEYS = ("samples", "images", "x", "x_train", "arr_0")
LABEL_KEYS = ("labels", "y", "y_train", "arr_1")
TEST_KEYS = ("x_test", "y_test")
_BROKEN = (OSError, EOFError, ValueError, zlib.error, zipfile.BadZipFile, NotImplementedError)


def load_npy(path: Path) -> Loaded:
    """Read the images of a .npy file. Raises `DataError` naming the file and what is wrong with it."""
    images = as_images(_read_npy(path), str(path))
    pixels, notes = to_bytes(images, path.name, file_key(path))
    return Loaded(pixels, notes=notes)


def load_npz(path: Path) -> Loaded:
    """Read the images, and the labels and test set if there, of an .npz file.

    Images are the array named samples, images, x, x_train or arr_0, labels the one named labels, y, y_train or arr_1,
    and a test set is named x_test and y_test.

    Raises:
        DataError: naming the file and what is wrong with it.
        ResourceError: an array does not fit in memory.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]
            image_key = next((key for key in IMAGE_KEYS if key in names), None)
            label_key = next((key for key in LABEL_KEYS if key in names), None)
            if image_key is None:
                raise DataError(
                    f"{path} has the array(s) {', '.join(names) or 'none'}; the images must be named one of "
                    f"{', '.join(IMAGE_KEYS)}."
                )
            wanted = [key for key in (image_key, label_key, *TEST_KEYS) if key in names]
            arrays = {key: _read_member(path, archive, key) for key in wanted if key is not None}
    except _BROKEN as error:
        raise DataError(f"{path} could not be read as .npz: {error}. It may be half copied: save it again.") from error
    key = file_key(path)
    train, notes = _part(path, arrays, image_key, label_key, key)
    test, test_notes = _part(path, arrays, *TEST_KEYS, f"{key}-test") if TEST_KEYS[0] in arrays else (None, ())
    return numbered(str(path), train, test, notes + test_notes)


def file_key(path: Path) -> str:
    """Return a name for what a file becomes when decoded.

    It changes with the path, the size and the time of the file.
    """
    stat = path.stat()
    return hashlib.sha256(f"1|{path.resolve()}|{stat.st_size}|{stat.st_mtime_ns}".encode()).hexdigest()[:32]


def _part(
    path: Path, arrays: dict[str, NDArray[Any]], image_key: str, label_key: str | None, cache_key: str
) -> tuple[Split, tuple[str, ...]]:
    where = f"{path}: {image_key}"
    pixels, notes = to_bytes(as_images(arrays[image_key], where), where, cache_key)
    if label_key is None or label_key not in arrays:
        return Split(pixels), notes
    return Split(pixels, {"class": as_labels(arrays[label_key], len(pixels), f"{path}: {label_key}")}), notes


def _read_npy(path: Path) -> NDArray[Any]:
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
        mapped = map_private(path, dtype, (math.prod(shape),), offset)
    except _BROKEN as error:
        raise DataError(f"{path} could not be read as .npy: {error}. It may be half copied: save it again.") from error
    array = mapped.reshape(shape, order="F" if fortran else "C")
    return array.copy() if fits_in_memory(nbytes) and dtype == np.uint8 else array


def _read_member(path: Path, archive: zipfile.ZipFile, key: str) -> NDArray[Any]:
    info = archive.getinfo(f"{key}.npy")
    where = f"{path}: {key}"
    with cast(io.BufferedIOBase, archive.open(info)) as file:
        dtype, shape, fortran = _npy_header(file, where)
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


def _npy_header(file: io.BufferedIOBase, where: str) -> tuple[np.dtype[Any], tuple[int, ...], bool]:
    """Return dtype, shape and whether the order is Fortran's. Raises `DataError` on object and structured dtypes."""
    version = np.lib.format.read_magic(file)
    if version not in {(1, 0), (2, 0)}:
        raise DataError(f"{where} has .npy version {version}: images are wanted as plain numbers.")
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read(file)
    if dtype.hasobject:
        raise DataError(
            f"{where} has object dtype, which only unpickling could read, and a pickle can run code. Save the array "
            "as numbers (uint8)."
        )
    if dtype.kind not in "biuf":
        raise DataError(f"{where} has dtype {dtype}: images and labels are wanted as numbers (uint8 at best).")
    if min(shape, default=0) < 0:
        raise DataError(f"{where} has the impossible shape {shape}.")
    return dtype, shape, fortran
