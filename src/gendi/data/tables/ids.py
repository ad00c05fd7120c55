"""Names of rows: a column in which every row has another text or whole number. Samples get new ones in its pattern.

    counted     the numbers of the names follow one another closely, C-0001, C-0002, ...: they go on after the last
    drawn       otherwise each place has the characters that it had in training (one character, or a class such as
                digits); the name of sample i is drawn for the seed, and no two samples of a seed have the same

A name that was drawn is one of training with the probability of training rows over possible names, which is at most
1 / `ROOM`. A column without such a pattern, such as free text, has none.
"""

import re
import string
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from math import gcd, prod
from typing import Any, Self

from gendi.diffusion.randomness import stream
from gendi.errors import BundleError

ROWS, ROOM = 11, 10
"""How many rows a column of names has at least, and how many times as many names there must be to draw from."""
CLOSELY = 2
"""Numbers follow one another if they span at most so many times as many as there are rows."""
CLASSES = (
    string.digits,
    string.ascii_lowercase,
    string.ascii_uppercase,
    "0123456789abcdef",
    "0123456789ABCDEF",
    string.digits + string.ascii_lowercase,
    string.digits + string.ascii_uppercase,
    string.ascii_letters,
    string.digits + string.ascii_letters,
)
_NUMBERED = re.compile(r"(.*?)(\d+)(\D*)", re.DOTALL)


@dataclass(frozen=True)
class Ids:
    """The pattern of a column of names."""

    name: str
    place: int
    """The number of the column in the training table."""
    dtype: str
    """The name of its pandas type."""
    characters: tuple[str, ...] = ()
    """For names that are drawn, the characters of each place."""
    before: str = ""
    """For names that are counted, what stands before the number."""
    after: str = ""
    next: int = -1
    """The number of the first name that is made; -1 for names that are drawn."""
    digits: int = 0
    """How many digits the number has at least, with zeros in front."""

    def made(self, seed: int, first: int, n: int) -> list[str]:
        """Return the names of samples first, ..., first + n - 1 of a seed."""
        if self.next >= 0:
            numbers = range(self.next + first, self.next + first + n)
            return [f"{self.before}{number:0{self.digits}d}{self.after}" for number in numbers]
        most = prod(map(len, self.characters))
        draws = stream(seed, f"ids {self.name}")
        start, step = (int.from_bytes(draws.bytes(32)) % most for _ in range(2))
        while gcd(step, most) != 1:  # i -> start + i step is then one to one
            step = (step + 1) % most
        return [self._written((start + i * step) % most) for i in range(first, first + n)]

    def _written(self, number: int) -> str:
        out = []
        for characters in reversed(self.characters):
            number, rest = divmod(number, len(characters))
            out.append(characters[rest])
        return "".join(reversed(out))

    @property
    def example(self) -> str:
        """The first name that is made for the seed 0."""
        return self.made(0, 0, 1)[0]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, which `from_dict` reads."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, data: object) -> Self:
        """Read what `to_dict` wrote. Raises `BundleError`, which names the field, for a wrong value."""
        types: dict[str, type] = dict.fromkeys(("name", "dtype", "before", "after"), str)
        types |= dict.fromkeys(("place", "next", "digits"), int) | {"characters": list}
        if not isinstance(data, Mapping) or set(data) != set(types):
            raise BundleError(f"The names of rows in a table's schema have the fields {', '.join(sorted(types))}.")
        for name, kind in types.items():
            if type(data[name]) is not kind:
                raise BundleError(f"The names of rows in a table's schema have {name} = {str(data[name])[:100]!r}.")
        if not all(isinstance(each, str) and each for each in data["characters"]) or not 0 <= data["digits"] < 100:
            raise BundleError("The names of rows in a table's schema have characters or digits that cannot be.")
        if data["next"] < 0 and not data["characters"]:
            raise BundleError("The names of rows in a table's schema are neither counted nor drawn.")
        return cls(**{**data, "characters": tuple(data["characters"])})


def ids_of(name: str, place: int, cells: Sequence[str], dtype: str) -> Ids | None:
    """Return the pattern of a column of names, or None if it has none.

    Args:
        name: the name of the column.
        place: its number.
        cells: its cells as texts.
        dtype: the name of its pandas type.
    """
    if len(cells) < ROWS or len(set(cells)) < len(cells) or "" in cells:
        return None
    return _counted(name, place, cells, dtype) or _drawn(name, place, cells, dtype)


def _counted(name: str, place: int, cells: Sequence[str], dtype: str) -> Ids | None:
    found = [_NUMBERED.fullmatch(cell) for cell in cells]
    parts = [match.groups() for match in found if match is not None]
    if len(parts) < len(cells) or len({(before, after) for before, _, after in parts}) > 1:
        return None
    texts = [digits for _, digits, _ in parts]
    numbers = [int(digits) for digits in texts]
    padded = any(digits[0] == "0" and digits != "0" for digits in texts)
    if max(numbers) - min(numbers) >= CLOSELY * len(numbers) or (padded and len({len(each) for each in texts}) > 1):
        return None
    before, _, after = parts[0]
    return Ids(name, place, dtype, (), before, after, max(numbers) + 1, len(texts[0]) if padded else 0)


def _drawn(name: str, place: int, cells: Sequence[str], dtype: str) -> Ids | None:
    if len({len(cell) for cell in cells}) > 1:
        return None
    characters = []
    for seen in map(set, zip(*cells, strict=True)):
        if len(seen) == 1:
            characters.append(next(iter(seen)))
            continue
        fitting = next((each for each in CLASSES if seen <= set(each)), None)
        if fitting is None:
            return None
        leading = not characters and dtype != "object" and "0" in fitting and "0" not in seen
        characters.append(fitting.replace("0", "") if leading else fitting)
    return Ids(name, place, dtype, tuple(characters)) if prod(map(len, characters)) >= ROOM * len(cells) else None
