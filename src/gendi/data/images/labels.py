"""Class labels, which are whole numbers from 0, and the names of the classes."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gendi.data.split import Loaded, Split, class_spec
from gendi.errors import DataError


def as_labels(array: NDArray[Any], n: int, where: str) -> NDArray[np.int64]:
    """Return labels (N,) as int64. One-hot rows are not supported.

    Raises:
        DataError: there are not `n` labels, or one is not whole, is negative, or is a million or more.
    """
    if array.shape not in {(n,), (n, 1)}:
        raise DataError(f"{where} has shape {array.shape}; with {n} images the labels must have shape ({n},).")
    if array.dtype.kind not in "iufb" or (array.dtype.kind == "f" and not (array == np.rint(array)).all()):
        raise DataError(f"{where} has dtype {array.dtype}; labels are whole numbers 0, 1, 2, ...")
    flat = array.reshape(n)
    for wrong in (int(flat.min()), int(flat.max())):
        if not 0 <= wrong < 1_000_000:
            index = int((flat == wrong).argmax())
            raise DataError(
                f"{where} has label {wrong} (first at index {index}); labels are 0, 1, 2, ... below a million. "
                "Renumber them."
            )
    return flat.astype(np.int64)


def numbered(where: str, train: Split, test: Split | None, notes: tuple[str, ...], names: Sequence[str] = ()) -> Loaded:
    """Return a training part and a test part with the condition `class`; a note names labels without a training image.

    The classes have `names`, or else their numbers as names. If only the training part has labels, those of the test
    part are null (-1).

    Raises:
        DataError: the parts' images differ in size or channels, or there are more classes than names.
    """
    if test is not None and test.rows.shape[1:] != train.rows.shape[1:]:
        raise DataError(
            f"{where}: training images have shape {train.rows.shape[1:]} (height, width, channels) and test images "
            f"{test.rows.shape[1:]}. They must be alike."
        )
    if train.labels is None:
        return Loaded(train.rows, test=test and Split(test.rows), notes=notes)
    parts = [part.labels for part in (train, test) if part is not None and part.labels is not None]
    classes = 1 + max(int(labels.max()) for labels in parts)
    if names and len(names) < classes:
        raise DataError(f"{where} has the label {classes - 1} and {len(names)} names of classes: name them all.")
    missing = np.setdiff1d(np.arange(classes), train.labels)
    if len(missing):
        named = ", ".join(str(label) for label in missing[:10]) + (", ..." if len(missing) > 10 else "")
        notes += (f"{len(missing)} of the labels 0 to {classes - 1} have no training image: {named}",)
    if test is not None and test.labels is None:
        test = Split(test.rows, {"class": np.full(len(test), -1, np.int64)})
        notes += ("the test images have no labels: their class is null",)
    spec = class_spec(names or [str(label) for label in range(classes)])
    return Loaded(train.rows, train.conditions, test, (spec,), notes=notes)
