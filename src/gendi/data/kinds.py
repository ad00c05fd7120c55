"""The kinds of data that are not pictures: what the module of each brings; it is imported when it is first needed."""

import importlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast, runtime_checkable

from numpy.typing import NDArray

from gendi.data.split import Loaded
from gendi.diffusion.config import ConditionConfig
from gendi.train.config import RunConfig

if TYPE_CHECKING:
    from gendi.data.open import Data
    from gendi.data.vectors import VectorCodec
    from gendi.evaluate.result import Evaluation

_MODULES = {"cells": "gendi.data.cells.kind", "table": "gendi.data.tables.kind"}


@runtime_checkable
class Kind(Protocol):
    """What the module of a kind has."""

    SUFFIXES: tuple[str, ...]
    """Endings of the files that samples are written to; the first is the usual one."""
    CODECS: "dict[str, type[VectorCodec]]"
    """Its codecs by their `kind`, which begins with the kind's name."""
    open_path: Callable[[str, Mapping[str, str]], Loaded]
    """Read what the text behind `cells:`, or a path, names, with options by name."""
    open_object: Callable[[Any], Loaded]
    """Take an AnnData or a DataFrame."""
    write: Callable[[Path, Any], None]
    """Write what `present` returned, whole or not at all."""

    def fit(self, config: RunConfig, data: "Data") -> "VectorCodec":
        """Fit the codec of `config`, whose conditions are resolved, to the training rows of raw data."""
        ...

    def present(
        self,
        codec: "VectorCodec",
        rows: NDArray[Any],
        cond: Mapping[str, NDArray[Any]],
        specs: Sequence[ConditionConfig],
        latent: NDArray[Any],
        provenance: Mapping[str, Any],
    ) -> Any:
        """Return decoded rows (n, G) in the user's own form, with what they were told and what they are in model
        space.
        """
        ...

    def evaluate(self, samples: Any, data: "Data", **options: Any) -> "Evaluation":
        """Measure samples, in the user's own form or in a file of it, against raw data."""
        ...


def kind_of(name: str) -> Kind:
    """Return the module of a kind, `cells` or `table`; of a codec's kind such as `cells-copula` too."""
    return cast(Kind, importlib.import_module(_MODULES[name.partition("-")[0]]))


def evaluated_file(run: Path, name: str) -> Path:
    """Return where a run keeps the samples that were measured."""
    return run / f"evaluated{kind_of(name).SUFFIXES[0]}"
