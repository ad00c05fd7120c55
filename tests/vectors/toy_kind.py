"""A kind of data as small as one can be: rows of two numbers with a class, standardised by the codec of `cells-toy`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gendi.data.open import Data
from gendi.data.split import Loaded
from gendi.data.vectors import VectorCodec, training_conditions
from gendi.diffusion.config import ConditionConfig
from gendi.diffusion.randomness import stream
from gendi.errors import BundleError, DataError
from gendi.storage.safe_tensors import TensorSpec
from gendi.train.config import RunConfig

SUFFIXES = (".toy",)
FITS: list[int] = []
MEAN, STD = np.array([[3.0, -1.0], [5.0, 1.0]]), np.array([0.5, 2.0])


class ToyCodec(VectorCodec):
    kind = "cells-toy"
    once = True

    def __init__(self, mean: Tensor, std: Tensor, told: Mapping[str, Tensor]) -> None:
        self.mean, self.std, self.told = mean, std, told

    @property
    def shape(self) -> tuple[int]:
        return (2,)

    def encode(self, rows: Tensor, cond: Mapping[str, Tensor], index: Tensor) -> Tensor:
        jitter = torch.tensor([stream(0, "toy", index=int(i)).normal() for i in index])
        return ((rows - self.mean) / self.std).float() + 1e-6 * jitter[:, None].float()

    def decode(self, x: Tensor, cond: Mapping[str, Tensor], seed: int, first: int) -> Tensor:
        noise = torch.tensor([stream(seed, "toy decode", index=first + i).normal() for i in range(len(x))])
        return x.double() * self.std + self.mean + 1e-6 * noise[:, None]

    def to_dict(self) -> dict[str, Any]:
        return {"kind": self.kind, "rows": len(next(iter(self.told.values()), ()))}

    def tensors(self) -> dict[str, Tensor]:
        return {"mean": self.mean, "std": self.std, **{f"told:{k}": v for k, v in self.told.items()}}

    @classmethod
    def expected(cls, data: Mapping[str, Any]) -> dict[str, TensorSpec]:
        if data.keys() != {"kind", "rows"} or type(data["rows"]) is not int:
            raise BundleError(f"The codec's fields are {sorted(data)}.")
        found: dict[str, TensorSpec] = {"mean": ((2,), torch.float64), "std": ((2,), torch.float64)}
        return found | ({"told:type": ((data["rows"],), torch.int64)} if data["rows"] else {})

    @classmethod
    def from_parts(cls, data: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> "ToyCodec":
        told = {name[5:]: value for name, value in tensors.items() if name.startswith("told:")}
        return cls(tensors["mean"], tensors["std"], told)


CODECS = {ToyCodec.kind: ToyCodec}


def open_path(place: str, options: Mapping[str, str]) -> Loaded:
    path = Path(place)
    if not path.exists():
        raise DataError(f"There is no {place}.")
    table = np.loadtxt(path)
    labels = table[:, 2].astype(np.int64)
    spec = ConditionConfig("type", "class", 2, names=("round", "long"))
    return Loaded(table[:, :2], {"type": labels}, specs=(spec,), kind="cells", schema=dict(options))


def open_object(thing: Any) -> Loaded:
    raise DataError("toys are files")


def fit(config: RunConfig, data: Data) -> ToyCodec:
    FITS.append(1)
    rows = np.asarray(data.train.batch(range(len(data.train))))
    told = training_conditions(config.conditions, data.train.conditions)
    return ToyCodec(torch.tensor(rows.mean(0)), torch.tensor(rows.std(0)), told)


def present(
    codec: VectorCodec,
    rows: NDArray[Any],
    cond: Mapping[str, NDArray[Any]],
    specs: Sequence[ConditionConfig],
    latent: NDArray[Any],
    provenance: Mapping[str, Any],
) -> NDArray[Any]:
    assert latent.shape == (len(rows), 2) and provenance["seed"] >= 0
    return np.column_stack([rows, cond["type"]]) if "type" in cond else rows


def write(path: Path, thing: Any) -> None:
    np.savetxt(path, thing)


def evaluate(samples: Any, data: Data, **options: Any) -> Any:
    raise NotImplementedError


def world(n: int, seed: int = 0) -> NDArray[np.float64]:
    """Return rows (n, 3): two numbers, normal about the mean of their class, and the class, 1 for a quarter."""
    rng = np.random.default_rng(seed)
    labels = (rng.random(n) < 0.25).astype(int)
    return np.column_stack([MEAN[labels] + STD * rng.standard_normal((n, 2)), labels])
