"""The metrics of an evaluation as a table that prints as one."""

from typing import NamedTuple

from gendi.machine.tables import cell, html_table, table

Range = tuple[float, float]
NO_GRADE = "no grade"
"""What is said of a metric that takes fakes for real rows; its value stands in brackets."""


class Row(NamedTuple):
    """A line of the table of metrics."""

    name: str
    value: float | None
    floor: float | None
    better: str
    """`lower`, `higher` or `closest`, as `gendi.evaluate.result.Metric` says."""
    report: float | None
    interval: Range | None = None
    floor_interval: Range | None = None
    as_real: str | None = None
    """`pass`, `FAIL` or `no grade`, as `gendi.evaluate.result.Metric.as_real` says."""


class Table(list[Row]):
    """Rows of metrics, which print as aligned columns and show as a table in a notebook."""

    def __repr__(self) -> str:
        head, rows = self._cells()
        return table(rows, head, indent="")

    def _repr_html_(self) -> str:
        head, rows = self._cells()
        return html_table(rows, head)

    def _cells(self) -> tuple[list[str], list[list[str | float | None]]]:
        """Return the titles and the cells, without the columns that are empty."""
        columns: dict[str, list[str | float | None]] = {
            "metric": [row.name for row in self],
            "value": [f"({cell(row.value)})" if row.as_real == NO_GRADE else row.value for row in self],
            "95% interval": [_range(row.interval) for row in self],
            "floor": [row.floor for row in self],
            "of the floor": [_range(row.floor_interval) for row in self],
            "better": [row.better for row in self],
            "GENDI report": [row.report for row in self],
            "as real?": [row.as_real for row in self],
        }
        shown = {name: cells for name, cells in columns.items() if any(cell is not None for cell in cells)}
        return list(shown), [list(cells) for cells in zip(*shown.values(), strict=True)]


def _range(interval: Range | None) -> str | None:
    return None if interval is None else f"{interval[0]:.4g} to {interval[1]:.4g}"
