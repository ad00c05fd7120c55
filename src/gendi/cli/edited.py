"""From pictures in files to model space and back: what `gendi inpaint` and the other edits share."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

import gendi
from gendi.api.conditions import read_asked
from gendi.api.guidance import guided
from gendi.api.samples_io import EDIT_TEXT
from gendi.cli.editing import METHODS, Draw, Edit
from gendi.cli.requests import default_steps, guides_sha256, pick_device, weights_sha256
from gendi.data.images.codec import ImageCodec, pictures_only
from gendi.data.images.pictures import grid_image, png_bytes, to_image
from gendi.data.images.pixels import BadImageError, decode, measure
from gendi.diffusion.gaussian.conditioned import conditioned
from gendi.diffusion.gaussian.denoiser import Denoiser
from gendi.diffusion.gaussian.samplers import get_sampler
from gendi.diffusion.gaussian.samplers.checked import checked
from gendi.diffusion.gaussian.samplers.drawing import Drawing
from gendi.errors import DataError, UsageError
from gendi.storage.files import atomic_write, sha256_file
from gendi.train.bundle import Bundle, bundle_folder, load_bundle

BATCH = 64
WHITE = 128
"""From which level on a mask's pixel is white."""


@dataclass(frozen=True)
class Result:
    """What an edit made; pictures are (N, C, H, W) in model space."""

    given: tuple[Tensor, ...]
    """What to show beside the results, each (1, C, H, W)."""
    pictures: Tensor
    figures: dict[str, Any] = field(default_factory=dict)
    """Numbers found on the way."""


@dataclass(frozen=True)
class Model:
    """A run that is about to edit."""

    bundle: Bundle
    command: Edit
    device: str
    poll: Callable[[], None]

    @property
    def codec(self) -> ImageCodec:
        """The codec of the model's pictures."""
        return pictures_only(self.bundle.codec, "editing")

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the model's pictures."""
        return self.codec.height, self.codec.width

    def told(self, n: int, more: Mapping[str, Any] | None = None) -> tuple[Denoiser, dict[str, Tensor]]:
        """Return the denoiser of n results in fp32, guided as asked, and their conditions: those that were asked for,
        and `more`; what is not told is null. Raises as `read_asked` and `guided` do.
        """
        asking = self.command.asking
        told, guidance = read_asked(
            self.bundle, asking.conditions(), asking.guides(), range(n), one=not self.command.TURNS
        )
        told |= more or {}
        return guided(self.bundle, guidance, told, n, device=self.device, precision="fp32", editing=True)

    def carrying(self, n: int) -> Denoiser:
        """Return the same for edits that run no sampler: the denoiser is looked after at every call."""
        return checked(conditioned(*self.told(n)), "the probability-flow ODE", self.poll)

    def picture(self, path: str, size: tuple[int, int] | None = None) -> Float[Tensor, "1 c h w"]:
        """Return a picture in model space. Raises as `read_pixels`, for `size`, by default the model's own."""
        channels = self.codec.channels
        pixels = read_pixels(Path(path), size or self.size, channels, size is None)
        codec = ImageCodec(channels, *pixels.shape[:2])
        return codec.encode(torch.from_numpy(pixels[None].copy())).to(self.device)


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
        return measure(path)[:2]
    except BadImageError as error:
        raise DataError(f"{path} could not be read as a picture: {error}.") from None


def read_mask(path: str, size: tuple[int, int]) -> Bool[Tensor, "h w"]:
    """Return where a picture is known: the mask's black; its white is to be painted.

    Raises:
        DataError: no file, or no picture.
        UsageError: a mask of another size, or one without a white pixel.
    """
    pixels = read_pixels(Path(path), size, 1)
    known = torch.from_numpy(pixels[..., 0] < WHITE)
    if bool(known.all()):
        raise UsageError(f"--mask {path} has no white pixel, so nothing is to be painted: white is what is painted.")
    if not bool(known.any()):
        raise UsageError(f"--mask {path} is all white, so nothing is known: draw pictures by gendi sample.")
    return known


def open_model(command: Edit, poll: Callable[[], None]) -> Model:
    """Return the model of `command.run`.

    Raises:
        UsageError: a model of other things than pictures.
        BundleError: as `load_bundle`.
    """
    bundle = load_bundle(command.run)
    pictures_only(bundle.codec, "editing")
    return Model(bundle, command, pick_device(), poll)


def sources(command: Edit) -> dict[str, str]:
    """Return the SHA-256 of the weights in each model's folder, and of each picture that is read, by path."""
    guides = command.asking.guides()
    weights = {command.run: weights_sha256(command.run)}
    weights |= {str(guides[name]): digest for name, digest in guides_sha256(guides).items()}
    words = [command.image, *(getattr(command, name, None) for name in ("mask", "other", "to"))]
    words += [*command.asking.conditions().values(), *guides.get("negative", {}).values()]
    pictures = {word: sha256_file(Path(word)) for word in words if word is not None and Path(word).is_file()}
    return pictures | {place: digest for place, digest in weights.items() if digest is not None}


def drawing(command: Draw, model: Model, method: str | None = None) -> Drawing:
    """Return how to draw, as the flags say, else by the method's or the model's own sampler and as many steps as are
    enough. Raises `UsageError` for an unknown sampler.
    """
    sampler = command.sampler or ("ancestral" if method == "dps" else model.bundle.config.sample.sampler)
    get_sampler(sampler)
    usual, chain = default_steps(sampler, model.bundle), model.bundle.config.process.steps
    wanted = METHODS[method] if method is not None else usual
    return Drawing(
        steps=command.steps or (wanted if chain is None else min(wanted, chain)),
        sampler=sampler,
        seed=command.seed or 0,
        batch_size=command.batch_size or BATCH,
        device=model.device,
    )


def check_out(out: Path, run: Path) -> None:
    """Raise `UsageError` if results cannot go to `out`; called before the work starts."""
    if bundle_folder(run).resolve() in out.resolve().parents:
        raise UsageError(f"--out {out} lies inside the bundle, whose files are sealed. Choose another folder.")
    if out.suffix not in (".png", ""):
        raise UsageError(f"--out {out}: results are written as NAME.png or a folder, not as {out.suffix}.")
    if out.suffix and out.is_dir():
        raise UsageError(f"--out {out} is a folder. Choose another name.")
    if not out.suffix and out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise UsageError(f"--out {out} is there already, and is not an empty folder. Choose another name or remove it.")


def write(out: Path, result: Result, settings: dict[str, Any]) -> None:
    """Write the results with their settings: a .png beside what was given, or a folder of a PNG each."""
    text = {"Software": f"gendi {gendi.__version__}", EDIT_TEXT: json.dumps({**settings, "version": gendi.__version__})}
    if out.suffix == ".png":
        shown = to_bytes(torch.cat([x.cpu().float() for x in (*result.given, result.pictures)]))
        out.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(out, png_bytes(grid_image(shown, min(len(shown), 10)), text))
        return
    out.mkdir(parents=True, exist_ok=True)
    for i, picture in enumerate(to_bytes(result.pictures)):
        atomic_write(out / f"{i:05d}.png", png_bytes(to_image(picture), text))


def to_bytes(pictures: Tensor) -> np.ndarray:
    """Return pictures (N, C, H, W) in model space as bytes (N, H, W, C)."""
    codec = ImageCodec(*pictures.shape[1:])
    return np.asarray(codec.decode(pictures).cpu().numpy())
