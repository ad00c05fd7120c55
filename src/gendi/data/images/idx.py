"""The idx file format of MNIST.

A file consists of two zero bytes, a byte for the type, a byte for the number of dimensions, the dimensions as
big-endian 32-bit numbers, and the values.
"""

import gzip
import io
import math
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gendi.errors import DataError
from gendi.storage.file_rows import ArrayRows, FileRows
from gendi.storage.files import atomic_write
from gendi.storage.store import fits_in_memory

TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_CODES = {np.dtype(name).newbyteorder("="): code for code, name in TYPES.items()}
_DEFLATE_MOST = 1100  # deflate shrinks data by a factor of at most about 1032
_CHUNK = 1 << 20
_MEND = "It may be half copied or damaged: fetch it again."


def encode_idx(array: NDArray[Any]) -> bytes:
    """Return `array` as an idx file, uncompressed. Raises `DataError` on a dtype or a rank that idx cannot hold."""
    code = _CODES.get(array.dtype.newbyteorder("="))
    if code is None or not 1 <= array.ndim <= 255 or max(array.shape) >= 2**32:
        raise DataError(f"idx cannot hold an array of dtype {array.dtype} and shape {array.shape}.")
    header = struct.pack(f">HBB{array.ndim}I", 0, code, array.ndim, *array.shape)
    return header + np.ascontiguousarray(array, TYPES[code]).tobytes()


def write_idx(path: Path, array: NDArray[Any]) -> None:
    """Write `array` to `path` atomically, gzipped if the name ends in .gz.

    Raises:
        DataError: as `encode_idx`.
        ResourceError: the file cannot be written.
    """
    data = encode_idx(array)
    atomic_write(path, gzip.compress(data, mtime=0) if path.suffix == ".gz" else data)


def read_idx(path: Path) -> NDArray[Any]:
    """Read an idx file, gzipped or not, into a writable array in native byte order.

    The header is checked against the file's size before memory is allocated.

    Raises:
        DataError: the file is missing, is no idx file, is truncated, or is longer than its header says.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            zipped = file.read(2) == b"\x1f\x8b"
            file.seek(0)
            if zipped:
                with gzip.GzipFile(fileobj=file) as stream:
                    return _read(stream, str(path), size * _DEFLATE_MOST)
            return _read(file, str(path), size)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} could not be read: {error}. {_MEND}") from error


def read_idx_rows(path: Path) -> ArrayRows:
    """Read an idx file of images; a plain file of bytes that does not fit in memory is read row by row.

    Raises `DataError` as `read_idx` does.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            if file.read(2) != b"\x1f\x8b":
                file.seek(0)
                dtype, shape, offset = _header(file, str(path), size)
                nbytes = math.prod(shape)
                if dtype == np.uint8 and offset + nbytes == size and nbytes and not fits_in_memory(nbytes):
                    return FileRows(path, dtype, shape, offset)
    except (OSError, ValueError) as error:
        raise DataError(f"{path} could not be read: {error}. {_MEND}") from error
    return read_idx(path)


def idx_shape(path: Path) -> tuple[int, ...]:
    """Return the shape that the header of an idx file claims. Raises `DataError` as `read_idx` does."""
    try:
        with path.open("rb") as file:
            zipped = file.read(2) == b"\x1f\x8b"
        with gzip.open(path) if zipped else path.open("rb") as stream:
            return _header(stream, str(path), None)[1]
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} could not be read: {error}. {_MEND}") from error


def _header(file: io.BufferedIOBase, name: str, most: int | None) -> tuple[np.dtype[Any], tuple[int, ...], int]:
    """Return dtype, shape and length of the header. Raises `DataError` if the file needs more than `most` bytes."""
    magic = file.read(4)
    if len(magic) < 4:
        raise DataError(f"{name} is no idx file: it has only {len(magic)} byte(s). {_MEND}")
    if magic[:2] != b"\0\0" or magic[2] not in TYPES or magic[3] == 0:
        raise DataError(
            f"{name} is no idx file: it begins with {magic.hex(' ')}, and an idx file begins with 00 00, a type from "
            "08 to 0e and the number of dimensions (images 00 00 08 03, labels 00 00 08 01)."
        )
    rank = magic[3]
    sizes = file.read(4 * rank)
    if len(sizes) < 4 * rank:
        raise DataError(f"{name} is truncated within its header of {4 + 4 * rank} bytes. {_MEND}")
    dtype = np.dtype(TYPES[magic[2]])
    shape = struct.unpack(f">{rank}I", sizes)
    offset, nbytes = 4 + 4 * rank, math.prod(shape) * dtype.itemsize
    if most is not None and offset + nbytes > most:
        raise DataError(
            f"{name} is truncated, or its header is wrong: it claims {' x '.join(map(str, shape))} values, "
            f"{offset + nbytes} bytes, and the file holds at most {most}. {_MEND}"
        )
    return dtype, shape, offset


def _read(file: io.BufferedIOBase, name: str, most: int) -> NDArray[Any]:
    dtype, shape, offset = _header(file, name, most)
    nbytes = math.prod(shape) * dtype.itemsize
    data = bytearray()
    while chunk := file.read(min(_CHUNK, nbytes - len(data) + 1)):
        data += chunk
        if len(data) > nbytes:
            raise DataError(
                f"{name} is longer than its header says ({' x '.join(map(str, shape))} values, {offset + nbytes} "
                f"bytes). {_MEND}"
            )
    if len(data) < nbytes:
        raise DataError(f"{name} is truncated: {offset + len(data)} bytes of {offset + nbytes} are there. {_MEND}")
    return np.frombuffer(data, dtype).reshape(shape).astype(dtype.newbyteorder("="), copy=False)


def decode_idx(data: bytes, name: str) -> NDArray[Any]:
    """Read an uncompressed idx file from memory; `name` is its name in error messages.

    Raises `DataError` as `read_idx` does.
    """
    return _read(io.BytesIO(data), name, len(data))
