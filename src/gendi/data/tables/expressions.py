"""Expressions in the names of columns, such as `net + tax` or `exp(logwage)`: read safely, and computed row by row.

A name that is no word, such as "first day", stands in double quotes or backquotes. Numbers, + - * / **, parentheses and
the functions of `FUNCTIONS` are known. The text is parsed by Python's own parser, but nothing of it is run: every part
must be one of the kinds above.
"""

import ast
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gendi.errors import UsageError, unknown_name

Values = NDArray[np.float64]
FUNCTIONS: dict[str, Callable[..., Any]] = {
    **{name: getattr(np, name) for name in ("exp", "log", "log10", "log2", "log1p", "sqrt", "floor", "ceil")},
    "abs": np.abs,
    "round": np.round,
    "min": np.minimum,
    "max": np.maximum,
}
ARGUMENTS = {"round": (1, 2), "min": (2,), "max": (2,)}
"""How many arguments a function takes; the others take one."""
_OPERATIONS: dict[type, Callable[..., Any]] = {
    ast.Add: np.add,
    ast.Sub: np.subtract,
    ast.Mult: np.multiply,
    ast.Div: np.divide,
    ast.Pow: np.power,
    ast.USub: np.negative,
    ast.UAdd: np.positive,
}
_QUOTED = re.compile(r"`([^`]+)`|\"([^\"]+)\"")
_EQUALS = re.compile(r"(?<![<>=!])=(?!=)")


@dataclass(frozen=True)
class Text:
    """A text that was parsed, with the columns that stand behind its names."""

    tree: ast.expr
    names: Mapping[str, str]
    """The name of the column for each name in the tree."""


def parsed(text: str, columns: Sequence[str]) -> Text:
    """Return a text as a tree. Raises `UsageError` if it is none, or names a column that is not among `columns`."""
    names: dict[str, str] = {}

    def placed(found: re.Match[str]) -> str:
        word = f"column_{len(names)}_"
        names[word] = found[1] or found[2]
        return word

    plain = _EQUALS.sub("==", _QUOTED.sub(placed, text))
    try:
        tree = ast.parse(plain.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise UsageError(
            f"the rule {text!r} cannot be read: it is written like start <= end, gross = net + tax, wage = "
            'exp(logwage) or combinations(city, country). A name that is no word stands in quotes: "first day".'
        ) from None
    called = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and id(node) not in called:
            name = names.setdefault(node.id, node.id)
            if name not in columns:
                raise unknown_name("column", name, columns)
    return Text(tree, names)


def columns_in(node: ast.AST, names: Mapping[str, str]) -> list[str]:
    """Return the columns in a part of a tree, each once, in their order."""
    called = {id(part.func) for part in ast.walk(node) if isinstance(part, ast.Call)}
    found = [names[n.id] for n in ast.walk(node) if isinstance(n, ast.Name) and id(n) not in called]
    return list(dict.fromkeys(found))


def compute(node: ast.expr, values: Mapping[str, Values], names: Mapping[str, str], rule: str) -> Any:
    """Return the value of a part of a tree for each row; NaN where it has none.

    Args:
        node: the part.
        values: the numbers of each column, (n,).
        names: the columns of the names in the tree.
        rule: the whole text, for messages.

    Raises:
        UsageError: the part is not among what an expression may have.
    """
    with np.errstate(all="ignore"):
        match node:
            case ast.Constant(value=float() | int() as number) if not isinstance(number, bool):
                return float(number)
            case ast.Name(id=name):
                return values[names[name]]
            case ast.UnaryOp(op=operation, operand=inner) if type(operation) in _OPERATIONS:
                return _OPERATIONS[type(operation)](compute(inner, values, names, rule))
            case ast.BinOp(left=left, op=operation, right=right) if type(operation) in _OPERATIONS:
                both = (compute(side, values, names, rule) for side in (left, right))
                return _OPERATIONS[type(operation)](*both)
            case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]):
                if name not in FUNCTIONS:
                    raise unknown_name("function", name, [*FUNCTIONS, "combinations"])
                if len(arguments) not in ARGUMENTS.get(name, (1,)):
                    raise UsageError(f"the rule {rule!r} gives {name} {len(arguments)} arguments.")
                given = [compute(argument, values, names, rule) for argument in arguments]
                if name == "round" and len(given) == 2:
                    given[1] = _decimals(given[1], rule)
                return FUNCTIONS[name](*given)
    raise UsageError(
        f"the rule {rule!r} has a part that rules do not have: {ast.unparse(node)}. Columns, numbers, + - * / ** and "
        f"{', '.join(FUNCTIONS)} are known."
    )


def _decimals(number: Any, rule: str) -> int:
    if not isinstance(number, float) or number != int(number):
        raise UsageError(f"the rule {rule!r} rounds to {number} decimals: write a whole number.")
    return int(number)
