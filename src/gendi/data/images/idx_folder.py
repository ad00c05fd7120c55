"""Reading a folder of idx files, gzipped or not: a pair of images and labels, or a training pair and a test pair."""

import re
from pathlib import Path

from gendi.data.images.idx import idx_shape, read_idx, read_idx_rows
from gendi.data.images.labels import as_labels, numbered
from gendi.data.images.numpy_files import file_key
from gendi.data.images.ranges import as_images, to_bytes
from gendi.data.split import Loaded, Split
from gendi.errors import DataError

_NAME = re.compile(r"(idx\d-(ubyte|byte|short|int|float|double)|\.idx\d?)(\.gz)?$", re.IGNORECASE)
_TEST = re.compile(r"t10k|test", re.IGNORECASE)


def idx_files(folder: Path) -> list[Path]:
    """Return the files of `folder` with the name of an idx file. A plain file comes before its gzipped version."""
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if _NAME.search(path.name) and not path.name.startswith(".") and path.is_file():
            found.setdefault(path.name.removesuffix(".gz"), path)
    return list(found.values())


def load_idx_folder(folder: Path) -> Loaded:
    """Read the idx files of a folder.

    Files of three or four dimensions are images. Their labels are in the file of the same name with `labels` instead of
    `images`; a single file of images may also have a single file of one dimension with any name. Files named t10k or
    test are the held-out set.

    Raises:
        DataError: there are no images, or it is unclear which are meant, or a file is damaged or does not match.
    """
    shapes = {path: idx_shape(path) for path in idx_files(folder)}
    listed = ", ".join(f"{path.name} {shape}" for path, shape in shapes.items())
    images = [path for path, shape in shapes.items() if len(shape) > 1]
    tests = [path for path in images if _TEST.search(path.name)] if len(images) > 1 else []
    trains = [path for path in images if path not in tests]
    if len(trains) != 1 or len(tests) > 1:
        raise DataError(
            f"{folder} must hold the idx file of one set of images, or of a training set and a test set (named t10k "
            f"or test). It holds: {listed}. Put each data set into a folder of its own."
        )
    labels = [path for path, shape in shapes.items() if len(shape) == 1]
    train, notes = _part(trains[0], _labels_of(trains[0], images, labels))
    test, test_notes = _part(tests[0], _labels_of(tests[0], images, labels)) if tests else (None, ())
    return numbered(str(folder), train, test, notes + test_notes)


def _labels_of(image: Path, images: list[Path], labels: list[Path]) -> Path | None:
    wanted = _stem(image.name.lower().replace("images", "labels").replace("image", "label"))
    for path in labels:
        if _stem(path.name.lower()) == wanted:
            return path
    return labels[0] if len(images) == len(labels) == 1 else None


def _stem(name: str) -> str:
    """Return the part of a file name before idx: `train-labels` for `train-labels.idx1-ubyte.gz`."""
    return re.split(r"[-._]idx|\.idx", name)[0]


def _part(image: Path, label: Path | None) -> tuple[Split, tuple[str, ...]]:
    pixels, notes = to_bytes(as_images(read_idx_rows(image), str(image)), image.name, file_key(image))
    if label is None:
        return Split(pixels), notes
    return Split(pixels, {"class": as_labels(read_idx(label), len(pixels), str(label))}), notes
