"""Evaluation of a table of samples: the features that metrics see of its columns.

    number, integer, boolean, date    the number itself; where it is missing, the median of the training rows
    category                          one feature for each word: 1 where the cell has it, 0 elsewhere
    gaps                              for a column with gaps, one feature more: 1 where the cell is missing

All features are standardised with pooled real rows before distances are computed.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from gendi.data.tables.cells import number_of
from gendi.data.tables.schema import Column, Schema
from gendi.data.tables.texts import dated
from gendi.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

    from gendi.data.dataset import Data
    from gendi.evaluate.gauge import Gauge
    from gendi.evaluate.result import Evaluation
    from gendi.evaluate.vectors import Privacy
    from gendi.evaluate.vectors.targets import Target


@dataclass(frozen=True)
class Features:
    """The map from a table's rows to features; see the module's docstring."""

    schema: Schema
    middle: NDArray[np.float64]
    """The median of every column over the training rows, (G,); 0 for an empty column."""
    gaps: tuple[int, ...]
    """Columns with missing cells among real rows."""

    @classmethod
    def fit(cls, schema: Schema, *real: NDArray[np.float64]) -> Self:
        """Return the map fitted to sets of real rows (N, G): medians come from the first set, gaps from all."""
        known = [column[~np.isnan(column)] for column in real[0].T]
        middle = np.array([np.median(values) if len(values) else 0.0 for values in known])
        missing = np.isnan(np.concatenate(real)).any(axis=0)
        return cls(schema, middle, tuple(np.flatnonzero(missing).tolist()))

    def __call__(self, rows: NDArray[np.float64], without: Sequence[int] = ()) -> NDArray[np.float64]:
        """Return finite features (n, d) of rows (n, G), leaving out the columns `without`."""
        parts = []
        for j, column in enumerate(self.schema.columns):
            if j in without:
                continue
            values, missing = rows[:, j], np.isnan(rows[:, j])
            if column.kind == "category":
                parts.append((values[:, None] == np.arange(len(column.labels))).astype(np.float64))
            else:
                parts.append(np.where(missing, self.middle[j], values)[:, None])
            if j in self.gaps:
                parts.append(missing[:, None].astype(np.float64))
        return np.concatenate(parts, axis=1)

    @property
    def blocks(self) -> list[slice]:
        """The slice of features that belongs to each column, in the order of the columns."""
        widths = [len(c.labels) if c.kind == "category" else 1 for c in self.schema.columns]
        ends = np.cumsum([width + (j in self.gaps) for j, width in enumerate(widths)]).tolist()
        return [slice(start, end) for start, end in zip([0, *ends[:-1]], ends, strict=True)]

    def targets(self) -> "list[Target]":
        """Return the columns as targets to predict, where their features are."""
        from gendi.evaluate.vectors.targets import Target

        found = []
        for j, (column, block) in enumerate(zip(self.schema.columns, self.blocks, strict=True)):
            gap = block.stop - 1 if j in self.gaps else None
            codes = slice(block.start, block.stop if gap is None else gap)
            found.append(Target(column.name, codes, gap, column.kind not in ("category", "boolean")))
        return found


def evaluate(samples: Any, data: "Data", **options: Any) -> "Evaluation":
    """Evaluate a DataFrame of samples, its `.csv` or `.parquet` file, or rows (n, G) of numbers, against raw data.

    `options` are those of `gendi.evaluate.vectors.evaluate_rows`. Raises the same errors, and `DataError` if the
    samples lack a column, or have a word that the data lack.
    """
    from gendi.data.tables.shape_scores import scored
    from gendi.evaluate.vectors import RowSet, Standardised, evaluate_rows, row_digests

    features, (rows, train, heldout) = _rows(samples, data)
    trained = features(train)
    found = evaluate_rows(
        RowSet(features(rows)),
        RowSet(trained, groups=data.train.groups),
        RowSet(features(heldout), groups=data.heldout.groups),
        space=lambda real: Standardised.fit(real, blocks=features.blocks),
        name=data.name,
        fingerprint=data.fingerprint,
        known=row_digests(trained),
        targets=features.targets(),
        **options,
    )
    more = scored(rows, train, heldout, data.schema, found.n, found.seed, data.heldout.groups)
    return replace(found, metrics=found.metrics + more)


def privacy(samples: Any, data: "Data", **options: Any) -> "Privacy":
    """Attack a table of samples; see `gendi.evaluate.vectors.privacy`. Arguments and errors are those of `evaluate`."""
    from gendi.evaluate.vectors import RowSet, Standardised, privacy_of_rows, row_digests

    features, raw = _rows(samples, data)
    groups = (None, data.train.groups, data.heldout.groups)
    rows, train, heldout = (RowSet(features(each), groups=of) for each, of in zip(raw, groups, strict=True))
    known = row_digests(train.rows)
    return privacy_of_rows(rows, train, heldout, space=Standardised.fit, known=known, name=data.name, **options)


def _rows(samples: Any, data: "Data") -> tuple[Features, list[NDArray[np.float64]]]:
    """Return the map to features, and samples, training and held-out rows (n, G) in numbers."""
    if isinstance(samples, str | Path):
        samples = read_samples(Path(samples), data.schema)
    rows = samples if isinstance(samples, np.ndarray) else rows_of(samples, data.schema)
    real = [np.asarray(part.batch(range(len(part))), np.float64) for part in (data.train, data.heldout)]
    return Features.fit(data.schema, *real), [rows.astype(np.float64), *real]


def gauge(data: "Data", seed: int) -> "Gauge":
    """Return the quick metrics of rows (n, G) of numbers like those of raw `data`; see `gendi.evaluate.gauge`."""
    from gendi.evaluate.vectors import Standardised
    from gendi.evaluate.vectors.quick import row_gauge

    train, heldout = (np.asarray(part.batch(range(len(part))), np.float64) for part in (data.train, data.heldout))
    return row_gauge(
        data.train, data.heldout, seed, space=Standardised.fit, numbers=Features.fit(data.schema, train, heldout)
    )


def read_samples(path: Path, schema: Schema) -> "pd.DataFrame":
    """Read a file of samples; a CSV must be written like the training table. Raises `DataError` if it is no table."""
    import pandas as pd

    if not path.is_file():
        raise DataError(f"There is no file {path}. `gendi sample RUN --out fake.csv` writes one.")
    texts = [column for column in schema.columns if column.kind == "date" or column.affixes or _has_words(column)]
    words = {column.name: str for column in texts}
    try:
        if path.suffix.lower() == ".parquet":
            return pd.read_parquet(path)
        written: dict[str, Any] = {"sep": schema.separator, "decimal": schema.decimal, "encoding": schema.encoding}
        return pd.read_csv(path, dtype=words, keep_default_na=False, na_values=[""], **written)
    except (OSError, ValueError) as error:
        raise DataError(f"{path} could not be read as a table: {error}. Write it as the training table is.") from error


def _has_words(column: Column) -> bool:
    return bool(column.labels) and isinstance(column.labels[0], str)


def rows_of(frame: "pd.DataFrame", schema: Schema) -> NDArray[np.float64]:
    """Return the rows (n, G) of a DataFrame that has the columns of a schema, in any order.

    Raises `DataError`, which names the column, for a missing column, and for a word or a type that the data lack.
    """
    return np.column_stack([_cells(frame, column) for column in schema.columns])


def _cells(frame: "pd.DataFrame", column: Column) -> NDArray[np.float64]:
    import pandas as pd

    if column.name not in frame:
        raise DataError(f"The samples have no column {column.name!r}; they have {', '.join(map(str, frame.columns))}.")
    series = frame[column.name]
    missing = series.isna().to_numpy(bool)
    out = np.full(len(series), np.nan)
    try:
        match column.kind:
            case "category":
                code = {label: float(i) for i, label in enumerate(column.labels)}
                out[~missing] = [code[cell] for cell in series[~missing].tolist()]
            case _ if column.affixes or column.dtype == "time":
                out[~missing] = [number_of(column, cell) for cell in series[~missing]]
            case "date":
                times = pd.to_datetime(series, utc=True, format=column.format or None).dt.tz_localize(None)
                return dated(times.to_numpy("datetime64[ns]"), column.unit)
            case _:
                words = {label: float(i) for i, label in enumerate(column.labels)}
                known = series[~missing].map(lambda cell: words.get(cell, cell))
                out[~missing] = known.to_numpy(np.float64)
    except KeyError as error:
        raise DataError(
            f"The samples have {error} in the column {column.name!r}, which does not occur in the data."
        ) from None
    except (TypeError, ValueError) as error:
        raise DataError(f"The samples' column {column.name!r} is not of the kind {column.kind}: {error}.") from None
    return out
