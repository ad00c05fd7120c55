"""Texts that are numbers with something before or behind them: `80,9 kg`, `$12.50`, `45%`.

All cells have the same text before the number and the same behind it, and a point or a comma before the decimals. A
text before the number must be a sign of money, since C12 and Room 12 are names and no numbers.
"""

import re
from collections.abc import Sequence

from gendi.data.tables.schema import Column

MONEY = ("$", "€", "£", "¥", "₹", "CHF", "EUR", "USD", "GBP")
_WRITTEN = re.compile(r"([^\d+-]*)([+-]?\d+(?:[.,]\d+)?)([^\d]*)")


def affixes_of(texts: Sequence[str]) -> tuple[str, str, str] | None:
    """Return what stands before the numbers of texts, what behind them, and the character before decimals.

    None if the texts are not such numbers, or if nothing stands around them.
    """
    found = [_WRITTEN.fullmatch(text) for text in texts]
    parts = [match.groups() for match in found if match is not None]
    if not parts or len(parts) < len(found) or len({(before, after) for before, _, after in parts}) > 1:
        return None
    before, _, after = parts[0]
    if not before and not after:
        return None
    if before and before.strip() not in MONEY:
        return None
    marks = {mark for _, number, _ in parts for mark in ".," if mark in number}
    return (before, after, marks.pop() if marks else ".") if len(marks) < 2 else None


def bare(text: str, affixes: Sequence[str]) -> str:
    """Return the number in a text without what stands around it, with a point before the decimals."""
    before, after, decimal = affixes
    return text.removeprefix(before).removesuffix(after).replace(decimal, ".")


def with_affixes(column: Column, value: float) -> str:
    """Return a number as the column of texts writes it."""
    before, after, decimal = column.affixes
    text = f"{value:.{column.digits}f}" if column.digits is not None else f"{value:.{column.decimals or 0}f}"
    if column.digits is None and "." in text:
        text = text.rstrip("0").rstrip(".")
    return f"{before}{text.replace('.', decimal)}{after}"
