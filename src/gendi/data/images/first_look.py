"""A first look at pictures, before they are opened: their size, and whether they have colours, from a few of them.

It decides which preset they get unless one is named, so it must be quick: it reads the headers of some files and, where
these may hold colours, the files themselves.
"""

import contextlib
import itertools
import os
import zipfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gendi.data.images.folder import list_images
from gendi.data.images.numpy_files import Members
from gendi.data.images.pixels import SUFFIXES, BadImageError, decode, quiet, read_size
from gendi.errors import GendiError

LOOKED_AT = 48
"""How many files of a folder are looked at."""
MOST_HEADERS = 20_000
"""How many headers are read where the files that are looked at have sizes for several presets."""
TINY = 16
"""The shortest side in pixels below which pictures are too small for the levels of the recipe of icons."""
MEDIUM = 40
"""The longest side in pixels up to which grey pictures get the recipe of digits, and those in colour that of icons."""


@dataclass(frozen=True)
class Look:
    """The size of pictures in pixels, and whether any has a colour."""

    height: int
    width: int
    colour: bool

    @property
    def preset(self) -> str:
        """The preset for such pictures."""
        longest = max(self.height, self.width)
        if min(self.height, self.width) < TINY or (not self.colour and longest <= MEDIUM):
            return "mnist"
        return "icons" if longest <= MEDIUM else "icons-64"

    def in_words(self) -> str:
        """Return what the pictures are: 32 x 32 in colour."""
        return f"{self.height} x {self.width} {'in colour' if self.colour else 'in grey'}"


def look_at(spec: str, size: tuple[int, int] | None) -> Look | None:
    """Return a first look at the folder or the file of pictures that `spec` names; None for others, and for bad ones.

    `size` is what pictures are to be brought to, if that was requested.
    """
    try:
        path = Path(spec).expanduser()
        if path.is_dir():
            found = _at_folder(path, size)
        elif path.suffix.lower() in (".npy", ".npz") and path.is_file():
            found = _at_array(path)
        else:
            return None
    except (GendiError, OSError, ValueError, RuntimeError, zipfile.BadZipFile):  # opening the data says what is wrong
        return None
    return found if found is None or size is None else Look(*size, found.colour)


def _at_folder(folder: Path, size: tuple[int, int] | None) -> Look | None:
    """Look at files that lie evenly among the first thousand of a folder."""
    files = [path for path in itertools.islice(_files(folder), 1000) if path.suffix.lower() in SUFFIXES]
    some = files[:: max(1, len(files) // LOOKED_AT)][:LOOKED_AT]
    sizes, colour = Counter[tuple[int, int]](), False
    with quiet():
        for path in some:
            try:
                height, width, grey = read_size(path)
                sizes[height, width] += 1
                if not grey and not colour:
                    pixels = decode(path, *(size or (min(height, 64), min(width, 64))), grey=False)
                    colour = not bool((pixels == pixels[..., :1]).all())
            except BadImageError:
                continue
    if not sizes:
        return None
    if size is None and len({Look(*hw, colour).preset for hw in sizes}) > 1:
        sizes = _sizes_in(folder)
    height, width = min(sizes, key=lambda hw: (-sizes[hw], hw[0] * hw[1], hw))
    return Look(height, width, colour)


def _sizes_in(folder: Path) -> Counter[tuple[int, int]]:
    """Return how many pictures of a folder have which size, by their headers: the few do not say which is commonest."""
    files = list_images(folder).files
    sizes = Counter[tuple[int, int]]()
    with quiet():
        for path in files[:: -(-len(files) // MOST_HEADERS)]:
            with contextlib.suppress(BadImageError):
                sizes[read_size(folder / path)[:2]] += 1
    return sizes


def _files(folder: Path) -> Iterator[Path]:
    """Return the files below a folder, those of each of its folders in turn, so that no class is left out."""
    places = [root for root, _, names in itertools.islice(os.walk(folder), 200) if names]
    each = [sorted(Path(place).iterdir())[: max(1, 1000 // max(1, len(places)))] for place in places]
    return itertools.chain.from_iterable(each)


def _at_array(path: Path) -> Look | None:
    """Look at the shape of the pictures in a file of arrays."""
    if path.suffix.lower() == ".npy":
        shapes = [np.load(path, mmap_mode="r").shape]
    else:
        with zipfile.ZipFile(path) as archive:
            members = Members(path, archive)
            shapes = [members.header(name)[1] for name in members.names]
    pictures = [shape for shape in shapes if len(shape) == 3 or (len(shape) == 4 and shape[-1] in (1, 3, 4))]
    if not pictures:
        return None
    shape = max(pictures, key=lambda shape: shape[0])
    return Look(shape[1], shape[2], len(shape) == 4 and shape[-1] > 1)
