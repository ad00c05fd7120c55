"""What `gendi.data.kinds` asks of tables: opening, fitting, presenting, writing, measuring."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gendi.data.split import Loaded
from gendi.data.tables.codec import TableCodec
from gendi.data.tables.output import to_frame, write_table
from gendi.data.tables.read import read_frame, read_table
from gendi.data.vectors import VectorCodec, training_conditions
from gendi.diffusion.config import ConditionConfig
from gendi.train.config import RunConfig

if TYPE_CHECKING:
    from gendi.data.open import Data
    from gendi.evaluate.result import Evaluation

SUFFIXES = (".csv", ".parquet")
CODECS: dict[str, type[VectorCodec]] = {TableCodec.kind: TableCodec}


def open_path(place: str, options: Mapping[str, str]) -> Loaded:
    """Open a `.csv` or `.parquet` file; see `gendi.data.tables.read`."""
    return read_table(Path(place).expanduser(), options)


def open_object(thing: Any) -> Loaded:
    """Take a DataFrame."""
    return read_frame(thing)


def write(path: Path, thing: Any) -> None:
    """Write a DataFrame; see `gendi.data.tables.output.write_table`."""
    write_table(path, thing)


def fit(config: RunConfig, data: "Data") -> VectorCodec:
    """Fit the codec to the training rows."""
    rows = np.asarray(data.train.batch(range(len(data.train))), np.float64)
    return TableCodec.fit(data.schema, rows, training_conditions(config.conditions, data.train.conditions))


def present(
    codec: VectorCodec,
    rows: NDArray[Any],
    cond: Mapping[str, NDArray[Any]],
    specs: Sequence[ConditionConfig],
    latent: NDArray[Any],
    provenance: Mapping[str, Any],
) -> Any:
    """Return decoded rows as a DataFrame like the training table."""
    assert isinstance(codec, TableCodec)
    return to_frame(codec.schema, rows, provenance)


def evaluate(samples: Any, data: "Data", **options: Any) -> "Evaluation":
    """Measure a DataFrame of samples against raw data; see `gendi.data.tables.evaluate.evaluate`."""
    from gendi.data.tables.evaluate import evaluate as measure

    return measure(samples, data, **options)
