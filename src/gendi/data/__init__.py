"""Raw data on their way in, and the codecs between them and model space.

    data = gendi.data.open_data("mnist")         # or a folder, an .npy, an .npz
    data.train.batch([0, 1, 2])                  # uint8 array (3, 28, 28, 1)

Importing this package is light; what needs torch is loaded when it is first named."""

from typing import TYPE_CHECKING

from gendi.machine.lazy import lazy_names

if TYPE_CHECKING:
    from gendi.data.codec import ImageCodec as ImageCodec
    from gendi.data.codec import codec_from_dict as codec_from_dict
    from gendi.data.images.check import DataReport as DataReport
    from gendi.data.images.check import check_data as check_data
    from gendi.data.open import Data as Data
    from gendi.data.open import open_data as open_data
    from gendi.data.split import Skipped as Skipped
    from gendi.data.split import Split as Split

_HOMES = {
    "Data": "gendi.data.open",
    "DataReport": "gendi.data.images.check",
    "ImageCodec": "gendi.data.codec",
    "Skipped": "gendi.data.split",
    "Split": "gendi.data.split",
    "check_data": "gendi.data.images.check",
    "codec_from_dict": "gendi.data.codec",
    "open_data": "gendi.data.open",
}
__all__ = ["Data", "DataReport", "ImageCodec", "Skipped", "Split", "check_data", "codec_from_dict", "open_data"]
__getattr__, __dir__ = lazy_names(__name__, _HOMES)
