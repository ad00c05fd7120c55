"""Latents of pictures: the codec of an autoencoder that was trained on them.  [Rombach et al. 2022, section 3.1]

    pictures (N, H, W, C) of bytes  ->  x in [-1, 1]  ->  (encoder(x) - centre) / scale,  (N, c, H / f, W / f)
    latents                         ->  decoder(z scale + centre)  ->  bytes

`centre` and `scale` are the mean and the standard deviation of each channel over the training pictures, so that
standardised latents have mean 0 and deviation 1. The weights are saved with the codec, and so with every model that
works in these latents.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any, ClassVar, NoReturn, Self

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from gendi.data.codec import Codec
from gendi.data.images.codec import ImageCodec
from gendi.diffusion.autoencoder.config import AutoencoderConfig
from gendi.diffusion.autoencoder.network import Autoencoder
from gendi.errors import BundleError, DataError, UsageError, diverged
from gendi.storage.safe_tensors import TensorSpec, tensor_chunks

CHUNK = 64
"""Pictures that go through the network at once."""
PREFIX = "network."
ABOUT: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(("data", "fingerprint"), (str,)),
    **dict.fromkeys(("images", "pictures", "seed"), (int,)),
    **dict.fromkeys(("seconds", "psnr"), (int, float)),
}
"""The names and types of what a codec says about its training; others may be there too."""


class LatentCodec(Codec):
    """The codec of the module's docstring. The results depend neither on conditions nor on the numbers of the rows.

    Args:
        pixels: the codec of the pictures.
        config: the options of the network.
        network: the autoencoder.
        centre: (c,), the means of its channels.
        scale: (c,), their standard deviations.
        about: facts about the training as plain JSON values: data, fingerprint, images, psnr, ...
    """

    kind: ClassVar[str] = "image-latent"
    once: ClassVar[bool] = True

    def __init__(
        self,
        pixels: ImageCodec,
        config: AutoencoderConfig,
        network: Autoencoder,
        centre: Float[Tensor, " c"],
        scale: Float[Tensor, " c"],
        about: Mapping[str, Any] | None = None,
    ) -> None:
        self.pixels, self.config, self.about = pixels, config, dict(about or {})
        self.network = network.cpu().float().eval().requires_grad_(False)
        self.centre, self.scale = centre, scale

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape (c, H / f, W / f) of the latents of a picture."""
        height, width = self.pixels.size
        return self.config.channels, height // self.config.factor, width // self.config.factor

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the pictures."""
        return self.pixels.size

    @property
    def description(self) -> str:
        """The pictures, and the shape of their latents."""
        return f"{self.pixels.description}, as latents of {' x '.join(map(str, self.shape))}"

    @property
    def digest(self) -> str:
        """The SHA-256 of everything that decides what `encode` and `decode` return."""
        told = {name: value for name, value in self.to_dict().items() if name != "about"}
        found = hashlib.sha256(json.dumps(told, sort_keys=True).encode())
        for chunk in tensor_chunks(self.tensors()):
            found.update(chunk)
        return found.hexdigest()

    @property
    def cache_key(self) -> str:
        return self.digest

    @torch.inference_mode()
    def encode(
        self,
        rows: Tensor | NDArray[Any],
        cond: Mapping[str, Tensor] | None = None,
        index: Tensor | None = None,
    ) -> Float[Tensor, "n c h w"]:
        """Map bytes (N, H, W, C) to standardised latents, float32. Raises `DataError` on another shape or dtype."""
        x = self.pixels.encode(rows)
        latents = [self.network.encode(x[i : i + CHUNK].cpu()) for i in range(0, len(x), CHUNK)]
        z = torch.cat(latents) if latents else torch.zeros(0, *self.shape)
        return ((z - _planes(self.centre)) / _planes(self.scale)).to(x.device)

    @torch.inference_mode()
    def decode(self, x: Tensor, cond: Mapping[str, Tensor] | None = None, seed: int = 0, first: int = 0) -> Tensor:
        """Map standardised latents (N, c, h, w) to bytes (N, H, W, C).

        Raises:
            DataError: another shape, or not floating point.
            DivergedError: x contains NaN, which no picture has.
        """
        if not x.dtype.is_floating_point or tuple(x.shape[1:]) != self.shape:
            raise DataError(
                f"This codec decodes latents of shape (N, {', '.join(map(str, self.shape))}), not {x.dtype} of shape "
                f"{tuple(x.shape)}."
            )
        if torch.isnan(x).any():
            raise diverged("The latents to decode contain NaN.")
        z = x.detach().cpu().float() * _planes(self.scale) + _planes(self.centre)
        parts = [self.pixels.decode(self.network.decode(z[i : i + CHUNK])) for i in range(0, len(z), CHUNK)]
        return torch.cat(parts) if parts else torch.zeros(0, *self.size, self.pixels.channels, dtype=torch.uint8)

    def restored(self, rows: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return what is left of pictures, bytes (N, H, W, C), when they are encoded and decoded."""
        return np.asarray(self.decode(self.encode(torch.from_numpy(np.ascontiguousarray(rows)))).numpy())

    def to_dict(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "pixels": self.pixels.to_dict(),
            "autoencoder": {**self.config.to_dict(), "widths": list(self.config.widths)},
            "about": self.about,
        }

    def tensors(self) -> dict[str, Tensor]:
        weights = {PREFIX + name: value.contiguous() for name, value in self.network.state_dict().items()}
        return {"centre": self.centre, "scale": self.scale, **weights}

    @classmethod
    def expected(cls, data: Mapping[str, Any]) -> dict[str, TensorSpec]:
        pixels, config, _ = _fields(data)
        with torch.device("meta"):
            network = Autoencoder(pixels.channels, config)
        weights = {PREFIX + name: (tuple(t.shape), t.dtype) for name, t in network.state_dict().items()}
        each = ((config.channels,), torch.float32)
        return {"centre": each, "scale": each, **weights}

    @classmethod
    def from_parts(cls, data: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Self:
        pixels, config, about = _fields(data)
        centre, scale = tensors["centre"], tensors["scale"]
        if not bool(centre.isfinite().all()) or not bool((scale > 0).all()) or not bool(scale.isfinite().all()):
            raise BundleError("The codec of latents: centre or scale is out of range; the file is damaged.")
        with torch.random.fork_rng(devices=[]):  # initial weights are overwritten
            network = Autoencoder(pixels.channels, config)
        weights = {name.removeprefix(PREFIX): t for name, t in tensors.items() if name.startswith(PREFIX)}
        network.load_state_dict(weights)
        return cls(pixels, config, network, centre, scale, about)

    def mismatch(self, other: Codec) -> str:
        if isinstance(other, LatentCodec) and other.digest != self.digest:
            return "it works in the latents of one autoencoder, and these are the latents of another."
        theirs = pictures_of(other)
        if theirs is None or theirs == self.pixels:
            return ""
        return f"its autoencoder is for pictures of {self.pixels.description}, and these are {theirs.description}."


def pictures_of(codec: Codec | None) -> ImageCodec | None:
    """Return the codec of the pictures behind a codec of pixels or latents; None if it is one of other data."""
    if isinstance(codec, LatentCodec):
        return codec.pixels
    return codec if isinstance(codec, ImageCodec) else None


def shown_as_pictures(codec: Codec | None, what: str) -> ImageCodec | LatentCodec:
    """Return a codec that decodes to pictures, of pixels or of latents.

    Raises `UsageError` saying that `what` is for pictures if it is one of other data.
    """
    if isinstance(codec, ImageCodec | LatentCodec):
        return codec
    kind = "" if codec is None else f"{codec.kind.partition('-')[0]} "
    raise UsageError(f"{what} is for pictures; this is a model of {kind}data.")


def _planes(values: Float[Tensor, " c"]) -> Float[Tensor, "c 1 1"]:
    return values[:, None, None]


def _fields(data: Mapping[str, Any]) -> tuple[ImageCodec, AutoencoderConfig, dict[str, Any]]:
    """Return the checked fields of `to_dict`. Raises `BundleError` naming a bad one."""
    if wrong := sorted({str(name) for name in data} ^ {"kind", "pixels", "autoencoder", "about"}):
        _refused(f"it has the fields kind, pixels, autoencoder and about; check {', '.join(wrong)}")
    pixels, about = data["pixels"], data["about"]
    if not isinstance(pixels, dict) or pixels.get("kind") != ImageCodec.kind:
        _refused("pixels must be the codec of pictures")
    if not isinstance(about, dict):
        _refused("about must be a table of fields")
    for name, kinds in ABOUT.items():
        if name in about and (not isinstance(about[name], kinds) or isinstance(about[name], bool)):
            _refused(f"about.{name} = {about[name]!r} is of the wrong type")
    try:
        config = AutoencoderConfig.from_dict(data["autoencoder"])
        codec = ImageCodec.from_parts(pixels, {})
        config.check_size(*codec.size)
    except UsageError as error:
        raise BundleError(f"The codec of latents: {error}") from None
    return codec, config, dict(about)


def _refused(why: str) -> NoReturn:
    raise BundleError(f"The codec of latents: {why}.")
