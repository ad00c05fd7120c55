"""Pictures saved in a folder, and read back by Pillow."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

Save = Callable[..., Path]


def pixels(path: Path) -> np.ndarray:
    image = np.asarray(Image.open(path))
    return image if image.ndim == 3 else image[..., None]
