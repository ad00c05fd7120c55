"""The codec of pictures: x = y / 127.5 - 1 for bytes y in 0..255, and back y = round(127.5 (x + 1)), clamped."""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NoReturn, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gendi.data.codec import Codec
from gendi.data.split import LARGEST_SIDE
from gendi.errors import BundleError, DataError, UsageError, diverged


@dataclass(frozen=True)
class ImageCodec(Codec):
    """Translates between bytes (N, H, W, C) in 0..255 and floats (N, C, H, W) in [-1, 1], for images of one size.

    The result depends neither on conditions nor on the numbers of the images; `encode` and `decode` ignore them.
    """

    channels: int
    height: int
    width: int

    kind: ClassVar[str] = "image"
    value_range: ClassVar[tuple[float, float]] = (-1.0, 1.0)
    half_bin: ClassVar[float] = 1 / 255
    """Half of 2/255, the distance between neighbouring bytes in model space (the bins of the discretised decoder)."""
    log2_scale: ClassVar[float] = math.log2(127.5)
    """Log2 of |dy/dx|. Bits per dimension in model space plus this number are those of dequantised bytes."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape (C, H, W) of one image in model space."""
        return self.channels, self.height, self.width

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the images."""
        return self.height, self.width

    @property
    def description(self) -> str:
        """Height, width and channels."""
        return f"{self.height} x {self.width}, {self.channels} channel(s)"

    def encode(
        self,
        rows: Tensor | NDArray[Any],
        cond: Mapping[str, Tensor] | None = None,
        index: Tensor | None = None,
    ) -> Tensor:
        """Map bytes (N, H, W, C), of torch or NumPy, to float32 (N, C, H, W) in [-1, 1].

        Raises `DataError` on another shape or dtype.
        """
        if isinstance(rows, np.ndarray):
            if rows.dtype != np.uint8:
                _refused(rows.dtype)
            rows = torch.tensor(rows)
        if rows.dtype != torch.uint8:
            _refused(rows.dtype)
        self._refuse_shape(rows, (self.height, self.width, self.channels), "(N, H, W, C)")
        return to_planes(rows)

    def decode(self, x: Tensor, cond: Mapping[str, Tensor] | None = None, seed: int = 0, first: int = 0) -> Tensor:
        """Map floats (N, C, H, W) to uint8 (N, H, W, C), rounded and clamped to 0..255.

        Raises:
            DataError: another shape, or not floating point.
            DivergedError: x contains NaN, which no byte can represent.
        """
        if not x.dtype.is_floating_point:
            raise DataError(f"The pixel codec decodes floats, not {x.dtype}.")
        self._refuse_shape(x, self.shape, "(N, C, H, W)")
        levels = _levels_of(x.detach().to(torch.float32))
        if torch.isnan(levels).any():
            raise diverged("The images to decode contain NaN.")
        return _bytes_of(levels)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values, all that `from_parts` needs."""
        return {"kind": self.kind, **dataclasses.asdict(self)}

    @classmethod
    def from_parts(cls, data: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Self:
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


def _refused(dtype: object) -> NoReturn:
    raise DataError(
        f"The pixel codec encodes bytes from 0 to 255 (uint8), not {dtype}. Floats from 0 to 1 become bytes by "
        "(255 * x).round() in that type."
    )


def to_planes(pixels: Tensor) -> Tensor:
    """Map bytes (N, H, W, C) to float32 (N, C, H, W) in [-1, 1]."""
    planes = pixels.permute(0, 3, 1, 2).to(torch.float32, memory_format=torch.contiguous_format)
    return planes.div_(127.5).sub_(1)


def to_bytes(x: Tensor) -> Tensor:
    """Map floats (N, C, H, W), none of which is NaN, to bytes (N, H, W, C), rounded and clamped to 0..255."""
    return _bytes_of(_levels_of(x))


def _levels_of(x: Tensor) -> Tensor:
    return ((x + 1) * 127.5).round_()


def _bytes_of(levels: Tensor) -> Tensor:
    return levels.clamp_(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def pictures_only(codec: Codec | None, what: str) -> ImageCodec:
    """Return the codec if it is one of pixels.

    Raises `UsageError` saying that `what` is for pictures, or for a model of pixels where the codec is one of latents.
    """
    if isinstance(codec, ImageCodec):
        return codec
    if codec is not None and codec.kind.partition("-")[0] == ImageCodec.kind:
        raise UsageError(
            f"{what} needs a model of pixels, and this one draws latents, of which an autoencoder makes pictures: the "
            "probability of a picture is unknown, and what is linear in pixels is not linear in latents. Train a model "
            "without --autoencoder for it."
        )
    kind = "" if codec is None else f"{codec.kind.partition('-')[0]} "
    raise UsageError(f"{what} is for pictures; this is a model of {kind}data.")
