"""A table on disk whose gaps are to be filled: what was given comes back to the byte, what was missing as trained.

Of a CSV every given cell is kept as a text, and a filled one is written as the cells of the training table were.
"""

import csv
import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gendi.data.tables.cells import rows_of_frame
from gendi.data.tables.csv_file import Texts, read_csv
from gendi.data.tables.frames import put
from gendi.data.tables.output import as_csv, to_frame
from gendi.data.tables.read import need_pandas, read_parquet
from gendi.data.tables.schema import Schema
from gendi.errors import DataError, UsageError
from gendi.storage.files import atomic_write

if TYPE_CHECKING:
    import pandas as pd

ENDINGS = (".csv", ".parquet")


@dataclass(frozen=True)
class TableFile:
    """A table that was read by the schema of a model."""

    schema: Schema
    frame: "pd.DataFrame"
    """Its cells: texts of a CSV, values of a Parquet file."""
    rows: NDArray[np.float64]
    """The numbers of the columns that the model knows, (n, G)."""
    texts: Texts | None
    """How the CSV is written; None for a Parquet file."""

    @classmethod
    def read(cls, path: Path, schema: Schema) -> "TableFile":
        """Return the table in a `.csv` or `.parquet` file. Raises `DataError`, which names the cell that is wrong."""
        import pandas as pd

        need_pandas()
        if path.suffix.lower() not in ENDINGS:
            raise UsageError(f"{path}: a table is NAME.csv or NAME.parquet.")
        if not path.is_file():
            raise DataError(f"There is no file {path} (looked in {Path.cwd()}). Check the path of the table.")
        if path.suffix.lower() == ".parquet":
            frame, texts = read_parquet(path), None
        else:
            texts = read_csv(path, schema.separator if len(schema.columns) == 1 else "")
            frame = pd.DataFrame(dict(zip(texts.names, texts.columns, strict=True)), dtype=object)
        if not len(frame):
            raise DataError(f"{path} has no rows, only the names of columns: there is nothing to fill.")
        return cls(schema, frame, rows_of_frame(schema, frame, str(path), schema.decimal), texts)

    @property
    def others(self) -> list[str]:
        """The columns that the model does not know."""
        known = {column.name for column in self.schema.columns}
        return [str(name) for name in self.frame.columns if str(name) not in known]

    def write(self, path: Path, filled: NDArray[np.float64]) -> None:
        """Write the table with its missing cells taken from rows `filled` (n, G). Raises `ResourceError`."""
        missing = np.isnan(self.rows) & ~np.isnan(filled)
        made = to_frame(self.schema, filled, {})
        if self.texts is None:
            buffer = io.BytesIO()
            put(self.frame, made, missing).to_parquet(buffer, index=False)
            atomic_write(path, buffer.getvalue())
            return
        written = list(csv.reader(io.StringIO(as_csv(made, self.schema)), delimiter=self.schema.separator))[1:]
        cells = dict(zip(self.texts.names, map(list, self.texts.columns), strict=True))
        for j, column in enumerate(self.schema.columns):
            for i in np.flatnonzero(missing[:, j]).tolist():
                cells[column.name][i] = written[i][j]
        out = io.StringIO()
        writer = csv.writer(out, delimiter=self.texts.separator, lineterminator="\n")
        writer.writerow(cells)
        writer.writerows(zip(*cells.values(), strict=True))
        atomic_write(path, out.getvalue().encode(self.texts.encoding))
