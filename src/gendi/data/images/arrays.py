"""Reading images and their conditions from .npy and .npz files."""

import zipfile
from pathlib import Path

from gendi.data.images.extras import with_extras
from gendi.data.images.labels import as_labels, numbered
from gendi.data.images.numpy_files import BROKEN, Members, file_key, names_of, read_npy
from gendi.data.images.ranges import as_images, to_bytes
from gendi.data.split import Loaded, Split
from gendi.errors import DataError

IMAGE_KEYS = ("samples", "images", "x", "x_train", "arr_0")
LABEL_KEYS = ("labels", "y", "y_train", "arr_1")


def load_npy(path: Path) -> Loaded:
    """Read the images of a .npy file. Raises `DataError` naming the file and what is wrong with it."""
    images = as_images(read_npy(path), str(path))
    pixels, notes = to_bytes(images, path.name, file_key(path))
    return Loaded(pixels, notes=notes)


def load_npz(path: Path) -> Loaded:
    """Read the images of an .npz file, and its labels, conditions and test set if it has them.

    The images are the array named samples, images, x, x_train or arr_0; the labels are the array named labels, y,
    y_train or arr_1. The arrays of a test set are named x_test and y_test, or have the names of the training arrays
    with `_test` added. Every other array with one row for each image is a condition (see `gendi.data.images.extras`).

    Raises:
        DataError: naming the file and what is wrong with it.
        ResourceError: an array does not fit in memory.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = Members(path, archive)
            image_key = next((key for key in IMAGE_KEYS if key in members.names), None)
            if image_key is None:
                raise DataError(
                    f"{path} has the array(s) {', '.join(members.names) or 'none'}; the images must be named one of "
                    f"{', '.join(IMAGE_KEYS)}."
                )
            label_key = next((key for key in LABEL_KEYS if key in members.names), None)
            test_keys = [members.test_of(key, other) for key, other in ((image_key, "x"), (label_key, "y"))]
            train, notes = _part(members, image_key, label_key, "")
            test, more = (None, ()) if test_keys[0] is None else _part(members, test_keys[0], test_keys[1], "-test")
            names_keys = (*names_of(label_key or "class"), "class_names")
            loaded = numbered(str(path), train, test, notes + more, members.words(*names_keys))
            used = {image_key, label_key, *test_keys, *names_keys}
            return with_extras(members, loaded, [key for key in members.names if key not in used])
    except BROKEN as error:
        raise DataError(f"{path} could not be read as .npz: {error}. It may be half copied: save it again.") from error


def _part(members: Members, image_key: str, label_key: str | None, suffix: str) -> tuple[Split, tuple[str, ...]]:
    where = f"{members.path}: {image_key}"
    pixels, notes = to_bytes(as_images(members.read(image_key), where), where, members.key + suffix)
    if label_key is None:
        return Split(pixels), notes
    labels = as_labels(members.read(label_key), len(pixels), f"{members.path}: {label_key}")
    return Split(pixels, {"class": labels}), notes
