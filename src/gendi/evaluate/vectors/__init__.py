"""Evaluation of rows that are not images, such as cells and rows of tables: metrics with floors, gates and controls.

from gendi.evaluate.vectors import RowSet, evaluate_rows

evaluate_rows(RowSet(fake, fake_labels), RowSet(train, labels), RowSet(heldout, more_labels))
"""

from gendi.evaluate.vectors.privacy import Privacy, privacy_of_rows
from gendi.evaluate.vectors.records import row_digests
from gendi.evaluate.vectors.rows import all_digests, compute_row_metrics, evaluate_rows, loaded
from gendi.evaluate.vectors.space import LogCounts, RowSet, Space, Standardised

__all__ = [
    "LogCounts",
    "Privacy",
    "RowSet",
    "Space",
    "Standardised",
    "all_digests",
    "compute_row_metrics",
    "evaluate_rows",
    "loaded",
    "privacy_of_rows",
    "row_digests",
]
