"""What the codecs of cells share: checks of counts, classes and depths, and the conditions of training cells."""

import math
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

import numpy as np
import torch
from jaxtyping import Float64, Int64, Num
from numpy.typing import NDArray
from torch import Tensor

from gendi.data.cells.observations import depth_condition
from gendi.data.vectors import VectorCodec
from gendi.diffusion.conditions import is_null
from gendi.diffusion.config import ConditionConfig
from gendi.errors import BundleError, DataError, UsageError, diverged
from gendi.storage.safe_tensors import TensorSpec

CHUNK = 256
"""Number of cells that are encoded or decoded at a time."""
FURTHEST = 8.0
"""Drawn depths stay within this many standard deviations of ln L."""
DTYPES = {"int64": torch.int64, "float32": torch.float32}


@dataclass(frozen=True)
class DepthLaw:
    """The map between depths L and scores (ln L - mean) / std; a depth of 0 counts as 1."""

    mean: float
    std: float

    @classmethod
    def fit(cls, depth: Float64[np.ndarray, " n"]) -> Self:
        """Return the distribution with the mean and the standard deviation of ln L; the latter is 1 if all depths are
        equal."""
        logs = np.log(np.maximum(depth, 1.0))
        std = float(logs.std()) if len(logs) else 0.0
        return cls(float(logs.mean()) if len(logs) else 0.0, std if std > 1e-6 else 1.0)

    def score(self, depth: Float64[np.ndarray, " n"]) -> Float64[np.ndarray, " n"]:
        """Return the scores (n,) of depths."""
        return np.asarray((np.log(np.maximum(depth, 1.0)) - self.mean) / self.std)

    def depth(self, score: Float64[np.ndarray, " n"]) -> Float64[np.ndarray, " n"]:
        """Return the depths (n,) of scores."""
        return np.asarray(np.exp(self.mean + self.std * np.clip(score, -FURTHEST, FURTHEST)))


@dataclass(frozen=True)
class Header:
    """The facts about the data that a codec of cells holds beside its model."""

    genes: int
    """The number of genes G."""
    label: str | None
    """The condition that gives each cell's class; None if cells have no classes."""
    schema: Mapping[str, Any]
    """What the reader of the data needs to return cells in the user's own form, in plain JSON values."""
    others: Mapping[str, int] = field(default_factory=dict)
    """The further conditions on which distributions depend, such as batches, and how many classes each has."""


class CellsCodec(VectorCodec):
    """Counts (N, G) of cells <-> vectors (N, D); column 0 of a vector is the score of the cell's depth."""

    later_sizes: ClassVar[frozenset[str]] = frozenset()
    """Names in `sizes` that bundles of earlier versions lack, where they are 0."""

    def __init__(self, header: Header, cond: Mapping[str, Tensor], depth: DepthLaw) -> None:
        self.header, self.training_conditions, self.depth = header, dict(cond), depth

    def misfit(self, schema: Any, ours: Sequence[ConditionConfig], theirs: Sequence[ConditionConfig]) -> str:
        """Return a sentence that says why other cells cannot be encoded, or ""; see `VectorCodec.misfit`.

        Genes must be the same in the same order, and so must the classes whose marginals the codec holds.
        """
        own, genes = (list(found.get("genes", [])) for found in (self.header.schema, schema or {}))
        if own != genes:
            if sorted(map(str, own)) == sorted(map(str, genes)):
                return "It has the same genes in another order: bring them into the model's order."
            missing = [gene for gene in own if gene not in set(genes)]
            named = f" ({', '.join(map(str, missing[:3]))}, ...)" if missing else ""
            return f"It has {len(genes)} genes, and {len(missing)} of the model's {len(own)} are not among them{named}."
        for name in (self.header.label, *self.header.others):
            of = [next((spec.names for spec in specs if spec.name == name), None) for specs in (ours, theirs)]
            if of[0] is not None and of[0] != of[1]:
                return f"Its classes of {name} differ from those whose marginals the model holds."
        return ""

    def counts_of(self, rows: Tensor) -> Int64[np.ndarray, "n g"]:
        """Return rows as counts. Raises `DataError` for another number of genes, or numbers that are not counts."""
        if rows.ndim != 2 or rows.shape[1] != self.header.genes:
            raise DataError(
                f"This model was fitted to cells of {self.header.genes} genes; these rows have shape "
                f"{tuple(rows.shape)}. Give the same genes in the same order."
            )
        counts = rows.detach().cpu().numpy()
        if counts.dtype.kind == "f" and not np.array_equal(counts, np.rint(counts)):
            raise DataError("Counts must be whole numbers, and some of these are not (NaN counts as one that is not).")
        if counts.min(initial=0) < 0:
            raise DataError(f"Counts cannot be negative; the least of these is {counts.min()}.")
        return np.asarray(counts, np.int64)

    def labels_of(self, cond: Mapping[str, Tensor]) -> Int64[np.ndarray, " n"] | None:
        """Return each cell's class, -1 where it is not given; None if no classes are given or cells have none."""
        if self.header.label is None or self.header.label not in cond:
            return None
        return _classes(cond[self.header.label])

    def levels_of(self, cond: Mapping[str, Tensor]) -> dict[str, NDArray[np.int64]]:
        """Return each cell's class of the further conditions that are given, -1 where it is not."""
        return {name: _classes(cond[name]) for name in self.header.others if name in cond}

    def finite(self, x: Tensor) -> Float64[np.ndarray, "n d"]:
        """Return x as float64. Raises `DataError` for another shape, `DivergedError` for NaN or infinity."""
        if x.ndim != 2 or x.shape[1] != self.shape[0]:
            raise DataError(f"Vectors of this model are (n, {self.shape[0]}); these have shape {tuple(x.shape)}.")
        if not bool(torch.isfinite(x).all()):
            raise diverged("The cells to decode contain NaN or infinity.")
        return np.asarray(x.detach().cpu().numpy(), np.float64)

    def depths_of(self, cond: Mapping[str, Tensor], score: Float64[np.ndarray, " n"]) -> Float64[np.ndarray, " n"]:
        """Return the requested depths (`depth_condition`), and the depths of `score` where none is requested.

        Raises `UsageError` for a requested depth that is not positive.
        """
        drawn, name = self.depth.depth(score), depth_condition(self.header.schema)
        if name is None or name not in cond:
            return drawn
        requested = np.asarray(cond[name].cpu().numpy(), np.float64)
        if (requested <= 0).any():
            raise UsageError(f"{name} = {requested[requested <= 0][0]:g}: the depth of a cell must be positive.")
        return np.where(np.isnan(requested), drawn, requested)

    def to_dict(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "genes": self.header.genes,
            "label": self.header.label,
            "others": dict(self.header.others),
            "schema": dict(self.header.schema),
            "depth": [self.depth.mean, self.depth.std],
            "told": {
                name: [str(t.dtype).removeprefix("torch."), *t.shape] for name, t in self.training_conditions.items()
            },
            **self.sizes(),
        }

    def tensors(self) -> dict[str, Tensor]:
        arrays = {name: torch.from_numpy(np.ascontiguousarray(a)) for name, a in self.arrays().items()}
        return arrays | {f"told.{name}": value.contiguous() for name, value in self.training_conditions.items()}

    @abstractmethod
    def sizes(self) -> dict[str, int]:
        """Return the numbers that determine the shapes of `arrays`."""

    @abstractmethod
    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the fitted arrays by name."""

    @classmethod
    @abstractmethod
    def array_specs(cls, genes: int, sizes: Mapping[str, int]) -> dict[str, TensorSpec]:
        """Return the shapes and types of `arrays`."""

    @classmethod
    @abstractmethod
    def from_arrays(
        cls,
        header: Header,
        cond: Mapping[str, Tensor],
        depth: DepthLaw,
        sizes: Mapping[str, int],
        arrays: Mapping[str, NDArray[Any]],
    ) -> Self:
        """Return the codec made of these parts. Raises `BundleError` for values that no fit can give."""

    @classmethod
    def expected(cls, data: Mapping[str, Any]) -> dict[str, TensorSpec]:
        genes, sizes = _whole(data, "genes"), cls._sizes(data)
        cond = data.get("told")
        if not isinstance(cond, Mapping) or not all(_is_condition(entry) for entry in cond.values()):
            raise BundleError("The cells' codec: `told` must give a type and a shape for each condition.")
        specs: dict[str, TensorSpec] = {
            f"told.{name}": (tuple(shape), DTYPES[dtype]) for name, (dtype, *shape) in cond.items()
        }
        return cls.array_specs(genes, sizes) | specs

    @classmethod
    @abstractmethod
    def size_names(cls) -> tuple[str, ...]:
        """Return the names of `sizes`."""

    @classmethod
    def from_parts(cls, data: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Self:
        label, schema, depth = data.get("label"), data.get("schema"), data.get("depth", [])
        if not (label is None or isinstance(label, str)):
            raise BundleError(f"The cells' codec: label = {label!r} must be a name or null.")
        if not isinstance(schema, Mapping):
            raise BundleError("The cells' codec: `schema` must be a table of fields.")
        if not _is_depth(depth):
            raise BundleError(f"The cells' codec: depth = {depth!r} must be a mean and a positive standard deviation.")
        known = cls.expected(data)
        cond = {name.removeprefix("told."): tensors[name] for name in known if name.startswith("told.")}
        arrays = {name: tensors[name].numpy() for name in known if not name.startswith("told.")}
        if bad := sorted(name for name, array in arrays.items() if not np.isfinite(array).all()):
            raise BundleError(f"The cells' codec: {', '.join(bad)} contain NaN or infinity; the file is damaged.")
        others = data.get("others", {})
        if not isinstance(others, Mapping):
            raise BundleError("The cells' codec: `others` must be a table of conditions.")
        header = Header(data["genes"], label, dict(schema), {str(name): _whole(others, name) for name in others})
        return cls.from_arrays(header, cond, DepthLaw(*map(float, depth)), cls._sizes(data), arrays)

    @classmethod
    def _sizes(cls, data: Mapping[str, Any]) -> dict[str, int]:
        older = dict.fromkeys(cls.later_sizes, 0)
        return {name: _whole({**older, **data}, name) for name in cls.size_names()}


def _whole(data: Mapping[str, Any], name: str) -> int:
    value = data.get(name)
    if type(value) is not int or not 0 <= value <= 10_000_000:
        raise BundleError(f"The cells' codec: {name} = {value!r} must be a whole number from 0 to 10,000,000.")
    return value


def _classes(value: Tensor) -> NDArray[np.int64]:
    value = value.cpu()
    return np.asarray(torch.where(is_null(value), -1, value).numpy(), np.int64)


def _is_condition(entry: Any) -> bool:
    return (
        isinstance(entry, list)
        and len(entry) in (2, 3)
        and entry[0] in DTYPES
        and all(type(size) is int and size >= 0 for size in entry[1:])
    )


def _is_depth(value: Any) -> bool:
    return (
        isinstance(value, list)
        and len(value) == 2
        and all(isinstance(v, int | float) and not isinstance(v, bool) and math.isfinite(v) for v in value)
        and value[1] > 0
    )


def chunks(n: int, size: int = CHUNK) -> Iterator[slice]:
    """Yield the slices of 0..n, `size` at a time."""
    for start in range(0, n, size):
        yield slice(start, min(n, start + size))


def some(labels: Num[np.ndarray, " n"] | None, rows: slice) -> NDArray[Any] | None:
    """Return labels[rows], or None if there are no labels."""
    return None if labels is None else labels[rows]
