"""Pictures in files for the commands that edit: how they are read, and where the results go."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from numpy.typing import NDArray

from gendi.api.edit_settings import EDIT_TEXT
from gendi.api.editor import Edited, Editor
from gendi.api.guidance import Guidance
from gendi.api.models import Models
from gendi.data.images.pictures import grid_image, png_bytes, to_image
from gendi.data.images.pixels import BadImageError, decode, read_size
from gendi.errors import DataError, UsageError
from gendi.machine.version import __version__
from gendi.storage.files import atomic_write, sha256_file
from gendi.train.kept.folders import bundle_folder

WHITE = 128
"""From which level on a mask's pixel is white."""


def read_picture(editor: Editor, path: str, size: tuple[int, int] | None = None) -> UInt8[np.ndarray, "h w c"]:
    """Return a picture as bytes of the model's channels, of `size`, by default the model's. Raises as `read_pixels`."""
    return read_pixels(Path(path), size or editor.size, editor.pixels.channels, size is None)


def read_pixels(path: Path, size: tuple[int, int], channels: int, own: bool = True) -> np.ndarray:
    """Return a picture of exactly `size` as bytes (H, W, C), converted as in a folder of data.

    Raises:
        DataError: no file, or no picture.
        UsageError: a picture of another size; both are named. Pictures of `channels` other than 1 and 3 have no files.
    """
    if channels not in (1, 3):
        raise UsageError(f"the model's pictures have {channels} channels, and a picture's file has 1 or 3.")
    height, width = picture_size(path)
    if (height, width) != size:
        whose = "the model's pictures are" if own else "it must be"
        raise UsageError(
            f"{path} is {height} x {width} pixels (height x width) and {whose} {size[0]} x {size[1]}. Scale or crop it "
            "first."
        )
    try:
        return decode(path, height, width, grey=channels == 1)
    except BadImageError as error:
        raise DataError(f"{path} could not be read as a picture: {error}.") from None


def picture_size(path: Path) -> tuple[int, int]:
    """Return height and width of a picture by its file's header. Raises `DataError`: no file, or no picture."""
    if not path.is_file():
        raise DataError(f"There is no picture {path}.")
    try:
        return read_size(path)[:2]
    except BadImageError as error:
        raise DataError(f"{path} could not be read as a picture: {error}.") from None


def read_mask(path: str, size: tuple[int, int]) -> NDArray[np.bool_]:
    """Return where a picture is to be painted, (H, W): where the mask is white; what is black is known.

    Raises:
        DataError: no file, or no picture.
        UsageError: a mask of another size, or one without a white pixel.
    """
    pixels = read_pixels(Path(path), size, 1)
    painted = pixels[..., 0] >= WHITE
    if not painted.any():
        raise UsageError(
            f"--mask {path} has no white pixel, so there is nothing to paint: the white part of a mask is painted."
        )
    if painted.all():
        raise UsageError(
            f"--mask {path} is all white, so nothing of the picture would be kept: draw whole pictures by gendi sample."
        )
    return np.asarray(painted)


def hashes(run: str, models: Models, guidance: Guidance | None, words: Sequence[str | None]) -> dict[str, str]:
    """Return the SHA-256 of the weights of each model that was read, and of each of `words` that is a file, by path."""
    folders = {"": run, **({} if guidance is None else guidance.folders())}
    weights = {str(folders[name]): digest for name, digest in models.sha256.items()}
    pictures = {word: sha256_file(Path(word)) for word in words if word is not None and Path(word).is_file()}
    return pictures | weights


def check_out(out: Path, run: Path) -> None:
    """Raise `UsageError` if results cannot go to `out`; called before the work starts."""
    if bundle_folder(run).resolve() in out.resolve().parents:
        raise UsageError(f"--out {out} lies inside the bundle, whose files are sealed. Choose another folder.")
    if out.suffix not in (".png", ""):
        raise UsageError(f"--out {out}: results are written as NAME.png or a folder, not as {out.suffix}.")
    if out.suffix and out.is_dir():
        raise UsageError(f"--out {out} is a folder. Choose another name.")
    if not out.suffix and out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise UsageError(f"--out {out} exists already and is not an empty folder. Choose another name or remove it.")


def write(out: Path, result: Edited, settings: dict[str, Any]) -> None:
    """Write the results with their settings: a .png beside what was given, or a folder of a PNG each."""
    text = {"Software": f"gendi {__version__}", EDIT_TEXT: json.dumps({**settings, "version": __version__})}
    if out.suffix == ".png":
        shown = np.concatenate([*result.given, result.pictures])
        out.parent.mkdir(parents=True, exist_ok=True)
        named = result.captions
        numbers = (str(i) for i in range(1, len(shown) - len(named) + 1))
        sheet = grid_image(shown, min(len(shown), 10), captions=[*named, *numbers])
        atomic_write(out, png_bytes(sheet, text))
        return
    out.mkdir(parents=True, exist_ok=True)
    for i, picture in enumerate(result.pictures):
        atomic_write(out / f"{i:05d}.png", png_bytes(to_image(picture), text))
