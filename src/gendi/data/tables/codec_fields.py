"""The plain fields of a table's codec, and what they must be: `gendi.data.tables.codec` reads them from a bundle."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from gendi.data.tables.rules import Rule, read_rules
from gendi.data.tables.schema import Schema
from gendi.errors import BundleError, UsageError

NAMES = {"kind", "schema", "knots", "gaps", "orders", "told", "rows"}
RULES, POINTS = "rules", "points"
"""Fields that bundles without rules, or from before words were points, need not have."""


def checked_schema(data: Mapping[str, Any]) -> Schema:
    """Return the schema of the codec's fields. Raises `BundleError`, which names the field that is missing or wrong."""
    if wrong := sorted({str(name) for name in data if name not in (RULES, POINTS)} ^ NAMES):
        raise BundleError(f"The codec of a table has fields {', '.join(sorted(NAMES))}; check {', '.join(wrong)}.")
    schema = Schema.from_dict(data["schema"])
    g = len(schema.columns)

    def whole(value: object, most: int) -> bool:
        return type(value) is int and 0 <= value <= most

    def gap(entry: object) -> bool:
        if not isinstance(entry, Mapping) or set(entry) != {"columns", "share"}:
            return False
        columns, share = entry["columns"], entry["share"]
        fine = isinstance(columns, list) and bool(columns) and all(whole(j, g - 1) for j in columns)
        return fine and isinstance(share, float) and 0 < share < 1

    def order(j: str, codes: object) -> bool:
        if not (j.isdecimal() and int(j) < g and isinstance(codes, list)):
            return False
        column, knots = schema.columns[int(j)], data["knots"][int(j)]
        fits = all(whole(code, len(column.labels) - 1) for code in codes)
        return fits and column.kind == "category" and knots <= 2 * len(codes)

    def point(j: int) -> bool:
        column, knots = schema.columns[j], data["knots"][j]
        return column.kind in ("category", "boolean") and knots >= 4 and knots % 2 == 0

    checks: dict[str, Callable[[Any], bool]] = {
        "knots": lambda v: isinstance(v, list) and len(v) == g and all(whole(k, 2**32) for k in v),
        "gaps": lambda v: isinstance(v, list) and all(map(gap, v)),
        "orders": lambda v: isinstance(v, Mapping) and all(order(str(j), codes) for j, codes in v.items()),
        "told": lambda v: isinstance(v, Mapping) and all(kind in ("class", "value") for kind in v.values()),
        "rows": lambda v: whole(v, 2**40),
        POINTS: lambda v: isinstance(v, list) and all(whole(j, g - 1) and point(j) for j in v) and v == sorted(set(v)),
    }
    for name, check in checks.items():
        if not check(value := data.get(name, [])):
            raise BundleError(f"The codec of a table has {name} = {str(value)[:200]}, which cannot be.")
    return schema


def rules_to_list(rules: Sequence[Rule]) -> list[dict[str, Any]]:
    """Return plain values, which `rules_from` reads."""
    return [{"text": rule.text, "combinations": [list(cells) for cells in rule.combinations]} for rule in rules]


def rules_from(data: Mapping[str, Any], schema: Schema) -> tuple[Rule, ...]:
    """Return the rules in the codec's fields. Raises `BundleError` for what is none."""
    entries = data.get(RULES, [])
    if not isinstance(entries, list) or not all(map(_is_rule, entries)):
        raise BundleError(f"The codec of a table has {RULES} = {str(entries)[:200]}, which cannot be.")
    try:
        rules = read_rules([entry["text"] for entry in entries], schema)
    except UsageError as error:
        raise BundleError(f"The codec of a table has a rule that cannot be: {error}") from None
    allowed = {entry["text"]: tuple(tuple(map(float, cells)) for cells in entry["combinations"]) for entry in entries}
    return tuple(rule.allowing(allowed[rule.text]) for rule in rules)


def _is_rule(entry: object) -> bool:
    if not isinstance(entry, Mapping) or set(entry) != {"text", "combinations"} or not isinstance(entry["text"], str):
        return False
    rows = entry["combinations"]
    return isinstance(rows, list) and all(
        isinstance(row, list) and all(type(cell) in (int, float) for cell in row) for row in rows
    )
