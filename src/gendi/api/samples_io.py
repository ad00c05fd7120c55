"""Samples on disk: one PNG grid, a folder of PNGs, or an .npz; each knows how it was made.

    samples.png     a grid of up to 10,000 images with 1 to 4 channels; it can be read back exactly
    samples/        00000.png, 00001.png, ...: one file per sample, numbered by its index in the seed's stream
    samples.npz     uint8 "samples" (N, H, W), or (N, H, W, C) for more than one channel; "settings", text

The settings (run, sampler, steps, seed, ...) are JSON in a PNG text chunk or in the archive, so that
`gendi sample --again FILE` can draw the same samples again. This module imports no torch.
"""

import dataclasses
import json
import math
import secrets
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
from jaxtyping import UInt8
from PIL import Image

import gendi
from gendi.data.images.pictures import grid_image, png_bytes, to_image
from gendi.errors import DataError, UsageError
from gendi.storage.disk import disk_error, require_space

PNG_CHANNELS = range(1, 5)
GRID_MOST = 10_000
EDIT_TEXT = "gendi-edit"
"""Key of an edit's settings, as JSON, in a PNG's text."""
EDITS = ("inpaint", "upscale", "denoise", "vary", "interpolate", "mix")
GAP = 2
"""Pixels between the images of a grid, and around it."""
_TEXT, _LAYOUT, _MAX_TEXT = "gendi", "gendi-grid", 1 << 20

Images = UInt8[np.ndarray, "n height width channels"]


@dataclass(frozen=True)
class SampleSettings:
    """Everything that decides what `gendi sample` draws."""

    run: str
    """Folder of the run or bundle, as it was given."""
    sampler: str
    steps: int
    seed: int
    n: int
    first: int = 0
    """Index of the first sample in the seed's stream."""
    eta: float | None = None
    grid: str | None = None
    """Time grid; None is the sampler's own."""
    options: Mapping[str, float | int | bool | str] = field(default_factory=dict)
    """The sampler's other options."""
    condition: Mapping[str, str] = field(default_factory=dict)
    """What was asked for by name, in the words of the command line; nothing draws every class in turn."""
    per_class: int | None = None
    """Samples of a class before the next one's; None takes the classes asked for in turn."""
    guidance: Mapping[str, Any] = field(default_factory=dict)
    """Fields of `gendi.diffusion.gaussian.guidance.Guidance`, with models by their folders; empty guides nothing."""
    clip: bool = True
    weights: str | None = None
    """SHA-256 of the weights' file."""
    guides: Mapping[str, str] = field(default_factory=dict)
    """The same of the models in `guidance`, by field."""
    version: str = gendi.__version__

    @classmethod
    def from_json(cls, text: str, where: Path) -> Self:
        """Read what `to_json` wrote. Raises `DataError` naming `where` and the field that is wrong."""
        try:
            data = json.loads(text)
        except ValueError:
            data = None
        if not isinstance(data, dict):
            raise DataError(f"{where}: its settings are damaged, no JSON. Give the flags yourself instead of --again.")
        fields = {f.name: f for f in dataclasses.fields(cls)}
        optional = {f.name for f in fields.values() if (f.default, f.default_factory) != (dataclasses.MISSING,) * 2}
        required = fields.keys() - optional
        if missing := sorted(required - data.keys()):
            raise DataError(f"{where}: its settings have no {missing[0]!r}. It was not written by gendi sample.")
        for name, value in data.items():
            if name not in fields:
                raise DataError(
                    f"{where} was drawn by gendi {data.get('version')} with {name!r}, which gendi {gendi.__version__} "
                    "does not know. Use that version, or give the flags yourself instead of --again."
                )
            if not _fits(name, value):
                raise DataError(f"{where}: its settings say {name} = {value!r}, which cannot be.")
        return cls(**data)

    def to_json(self) -> str:
        """Return the settings as one line of JSON."""
        return json.dumps(dataclasses.asdict(self), ensure_ascii=False)


def write_samples(path: Path, images: Images, settings: SampleSettings) -> None:
    """Write `images` with their `settings`: .png is a grid, .npz an archive, a name without suffix a new folder.

    A file already there is replaced, whole or not at all. Raises:
        UsageError: another suffix, a folder that holds something, or images that a PNG cannot hold.
        ResourceError: the disk is full or refuses.
    """
    check_destination(path, len(images), images.shape[3])
    temporary = path.parent / f".tmp-{secrets.token_hex(4)}-{path.name}"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        require_space(path.parent, images.nbytes // (1 if path.suffix == ".npz" else 4))
        try:
            if path.suffix == ".npz":
                array = images[..., 0] if images.shape[3] == 1 else images
                with temporary.open("xb") as file:
                    np.savez(file, samples=array, settings=np.array(settings.to_json()))
            elif path.suffix == ".png":
                temporary.write_bytes(_grid(images, settings))
            else:
                temporary.mkdir()
                for i, image in enumerate(images, settings.first):
                    own = dataclasses.replace(settings, n=1, first=i)
                    (temporary / f"{i:05d}.png").write_bytes(png_bytes(to_image(image), _text(own)))
                if path.is_dir():
                    path.rmdir()  # empty: check_destination saw to it
            temporary.replace(path)
        except BaseException:
            _remove(temporary)
            raise
    except OSError as error:
        raise disk_error(error, path, images.nbytes) from error


def check_destination(path: Path, n: int, channels: int) -> None:
    """Raise `UsageError` if `n` images of `channels` channels cannot go to `path`; called before the work starts."""
    if path.suffix not in (".png", ".npz", ""):
        raise UsageError(
            f"--out {path}: samples are written as a grid (NAME.png), an archive (NAME.npz) or a folder (a name "
            f"without a suffix), not as {path.suffix}."
        )
    if path.suffix != ".npz" and channels not in PNG_CHANNELS:
        raise UsageError(f"--out {path}: a PNG holds 1 to 4 channels and these images have {channels}. Write an .npz.")
    if path.suffix == ".png" and n > GRID_MOST:
        raise UsageError(f"--out {path}: a grid shows at most {GRID_MOST:,} images. Write an .npz or a folder.")
    if path.suffix and path.is_dir():
        raise UsageError(f"--out {path} is a folder. Choose another name.")
    if not path.suffix and path.exists() and not (path.is_dir() and not any(path.iterdir())):
        raise UsageError(
            f"--out {path} is there already, and is not an empty folder. Choose another name or remove it."
        )


def read_samples(path: Path) -> Images:
    """Return the samples of a grid, a folder of pictures, an .npz or a .npy, whoever wrote the last three.

    Raises `DataError` saying what is wrong.
    """
    if path.is_dir():
        from gendi.data.images.folder import load_folder

        return load_folder(path, max_bad=0).rows[:]
    if path.suffix == ".png" and path.is_file():
        return _read_grid(path)
    if path.suffix == ".npz" and path.is_file() and _npz_text(path) is not None:
        return _read_own_npz(path)
    from gendi.data.images.evaluation import load_samples

    return load_samples(path)


def read_settings(path: Path) -> SampleSettings:
    """Return how the samples in `path`, anything `write_samples` wrote, were drawn.

    Raises `DataError`, and `UsageError` for what an edit wrote.
    """
    if not path.exists():
        raise DataError(f"There is no file {path} to draw again.")
    if path.is_dir():
        pictures = sorted(path.glob("*.png"))
        if not pictures:
            raise DataError(f"{path} holds no PNG. Give what gendi sample wrote.")
        return dataclasses.replace(read_settings(pictures[0]), n=len(pictures))
    found = {_TEXT: _npz_text(path)} if path.suffix == ".npz" else png_text(path)
    if edit := edited_by(found):
        raise UsageError(f"{path} was made by gendi {edit}: gendi {edit} --again {path}.")
    text = found.get(_TEXT)
    if text is None:
        raise DataError(
            f"{path} does not say how it was made: it was not written by gendi sample, or was edited since."
        )
    return SampleSettings.from_json(text, path)


def _fits(name: str, value: object) -> bool:
    match name:
        case "steps" | "n":
            return type(value) is int and 1 <= value <= 10**9
        case "seed" | "first":
            return type(value) is int and 0 <= value < 2**63
        case "eta":
            return value is None or (isinstance(value, int | float) and math.isfinite(value))
        case "clip":
            return isinstance(value, bool)
        case "options":
            return isinstance(value, dict) and all(isinstance(v, float | int | bool | str) for v in value.values())
        case "condition" | "guides":
            return _is_table(value, str)
        case "per_class":
            return value is None or (type(value) is int and 1 <= value <= 10**9)
        case "guidance":
            return isinstance(value, dict) and all(_fits_guidance(field, inside) for field, inside in value.items())
        case "weights" | "grid":
            return value is None or isinstance(value, str)
    return isinstance(value, str)


def _fits_guidance(name: str, value: object) -> bool:
    match name:
        case "scale" | "rescale" | "threshold":
            return _is_number(value)
        case "scales":
            return _is_table(value, int | float)
        case "nested":
            return isinstance(value, bool)
        case "interval":
            return isinstance(value, list) and len(value) == 2 and all(map(_is_number, value))
        case "negative":
            return _is_table(value, str)
    return name in ("bad", "classifier") and isinstance(value, str)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_table(value: object, kind: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(inside, kind) for inside in value.values())


def _text(settings: SampleSettings) -> dict[str, str]:
    return {"Software": f"gendi {settings.version}", _TEXT: settings.to_json()}


def _grid(images: Images, settings: SampleSettings) -> bytes:
    """Return the PNG of a near-square grid, with the numbers that it is cut apart by."""
    n, height, width, _ = images.shape
    columns, scale = math.ceil(math.sqrt(n)), max(1, min(4, 64 // max(height, width)))
    layout = {"n": n, "height": height, "width": width, "columns": columns, "scale": scale, "gap": GAP}
    picture = grid_image(images, columns, scale, GAP)
    return png_bytes(picture, _text(settings) | {_LAYOUT: json.dumps(layout)})


def _read_grid(path: Path) -> Images:
    text = png_text(path).get(_LAYOUT)
    if text is None:
        raise DataError(
            f"{path} is a single picture, no grid that gendi sample wrote. Give a folder of pictures, an .npz "
            "or a .npy."
        )
    try:
        layout = json.loads(text)
        n, height, width, columns, scale, gap = (
            layout[key] for key in ("n", "height", "width", "columns", "scale", "gap")
        )
        if not all(type(value) is int and 1 <= value <= 1 << 20 for value in layout.values()):
            raise ValueError("a number is out of range")
        with Image.open(path) as picture:
            sheet = np.atleast_3d(np.asarray(picture))
        rows, down, across = math.ceil(n / columns), height * scale + gap, width * scale + gap
        if sheet.shape[:2] != (rows * down + gap, columns * across + gap):
            raise ValueError(f"the picture is {sheet.shape[0]} x {sheet.shape[1]}")
        cells = sheet[gap:, gap:].reshape(rows, down, columns, across, sheet.shape[2])
        out = cells[:, : height * scale : scale, :, : width * scale : scale].swapaxes(1, 2)
        images: Images = np.ascontiguousarray(out.reshape(rows * columns, height, width, sheet.shape[2])[:n])
    except (ValueError, KeyError, TypeError, OSError, Image.DecompressionBombError) as error:
        raise DataError(
            f"{path} could not be cut into samples ({error}): it was edited after gendi wrote it."
        ) from None
    return images


def edited_by(text: Mapping[str, Any]) -> str | None:
    """Return which edit wrote the PNG that holds `text`, None if none did or its settings are damaged."""
    try:
        data = json.loads(text[EDIT_TEXT])
    except (KeyError, TypeError, ValueError, RecursionError):
        return None
    name = data.get("command") if isinstance(data, dict) else None
    return name if name in EDITS else None


def png_text(path: Path) -> dict[str, Any]:
    """Return the texts in a picture's file. Raises `DataError` if it is none."""
    try:
        with Image.open(path) as picture:
            return {str(key): value for key, value in picture.info.items()}
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(f"{path} could not be read as a picture: {error}.") from None


def _read_own_npz(path: Path) -> Images:
    """Return the samples of an archive of gendi's, whose axes need no guessing."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            images = arrays["samples"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} could not be read as .npz: {error}.") from None
    if images.dtype != np.uint8 or images.ndim not in (3, 4):
        raise DataError(
            f"{path}: its samples are {images.dtype} of shape {images.shape}; it was edited after gendi wrote it."
        )
    return np.asarray(images[..., None] if images.ndim == 3 else images, np.uint8)


def _npz_text(path: Path) -> str | None:
    try:
        with zipfile.ZipFile(path) as archive:
            if "settings.npy" not in archive.namelist() or archive.getinfo("settings.npy").file_size > _MAX_TEXT:
                return None
        with np.load(path, allow_pickle=False) as arrays:
            return str(arrays["settings"])
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} could not be read as .npz: {error}.") from None


def _remove(path: Path) -> None:
    if path.is_dir():
        for inside in path.iterdir():
            inside.unlink()
        path.rmdir()
    else:
        path.unlink(missing_ok=True)
