"""Options of tables. This module imports neither torch nor NumPy."""

from dataclasses import dataclass


@dataclass(frozen=True)
class TableConfig:
    """What every row of a table keeps; only for tables."""

    rules: tuple[str, ...] = ()
    """Rules, such as "start <= end", "gross = net + tax" or "combinations(city, country)"; see
    `gendi.data.tables.rules`."""
