"""Rules that every row of a table keeps, and that every sample shall keep.

    start <= end                          an order, also < > >=, of columns or expressions of them; also a < b < c
    gross = net + tax                     a column that is computed from others (`gendi.data.tables.expressions`)
    wage = exp(logwage)
    combinations(city, country)           only combinations that training rows have

A rule says nothing of a row in which one of its columns is missing. Dates count in days. A column that is computed has
no score in the codec: it is computed of decoded rows, and rounded as the training table rounds it. Of rows that break
another rule new ones are drawn in their place, so samples have the model's distribution given that the rules are kept.
"""

import ast
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gendi.data.tables.cells import written
from gendi.data.tables.expressions import Text, columns_in, compute, parsed
from gendi.data.tables.schema import Column, Schema
from gendi.errors import DataError, UsageError

Grid = NDArray[np.float64]
COMBINATIONS = "combinations"
ROOM = 1e-6
"""How far, as a part of it, a computed number may be from the one in the table."""
_ORDERS = {ast.Lt: np.less, ast.LtE: np.less_equal, ast.Gt: np.greater, ast.GtE: np.greater_equal}
_DAYS = {"D": 1.0, "h": 24.0, "m": 1440.0, "s": 86400.0, "ms": 8.64e7, "us": 8.64e10}
"""How many of a unit are in a day."""
NAMED = 5
"""How many rows are named that break a rule."""


@dataclass(frozen=True)
class Rule:
    """One rule about the columns of a schema; `read_rule` makes it."""

    text: str
    columns: tuple[str, ...]
    """The columns that it is about."""
    parts: Text
    schema: Schema
    combinations: tuple[tuple[float, ...], ...] = ()
    """For `combinations`, those that are allowed, as the numbers of the columns."""

    @property
    def computes(self) -> str:
        """The column that the rule computes, or ""."""
        tree = self.parts.tree
        if not isinstance(tree, ast.Compare) or not isinstance(tree.ops[0], ast.Eq):
            return ""
        for one, other in ((tree.left, tree.comparators[0]), (tree.comparators[0], tree.left)):
            if isinstance(one, ast.Name) and self.parts.names[one.id] not in columns_in(other, self.parts.names):
                return self.parts.names[one.id]
        return ""

    @cached_property
    def _places(self) -> dict[str, int]:
        return {column.name: j for j, column in enumerate(self.schema.columns)}

    def allowing(self, combinations: tuple[tuple[float, ...], ...]) -> "Rule":
        """Return the rule with these combinations allowed."""
        return replace(self, combinations=combinations)

    def kept(self, rows: Grid) -> NDArray[np.bool_]:
        """Return which rows (n, G) keep the rule; a row with a missing cell in its columns does."""
        gone = np.isnan(rows[:, [self._places[name] for name in self.columns]]).any(axis=1)
        tree = self.parts.tree
        if isinstance(tree, ast.Call):
            cells = rows[:, [self._places[name] for name in self.columns]]
            allowed = set(self.combinations)
            return gone | np.array([tuple(row) in allowed for row in cells.tolist()], bool)
        values = self._values(rows)
        if self.computes:
            column = self.schema.columns[self._places[self.computes]]
            wanted = _in_days(column, self.computed(rows))
            found = values[self.computes]
            room = ROOM * abs(wanted) + _half(column) + 1e-12
            return np.asarray(gone | (abs(found - wanted) <= room))
        assert isinstance(tree, ast.Compare)
        sides = [compute(side, values, self.parts.names, self.text) for side in (tree.left, *tree.comparators)]
        kept = np.ones(len(rows), bool)
        for k, order in enumerate(tree.ops):
            kept &= _ORDERS[type(order)](sides[k], sides[k + 1])
        return np.asarray(gone | kept)

    def computed(self, rows: Grid) -> NDArray[np.float64]:
        """Return the numbers (n,) of the column that the rule computes, in its own unit and rounded as it is."""
        column = self.schema.columns[self._places[self.computes]]
        return _rounded(column, _in_days(column, self._exact(rows)))

    def _exact(self, rows: Grid) -> NDArray[np.float64]:
        """Return the numbers (n,) of the column that the rule computes, in its own unit."""
        tree, names = self.parts.tree, self.parts.names
        assert isinstance(tree, ast.Compare)
        first = isinstance(tree.left, ast.Name) and names[tree.left.id] == self.computes
        value = compute(tree.comparators[0] if first else tree.left, self._values(rows), names, self.text)
        column = self.schema.columns[self._places[self.computes]]
        return np.broadcast_to(np.asarray(value, np.float64), len(rows)) * (
            _DAYS[column.unit] if column.kind == "date" else 1.0
        )

    def solved(self, rows: Grid, name: str, low: float, high: float) -> NDArray[np.float64]:
        """Return the numbers (n,) of the column `name`, one that the rule computes from, for which it is kept.

        They are looked for by bisection between `low` and `high` and as far beyond. A row for which there is none, or
        where the rule does not change sign, keeps its number.
        """
        j, column = self._places[name], self.schema.columns[self._places[name]]
        target, out = rows[:, self._places[self.computes]], rows.copy()

        def excess(values: NDArray[np.float64]) -> NDArray[np.float64]:
            out[:, j] = values
            return self._exact(out) - target

        span = high - low
        a, b = np.full(len(rows), low - span), np.full(len(rows), high + span)
        first, last = excess(a), excess(b)
        a, first = np.where(np.isnan(first), low, a), np.where(np.isnan(first), excess(np.full(len(rows), low)), first)
        able = np.sign(first) * np.sign(last) <= 0
        for _ in range(80):
            middle = (a + b) / 2
            same = np.sign(excess(middle)) == np.sign(first)
            a, b = np.where(same, middle, a), np.where(same, b, middle)
        found = _rounded(column, _in_days(column, (a + b) / 2))
        out[:, j] = found
        return np.asarray(np.where(able & self.kept(out), found, rows[:, j]))

    def _values(self, rows: Grid) -> dict[str, NDArray[np.float64]]:
        places = self._places
        return {name: _in_days(self.schema.columns[places[name]], rows[:, places[name]]) for name in self.columns}


def _in_days(column: Column, values: NDArray[np.float64]) -> NDArray[np.float64]:
    return values / _DAYS[column.unit] if column.kind == "date" else values


def _rounded(column: Column, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return numbers, or days of a date, as the column has them."""
    if column.kind == "date":
        return np.asarray(np.round(values * _DAYS[column.unit]))
    decimals = 0 if column.kind == "integer" else column.decimals
    with np.errstate(all="ignore"):
        rounded = values if decimals is None else np.round(values, decimals)
    return np.asarray(np.where(np.isfinite(rounded), rounded, np.nan))


def _half(column: Column) -> float:
    """Return half a unit of the last decimal of a column: how far rounding moves a number; in days for a date."""
    if column.kind == "date":
        return 0.5 / _DAYS[column.unit]
    return 0.0 if column.decimals is None and column.kind == "number" else 0.5 * 10.0 ** -(column.decimals or 0)


def read_rule(text: str, schema: Schema, rows: Grid | None = None) -> Rule:
    """Return the rule that a text says.

    Args:
        text: the rule.
        schema: the columns there are.
        rows: training rows (N, G), whose combinations are the allowed ones of a rule on combinations.

    Raises:
        UsageError: the text is no rule, or names a column that there is not, or is about words.
    """
    names = [column.name for column in schema.columns]
    parts = parsed(text, names)
    columns = tuple(columns_in(parts.tree, parts.names))
    rule = Rule(text.strip(), columns, parts, schema)
    match parts.tree:
        case ast.Call(func=ast.Name(id=name), args=arguments) if name == COMBINATIONS:
            if len(columns) < 2 or not all(isinstance(argument, ast.Name) for argument in arguments):
                raise UsageError(f"the rule {text!r} names two columns or more: combinations(city, country).")
            return rule if rows is None else rule.allowing(_found(rule, rows))
        case ast.Compare(ops=orders) if all(type(order) in _ORDERS for order in orders):
            pass
        case ast.Compare(ops=[ast.Eq()]) if rule.computes:
            pass
        case _:
            raise UsageError(
                f"the rule {text!r} is neither an order (start <= end), nor says what one column is (gross = net + "
                "tax), nor names combinations(city, country)."
            )
    for column in schema.columns:
        if column.name in columns and column.kind == "category":
            raise UsageError(f"the rule {text!r} counts with {column.name}, whose cells are words.")
    rule.kept(np.ones((1, len(names))))  # what the expression may not have is said now
    return rule


def _found(rule: Rule, rows: Grid) -> tuple[tuple[float, ...], ...]:
    places = [[column.name for column in rule.schema.columns].index(name) for name in rule.columns]
    cells = rows[:, places]
    return tuple(sorted({tuple(row) for row in cells[~np.isnan(cells).any(axis=1)].tolist()}))


def read_rules(texts: Sequence[str], schema: Schema, rows: Grid | None = None) -> tuple[Rule, ...]:
    """Return rules in an order in which their columns can be computed. Raises `UsageError` as `read_rule`, and for two
    rules that compute the same column, or that compute columns from one another."""
    rules = [read_rule(text, schema, rows) for text in texts]
    computed = [rule.computes for rule in rules if rule.computes]
    for name in computed:
        if computed.count(name) > 1:
            raise UsageError(f"two rules say what {name} is: keep one of them.")
    ordered: list[Rule] = [rule for rule in rules if not rule.computes]
    left, known = [rule for rule in rules if rule.computes], set[str]()
    while left:
        able = [r for r in left if not {c for c in r.columns if c != r.computes} & (set(computed) - known)]
        if not able:
            raise UsageError(
                f"the rules {' and '.join(repr(rule.text) for rule in left)} compute columns from one another: leave "
                "one of them out."
            )
        ordered += able
        known |= {rule.computes for rule in able}
        left = [rule for rule in left if rule not in able]
    return tuple(ordered)


def broken(rules: Sequence[Rule], rows: Grid) -> NDArray[np.bool_]:
    """Return which rows (n, G) break a rule."""
    found = np.zeros(len(rows), bool)
    for rule in rules:
        found |= ~rule.kept(rows)
    return found


def violations(rule: Rule, rows: Grid, numbers: Sequence[int] | NDArray[Any]) -> str:
    """Return a sentence that names rows (n, G) that break a rule, by their `numbers` from 0, or ""."""
    bad = np.flatnonzero(~rule.kept(rows))
    if not len(bad):
        return ""
    columns = [(j, column) for j, column in enumerate(rule.schema.columns) if column.name in rule.columns]
    named = [
        f"row {int(numbers[i]) + 1} ({', '.join(f'{c.name} = {written(c, rows[i, j])}' for j, c in columns)})"
        for i in bad[:NAMED].tolist()
    ]
    more = f" and {len(bad) - NAMED:,} more" if len(bad) > NAMED else ""
    return f"{rule.text} is broken in {len(bad):,} of {len(rows):,} rows: {', '.join(named)}{more}"


def refuse_broken(rules: Sequence[Rule], rows: Grid, numbers: Sequence[int] | NDArray[Any]) -> None:
    """Raise `DataError`, which names rows, unless rows (n, G) keep all rules."""
    said = [text for rule in rules if (text := violations(rule, rows, numbers))]
    if said:
        raise DataError(f"The rule {'. The rule '.join(said)}. Mend these rows, or leave the rule out.")


def rules_of(data: Any, texts: Sequence[str], told: Sequence[str]) -> tuple[Rule, ...]:
    """Return the rules about raw data that texts say, with the combinations of all its rows.

    Args:
        data: as `gendi.data.open_data` returned them.
        texts: the rules.
        told: the names of the conditions that the network is given.

    Raises:
        UsageError: a text is no rule, or computes a column that the network is given.
        DataError: rows break a rule; some are named by their number in the table.
    """
    if not texts:
        return ()
    parts = (data.train, data.heldout)
    rows = np.concatenate([np.asarray(part.batch(range(len(part))), np.float64) for part in parts])
    numbers = np.concatenate([getattr(part.rows, "index", np.arange(len(part))) for part in parts])
    rules = read_rules(texts, data.schema, rows)
    conditions = {column.condition: column.name for column in data.schema.columns if column.condition}
    for name in told:
        for rule in rules:
            if rule.computes and conditions.get(name) == rule.computes:
                raise UsageError(f"the rule {rule.text!r} computes {rule.computes}, so the network cannot be told it.")
    order = np.argsort(numbers, kind="stable")
    refuse_broken(rules, rows[order], numbers[order])
    return rules
