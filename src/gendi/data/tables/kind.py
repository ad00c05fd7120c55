"""The kind of data `table`: rows of a table with columns of numbers, words and dates. See `gendi.data.kind.Kind`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gendi.data.kind import Kind
from gendi.data.tables.config import TableConfig
from gendi.diffusion.config import ConditionConfig

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gendi.data.codec import Codec
    from gendi.data.dataset import Data
    from gendi.data.kind import Texts
    from gendi.data.split import Loaded
    from gendi.data.tables.check import TableReport
    from gendi.evaluate.gauge import Gauge
    from gendi.evaluate.result import Evaluation
    from gendi.evaluate.vectors import Privacy


class Tables(Kind):
    """Rows (N, G) of numbers, one for each column. Users give and get DataFrames or files of a table."""

    name = "table"
    title = "tables"
    preset = "table"
    attacked = True
    suffixes = (".csv", ".parquet")
    endings = (".csv", ".parquet")
    objects = "a DataFrame"
    evaluation_options = ("tell",)
    options = TableConfig
    source_options = ("split-by",)

    def claims(self, spec: object) -> bool:
        return super().claims(spec) or (hasattr(spec, "columns") and hasattr(spec, "dtypes"))

    def open_path(self, place: str, options: Mapping[str, str]) -> "Loaded":
        """Open a `.csv` or `.parquet` file; see `gendi.data.tables.read`."""
        from gendi.data.tables.read import read_table

        return read_table(Path(place).expanduser(), options)

    def open_object(self, thing: Any) -> "Loaded":
        """Open a DataFrame."""
        from gendi.data.tables.read import read_frame

        return read_frame(thing)

    def check(self, spec: str, **options: Any) -> "TableReport":
        """Open a table as training would, and report on its columns."""
        from gendi.data.tables.check import check_table

        return check_table(self.open(spec), spec, options.get("rules", ()))

    def parts(self, data: "Data") -> Sequence[tuple[str, str, str]]:
        """Return the columns, over training and held-out rows."""
        import numpy as np

        from gendi.data.tables.check import column_reports

        rows = np.concatenate([np.asarray(part.batch(range(len(part)))) for part in (data.train, data.heldout)])
        return [
            (c.name, c.kind, f"{c.extent}{f'; missing in {c.missing:,}' if c.missing else ''}")
            for c in column_reports(rows, data.schema)
        ]

    def codecs(self) -> "Mapping[str, type[Codec]]":
        from gendi.data.tables.codec import TableCodec

        return {TableCodec.kind: TableCodec}

    def fit(self, data: "Data", conditions: Sequence[ConditionConfig], seed: int, options: Any) -> "Codec":
        """Fit the codec to the training rows."""
        import numpy as np

        from gendi.data.tables.codec import TableCodec
        from gendi.data.tables.rules import rules_of
        from gendi.data.vectors import training_conditions

        rows = np.asarray(data.train.batch(range(len(data.train))), np.float64)
        cond = training_conditions(conditions, data.train.conditions)
        return TableCodec.fit(
            data.schema, rows, cond, rules_of(data, options.rules if options else (), [c.name for c in conditions])
        )

    def present(
        self,
        codec: "Codec",
        rows: "NDArray[Any]",
        cond: "Mapping[str, NDArray[Any]]",
        specs: Sequence[ConditionConfig],
        latent: "NDArray[Any]",
        provenance: Mapping[str, Any],
    ) -> Any:
        """Return decoded rows as a DataFrame like the training table."""
        from gendi.data.tables.codec import TableCodec
        from gendi.data.tables.output import to_frame

        assert isinstance(codec, TableCodec)
        return to_frame(codec.schema, rows, provenance)

    def write(self, path: Path, samples: Any, texts: "Texts | None" = None, first: int = 0) -> None:
        """Write a DataFrame; see `gendi.data.tables.output.write_table`."""
        from gendi.data.tables.output import write_table

        write_table(path, samples)

    def evaluate(self, samples: Any, data: "Data", **options: Any) -> "Evaluation":
        """Evaluate a DataFrame or a file against raw data; see `gendi.data.tables.evaluate`."""
        from gendi.data.tables.evaluate import evaluate

        return evaluate(samples, data, **options)

    def privacy(self, samples: Any, data: "Data", **options: Any) -> "Privacy":
        """Attack a DataFrame or a file of samples; see `gendi.data.tables.evaluate`."""
        from gendi.data.tables.evaluate import privacy

        return privacy(samples, data, **options)

    def gauge(self, data: "Data", seed: int) -> "Gauge":
        """Measure the energy distance and the train-likeness of the features of columns."""
        from gendi.data.tables.evaluate import gauge

        return gauge(data, seed)


TABLES = Tables()
