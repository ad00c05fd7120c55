"""A kind of data that a stranger might bring, in one file: rows of numbers with a class, rotated by a codec's weights.

pair:PATH             rows of two numbers, vectors (2,) in model space
pair:PATH?grid=yes    the same in model space as pictures (1, 4, 4): three axes
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gendi.data import Data, Kind, Loaded
from gendi.data.codec import Codec
from gendi.data.vectors import VectorCodec, training_conditions
from gendi.diffusion.config import ConditionConfig
from gendi.diffusion.randomness import stream
from gendi.errors import BundleError, DataError
from gendi.evaluate.result import Evaluation
from gendi.evaluate.vectors import RowSet, Standardised, evaluate_rows
from gendi.storage.safe_tensors import TensorSpec

FITS: list[int] = []
MEAN, STD = np.array([[3.0, -1.0], [5.0, 1.0]]), np.array([0.5, 2.0])


class PairCodec(VectorCodec):
    """Rows (N, 2), standardised and rotated by weights; on its way in and out it draws a jitter of 1e-6."""

    kind = "pair"
    once = True
    width: ClassVar[int] = 2

    def __init__(self, mean: Tensor, std: Tensor, weights: Tensor, cond: Mapping[str, Tensor]) -> None:
        self.mean, self.std, self.weights, self.training_conditions = mean, std, weights, cond

    @classmethod
    def fit(cls, rows: NDArray[np.float64], cond: Mapping[str, Tensor], seed: int) -> "PairCodec":
        """Take mean and deviation from the rows, and draw a rotation, of which two columns are kept."""
        q, _ = np.linalg.qr(stream(seed, "toy weights").normal(size=(cls.width, cls.width)))
        mean, std = torch.tensor(rows.mean(0)), torch.tensor(rows.std(0))
        return cls(mean, std, torch.from_numpy(np.ascontiguousarray(q[:, :2])), cond)

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.width,)

    def encode(self, rows: Tensor, cond: Mapping[str, Tensor], index: Tensor) -> Tensor:
        jitter = torch.tensor([stream(0, "pair", index=int(i)).normal() for i in index])
        z = (rows - self.mean) / self.std + 1e-6 * jitter[:, None]
        return (z @ self.weights.T).float().reshape(-1, *self.shape)

    def decode(self, x: Tensor, cond: Mapping[str, Tensor], seed: int, first: int) -> Tensor:
        noise = torch.tensor([stream(seed, "toy decode", index=first + i).normal() for i in range(len(x))])
        return (x.double().flatten(1) @ self.weights) * self.std + self.mean + 1e-6 * noise[:, None]

    def to_dict(self) -> dict[str, Any]:
        return {"kind": self.kind, "rows": len(next(iter(self.training_conditions.values()), ()))}

    def tensors(self) -> dict[str, Tensor]:
        cond = {f"told:{name}": value for name, value in self.training_conditions.items()}
        return {"mean": self.mean, "std": self.std, "weights": self.weights, **cond}

    @classmethod
    def expected(cls, data: Mapping[str, Any]) -> dict[str, TensorSpec]:
        if data.keys() != {"kind", "rows"} or type(data["rows"]) is not int:
            raise BundleError(f"The codec's fields are {sorted(data)}.")
        found: dict[str, TensorSpec] = dict.fromkeys(("mean", "std"), ((2,), torch.float64))
        found["weights"] = ((cls.width, 2), torch.float64)
        return found | ({"told:type": ((data["rows"],), torch.int64)} if data["rows"] else {})

    @classmethod
    def from_parts(cls, data: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> "PairCodec":
        cond = {name[5:]: value for name, value in tensors.items() if name.startswith("told:")}
        return cls(tensors["mean"], tensors["std"], tensors["weights"], cond)


class GridCodec(PairCodec):
    """The same, spread over a grid of three axes; each batch is encoded anew."""

    kind = "pair-grid"
    once = False
    width = 16

    @property
    def shape(self) -> tuple[int, ...]:
        return 1, 4, 4


class Pairs(Kind):
    """Rows of two numbers and a class."""

    name = "pair"
    title = "pairs"
    preset = "cells"
    suffixes = (".pair",)

    def open_path(self, place: str, options: Mapping[str, str]) -> Loaded:
        path = Path(place)
        if not path.exists():
            raise DataError(f"There is no {place}.")
        table = np.loadtxt(path)
        labels = table[:, 2].astype(np.int64)
        spec = ConditionConfig("type", "class", 2, names=("round", "long"))
        return Loaded(table[:, :2], {"type": labels}, specs=(spec,), schema=dict(options))

    def codecs(self) -> Mapping[str, type[Codec]]:
        return {codec.kind: codec for codec in (PairCodec, GridCodec)}

    def fit(self, data: Data, conditions: Sequence[ConditionConfig], seed: int, options: Any) -> PairCodec:
        FITS.append(1)
        rows = np.asarray(data.train.batch(range(len(data.train))))
        codec = GridCodec if data.schema.get("grid") else PairCodec
        return codec.fit(rows, training_conditions(conditions, data.train.conditions), seed)

    def present(
        self,
        codec: Codec,
        rows: NDArray[Any],
        cond: Mapping[str, NDArray[Any]],
        specs: Sequence[ConditionConfig],
        latent: NDArray[Any],
        provenance: Mapping[str, Any],
    ) -> NDArray[Any]:
        assert latent.shape == (len(rows), *codec.shape) and provenance["seed"] >= 0
        return np.column_stack([rows, cond["type"]]) if "type" in cond else rows

    def write(self, path: Path, samples: Any, texts: Any = None, first: int = 0) -> None:
        np.savetxt(path, samples)

    def evaluate(self, samples: Any, data: Data, **options: Any) -> Evaluation:
        rows = np.loadtxt(samples) if isinstance(samples, Path) else samples
        train, heldout = (np.asarray(part.batch(range(len(part)))) for part in (data.train, data.heldout))
        named: dict[str, Any] = {"name": data.name, "fingerprint": data.fingerprint}
        sets = (RowSet(each) for each in (rows[:, :2], train, heldout))
        return evaluate_rows(*sets, space=Standardised.fit, **named, **options)


PAIRS = Pairs()


def world(n: int, seed: int = 0) -> NDArray[np.float64]:
    """Return rows (n, 3): two numbers, normal about the mean of their class, and the class, 1 for a quarter."""
    rng = np.random.default_rng(seed)
    labels = (rng.random(n) < 0.25).astype(int)
    return np.column_stack([MEAN[labels] + STD * rng.standard_normal((n, 2)), labels])
