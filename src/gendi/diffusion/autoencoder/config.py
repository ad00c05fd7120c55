"""Options of an autoencoder of pictures. This module imports neither torch nor NumPy."""

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal, Self

from gendi.errors import UsageError
from gendi.storage.fields import read_fields

MOST = 4096


@dataclass(frozen=True)
class AutoencoderConfig:
    """The network of an autoencoder, and how its latents are kept in order."""

    channels: int = 8
    """Numbers at each place of the latents."""
    factor: int = 8
    """Pixels along the side of the square that becomes one place of the latents."""
    patch: int = 4
    """Pixels along the side of the squares that the first layer takes together; the factor divided by this is a power
    of two."""
    widths: tuple[int, ...] = (64, 128)
    """Channels of the network's levels, finest first, one more than the halvings from the patches to the latents; none
    for an autoencoder that is linear."""
    blocks: int = 1
    """Residual blocks of each level."""
    regularise: Literal["noise", "kl", "none"] = "noise"
    """`noise`: the decoder learns from latents with noise; `kl`: the encoder says a mean and a variance, whose
    divergence from N(0, 1) is a part of the loss; `none`: neither."""
    strength: float = 0.05
    """For `noise`, its standard deviation as a share of that of the latents; for `kl`, the weight of the divergence."""
    equivariance: float = 0.25
    """The share of each batch that is decoded from latents that were turned and shrunk, and compared with the pictures
    turned and shrunk alike (EQ-VAE); 0 switches it off."""

    @property
    def linear(self) -> bool:
        """Whether encoder and decoder are linear maps of the squares of pixels."""
        return not self.widths

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, all that `from_dict` needs."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, data: object) -> Self:
        """Read what `to_dict` wrote. Raises `UsageError` naming a field that is unknown, missing or out of range."""
        config: Self = read_fields(cls, data, "autoencoder")
        config.validate()
        return config

    def validate(self) -> None:
        """Raise `UsageError` naming the first field whose value cannot work."""
        strongest = 2.0 if self.regularise == "noise" else 1e6
        ranges = [
            ("channels", 1, MOST, self.channels),
            ("factor", 1, 64, self.factor),
            ("patch", 1, 64, self.patch),
            ("blocks", 1, 32, self.blocks),
            ("strength", 0.0, strongest, self.strength),
            ("equivariance", 0.0, 1.0, self.equivariance),
            *(("widths", 8, MOST, width) for width in self.widths),
        ]
        for name, low, high, value in ranges:
            if not low <= value <= high:
                raise UsageError(
                    f"autoencoder.{name} = {value!r} is out of range: it must lie between {low} and {high}."
                )
        if self.linear:
            return
        halvings = len(self.widths) - 1
        if self.factor != self.patch * 2**halvings:
            raise UsageError(
                f"autoencoder.factor = {self.factor} and autoencoder.patch = {self.patch} do not fit "
                f"{len(self.widths)} widths: with {len(self.widths)} levels the factor is the patch times "
                f"{2**halvings}, {self.patch * 2**halvings}."
            )
        if any(width % 8 for width in self.widths):
            raise UsageError(f"autoencoder.widths = {self.widths}: each must be a multiple of 8.")

    def check_size(self, height: int, width: int) -> None:
        """Raise `UsageError` if pictures of this size cannot be encoded."""
        if height % self.factor or width % self.factor:
            near = max(self.factor, round(height / self.factor) * self.factor)
            raise UsageError(
                f"pictures of {height} x {width} cannot be encoded: autoencoder.factor = {self.factor} must divide "
                f"height and width. Bring the pictures to another size, for instance --size {near}, or take another "
                "factor."
            )
