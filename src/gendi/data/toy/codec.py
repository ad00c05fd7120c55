"""The codec of toy worlds: points are in model space already, because every world has mean 0 and variance 1."""

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from gendi.data.codec import Codec
from gendi.data.toy.worlds import WORLDS
from gendi.errors import BundleError, diverged


class PointCodec(Codec):
    """Points (N, 2), float64 in the user's hands and float32 in model space; it keeps the name of their world."""

    kind: ClassVar[str] = "toy"
    once: ClassVar[bool] = True

    def __init__(self, world: str) -> None:
        self.world = world

    @property
    def shape(self) -> tuple[int, ...]:
        return (2,)

    def encode(self, rows: Tensor, cond: Mapping[str, Tensor], index: Tensor) -> Tensor:
        """Return the points (B, 2) as float32."""
        return rows.float()

    def decode(self, x: Tensor, cond: Mapping[str, Tensor], seed: int, first: int) -> Tensor:
        """Return the points (B, 2) as float64; nothing is drawn."""
        if bool(x.isnan().any()):
            raise diverged("The points to decode contain NaN.")
        return x.detach().cpu().to(torch.float64)

    def to_dict(self) -> dict[str, Any]:
        return {"kind": self.kind, "world": self.world}

    @classmethod
    def from_parts(cls, data: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Self:
        if data.keys() != {"kind", "world"} or data["world"] not in list(WORLDS):
            raise BundleError(
                f"A codec of toy worlds has the name of one of {', '.join(WORLDS)}; this is {dict(data)}."
            )
        return cls(data["world"])
