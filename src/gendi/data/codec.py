"""The only place where raw data meet model space.

A codec is saved with the model as a small dict, so that a sample always comes back in the user's own units. Pixels:
x = y / 127.5 - 1 for bytes y in 0..255, and back y = round(127.5 (x + 1)), clamped. The codecs of cells and tables are
fitted to data: see `gendi.data.vectors`.
"""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from gendi.data.kinds import kind_of
from gendi.data.split import LARGEST_SIDE
from gendi.data.vectors import VectorCodec
from gendi.errors import BundleError, DataError, DivergedError, UsageError
from gendi.storage.safe_tensors import TensorSpec


@dataclass(frozen=True)
class ImageCodec:
    """Bytes (N, H, W, C) in 0..255 <-> floats (N, C, H, W) in [-1, 1], for images of one size."""

    channels: int
    height: int
    width: int

    kind: ClassVar[str] = "image"
    half_bin: ClassVar[float] = 1 / 255
    """Half the distance between neighbouring bytes in model space, 2/255 (the discretised decoder's bins)."""
    log2_scale: ClassVar[float] = math.log2(127.5)
    """Log2 of |dy/dx|: to be added to bits per dimension in model space, for those of dequantised bytes."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape (C, H, W) of one image in model space."""
        return self.channels, self.height, self.width

    def encode(self, images: Tensor) -> Tensor:
        """Map uint8 (N, H, W, C) to float32 (N, C, H, W) in [-1, 1]. Raises `DataError` on another shape or dtype."""
        if images.dtype != torch.uint8:
            raise DataError(f"The pixel codec encodes bytes (uint8), not {images.dtype}.")
        self._refuse_shape(images, (self.height, self.width, self.channels), "(N, H, W, C)")
        planes = images.permute(0, 3, 1, 2).to(torch.float32, memory_format=torch.contiguous_format)
        return planes.div_(127.5).sub_(1)

    def decode(self, x: Tensor) -> Tensor:
        """Map floats (N, C, H, W) to uint8 (N, H, W, C), rounded and clamped to 0..255.

        Raises:
            DataError: another shape, or not floating point.
            DivergedError: NaN, which no byte can stand for.
        """
        if not x.dtype.is_floating_point:
            raise DataError(f"The pixel codec decodes floats, not {x.dtype}.")
        self._refuse_shape(x, self.shape, "(N, C, H, W)")
        levels = ((x.detach().to(torch.float32) + 1) * 127.5).round_()
        if torch.isnan(levels).any():
            raise DivergedError(
                "The images to decode contain NaN: the model that made them diverged, or its weights are damaged. "
                "Train with a smaller learning rate, or sample from an earlier checkpoint."
            )
        return levels.clamp_(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous()

    def to_dict(self) -> dict[str, Any]:
        """Return what `codec_from_dict` reads."""
        return {"kind": self.kind, **dataclasses.asdict(self)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "ImageCodec":
        """Read what `to_dict` wrote. Raises `BundleError` naming the field that is missing, unknown or out of range."""
        names = [field.name for field in dataclasses.fields(cls)]
        if wrong := sorted({str(name) for name in data} ^ {"kind", *names}):
            raise BundleError(
                f"The codec of kind {cls.kind!r} has fields {', '.join(names)}; check {', '.join(wrong)}."
            )
        for name in names:
            value = data[name]
            if type(value) is not int or not 1 <= value <= LARGEST_SIDE:
                raise BundleError(
                    f"The codec's {name} is {value!r}; it must be a whole number from 1 to {LARGEST_SIDE}."
                )
        return cls(**{name: data[name] for name in names})

    def _refuse_shape(self, images: Tensor, shape: tuple[int, int, int], letters: str) -> None:
        if images.ndim != 4 or tuple(images.shape[1:]) != shape:
            raise DataError(
                f"This codec handles images of height {self.height}, width {self.width} and {self.channels} "
                f"channel(s), as {letters} = (N, {', '.join(map(str, shape))}); these have shape {tuple(images.shape)}."
            )


Codec = ImageCodec | VectorCodec
"""Between raw data and model space."""


def codec_from_dict(data: object, tensors: Mapping[str, Tensor] | None = None) -> Codec:
    """Return the codec that `to_dict` and `tensors` described. Raises `BundleError` on anything else."""
    known = _codec_class(data)
    assert isinstance(data, Mapping)
    return ImageCodec.from_dict(data) if known is None else known.from_parts(data, tensors or {})


def codec_tensor_specs(data: object) -> dict[str, TensorSpec]:
    """Return the shapes and types of the tensors of the codec that `to_dict` described. Raises `BundleError`."""
    known = _codec_class(data)
    assert isinstance(data, Mapping)
    return {} if known is None else known.expected(data)


def _codec_class(data: object) -> type[VectorCodec] | None:
    """Return the class of a described codec, None for pictures. The registries of kinds are closed."""
    if not isinstance(data, Mapping):
        raise BundleError(f"A codec is a table of fields, not {type(data).__name__}.")
    kind = data.get("kind")
    if kind == ImageCodec.kind:
        return None
    try:
        return kind_of(kind).CODECS[kind] if isinstance(kind, str) else _unknown(kind)
    except KeyError:
        return _unknown(kind)


def _unknown(kind: object) -> type[VectorCodec]:
    raise BundleError(
        f"There is no codec of kind {kind!r}; this version of gendi knows pictures ({ImageCodec.kind!r}), cells and "
        "tables. The bundle may come from a newer version."
    )


def picture_size(codec: Codec) -> tuple[int, int] | None:
    """Return the height and width of pictures; None for data that are no pictures, which have no size to be read at."""
    return (codec.height, codec.width) if isinstance(codec, ImageCodec) else None


def pictures_only(codec: Codec, what: str) -> ImageCodec:
    """Return the codec of a model of pictures. Raises `UsageError`, which says `what` is for pictures, for others."""
    if isinstance(codec, ImageCodec):
        return codec
    raise UsageError(f"{what} is for pictures; this is a model of {codec.kind.partition('-')[0]} data.")


def described(codec: Codec) -> str:
    """Return what a sample is, in a word or two: `28 x 28, 1 channel(s)` or `16 numbers`."""
    if isinstance(codec, ImageCodec):
        return f"{codec.height} x {codec.width}, {codec.channels} channel(s)"
    return f"{codec.shape[0]} numbers in model space ({codec.kind})"
