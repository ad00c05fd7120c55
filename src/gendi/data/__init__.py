"""Raw data on their way in: MNIST, folders of images, arrays; and the codec between bytes and model space.

    data = gendi.data.open_data("mnist")         # or a folder, an .npy, an .npz
    data.train.batch([0, 1, 2])                  # uint8 array (3, 28, 28, 1)

Importing this package is light; `open_data`, `check_data` and the codec load torch when they are first named.
"""

import importlib
from typing import TYPE_CHECKING, Any

from gendi.data.split import Skipped, Split

if TYPE_CHECKING:
    from gendi.data.check import DataReport, check_data
    from gendi.data.codec import ImageCodec, codec_from_dict
    from gendi.data.open import Data, open_data

_HOME = {
    "Data": "gendi.data.open",
    "DataReport": "gendi.data.check",
    "ImageCodec": "gendi.data.codec",
    "check_data": "gendi.data.check",
    "codec_from_dict": "gendi.data.codec",
    "open_data": "gendi.data.open",
}
__all__ = [
    "Data",
    "DataReport",
    "ImageCodec",
    "Skipped",
    "Split",
    "check_data",
    "codec_from_dict",
    "open_data",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    raise AttributeError(f"module 'gendi.data' has no attribute {name!r}")
