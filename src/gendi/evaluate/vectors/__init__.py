"""How good are rows that are no pictures, cells and lines of tables: every metric with floor, gate and controls.

from gendi.evaluate.vectors import RowSet, evaluate_rows
evaluate_rows(RowSet(fake, fake_labels), RowSet(train, labels), RowSet(heldout, more_labels))
"""

from gendi.evaluate.vectors.records import row_digests
from gendi.evaluate.vectors.rows import all_digests, evaluate_rows, loaded, measure_rows
from gendi.evaluate.vectors.space import LogCounts, RowSet, Space, Standardised

__all__ = [
    "LogCounts",
    "RowSet",
    "Space",
    "Standardised",
    "all_digests",
    "evaluate_rows",
    "loaded",
    "measure_rows",
    "row_digests",
]
