"""Conditions from the other arrays of an .npz file: each array with one row for every image is a condition.

The names of the arrays have these meanings:

    hair, hair_train    one row per image: class, value, tags or vector, as `gendi.data.columns` says
    depth               bytes (N, H, W) or (N, H, W, C): a picture, fitted to the size of the images
    hair_test           the rows of the test set; if they are missing, the condition is null there
    hair_names          texts: the names of the classes, tags or numbers of `hair`
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gendi.data.columns import Column, NoConditionError, condition_name, from_array, left_out_note, null_rows
from gendi.data.images.numpy_files import Members, names_of
from gendi.data.images.pixels import resize
from gendi.data.images.ranges import as_images
from gendi.data.split import Loaded, Split
from gendi.diffusion.config import ConditionConfig
from gendi.errors import DataError
from gendi.storage.store import fits_in_memory


def with_extras(arrays: Members, loaded: Loaded, keys: Sequence[str]) -> Loaded:
    """Return `loaded` with the conditions among the arrays `keys`, and a note on arrays that are no conditions."""
    conditions, specs, left_out = dict(loaded.conditions), list(loaded.specs), dict(loaded.left_out)
    test = None if loaded.test is None else dict(loaded.test.conditions)
    belonging = {name for key in keys for name in (arrays.test_of(key), *names_of(key))}
    for key in keys:
        if key in belonging:
            continue
        try:
            shape = _shape(arrays, key)
            if not shape:
                continue
            spec, rows, test_rows = _extra(arrays, key, shape, loaded)
            if spec.name in conditions:
                raise NoConditionError(f"there is a condition {spec.name} already")
        except NoConditionError as error:
            left_out[key] = str(error)
            continue
        specs.append(spec)
        conditions[spec.name] = rows
        if test is not None and test_rows is not None:
            test[spec.name] = test_rows
    return dataclasses.replace(
        loaded,
        conditions=conditions,
        specs=tuple(specs),
        left_out=left_out,
        test=None if loaded.test is None or test is None else Split(loaded.test.rows, test),
        notes=loaded.notes + left_out_note(arrays.path.name, left_out),
    )


def _shape(arrays: Members, key: str) -> tuple[int, ...]:
    try:
        dtype, shape = arrays.header(key)
    except DataError as error:
        raise NoConditionError(str(error).removeprefix(f"{arrays.path}: {key} ")) from error
    if not fits_in_memory(math.prod(shape) * dtype.itemsize):
        raise NoConditionError("it takes more than a quarter of the memory")
    return shape


def _extra(
    arrays: Members, key: str, shape: tuple[int, ...], loaded: Loaded
) -> tuple[ConditionConfig, NDArray[Any], NDArray[Any] | None]:
    """Return a condition, its training rows, and its test rows (None without a test set)."""
    n, test = len(loaded.rows), loaded.test
    if shape[0] != n:
        raise NoConditionError(f"it has {shape[0]} rows for {n} images")
    name, rows = condition_name(key.removesuffix("_train")), arrays.read(key, text=True)
    test_key = None if test is None else arrays.test_of(key)
    parts = [rows]
    if test_key is not None and test is not None:
        parts.append(arrays.read(test_key, text=True))
        if parts[1].shape != (len(test), *shape[1:]) or parts[1].dtype.kind != rows.dtype.kind:
            raise NoConditionError(f"{test_key} has dtype {parts[1].dtype} and shape {parts[1].shape}")
    try:
        names = arrays.words(*names_of(key))
    except DataError as error:
        raise NoConditionError(str(error)) from error
    whole = rows if len(parts) == 1 else np.concatenate(parts)
    spec, rows = _picture(arrays, name, whole, loaded) if whole.ndim > 2 else from_array(name, whole, names)
    if test is None:
        return spec, rows, None
    return spec, rows[:n], rows[n:] if test_key else null_rows(spec, len(test))


def _picture(arrays: Members, name: str, pictures: NDArray[Any], loaded: Loaded) -> Column:
    """Return bytes (N, H, W) or (N, H, W, C) as a condition, fitted to the size of the images."""
    try:
        images = as_images(pictures, name)
    except DataError:
        images = np.empty(0)
    if images.dtype != np.uint8:
        raise NoConditionError(
            f"it has dtype {pictures.dtype} and shape {pictures.shape}; pictures are bytes (N, H, W, C)"
        )
    height, width = loaded.rows.shape[1:3]
    fitted = resize(images, height, width, f"{arrays.key}-{name}")
    return ConditionConfig(name, "image", fitted.shape[-1], via="channels"), np.ascontiguousarray(fitted)
