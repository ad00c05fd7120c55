"""Reading raw data, and the codecs between raw data and model space.

    data = gendi.data.open_data("mnist")         # or a folder, an .npy, an .npz
    data.train.batch([0, 1, 2])                  # uint8 array (3, 28, 28, 1)

Importing this package is quick: what needs torch is loaded when it is first named. No module here knows a particular
kind of data: kinds (`gendi.data.kinds`) are announced by `gendi` itself, or offered by installed packages."""

from typing import TYPE_CHECKING

from gendi.machine.lazy import lazy_names

if TYPE_CHECKING:
    from gendi.data.check import check_data as check_data
    from gendi.data.codec import Codec as Codec
    from gendi.data.codec_files import codec_from_dict as codec_from_dict
    from gendi.data.dataset import Data as Data
    from gendi.data.kind import Kind as Kind
    from gendi.data.kinds import KINDS as KINDS
    from gendi.data.open import open_data as open_data
    from gendi.data.split import Loaded as Loaded
    from gendi.data.split import Skipped as Skipped
    from gendi.data.split import Split as Split

_HOMES = {
    "Codec": "gendi.data.codec",
    "Data": "gendi.data.dataset",
    "KINDS": "gendi.data.kinds",
    "Kind": "gendi.data.kind",
    "Loaded": "gendi.data.split",
    "Skipped": "gendi.data.split",
    "Split": "gendi.data.split",
    "check_data": "gendi.data.check",
    "codec_from_dict": "gendi.data.codec_files",
    "open_data": "gendi.data.open",
}
__all__ = [
    "KINDS",
    "Codec",
    "Data",
    "Kind",
    "Loaded",
    "Skipped",
    "Split",
    "check_data",
    "codec_from_dict",
    "open_data",
]
__getattr__, __dir__ = lazy_names(__name__, _HOMES)
