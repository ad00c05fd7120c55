"""Alphabets: which letters sequences are made of, and how a text is cut into them.

dna        A C G T                        small letters are read as capitals, as for rna and protein
rna        A C G U
protein    the twenty amino acids
smiles     atoms, bonds, brackets and rings of SMILES, cut by a regular expression; those that occur in the data
bytes      the 256 bytes of the text in UTF-8
own        every character that occurs in the data, or those that were named
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Self

from gendi.errors import BundleError

NAMED = {"dna": "ACGT", "rna": "ACGU", "protein": "ACDEFGHIKLMNPQRSTVWY"}
"""Alphabets with letters of their own, each a capital."""
OPEN = ("smiles", "own")
"""Alphabets whose letters are found in the data."""
ALPHABETS = (*NAMED, "smiles", "bytes", "own")
FEW = 0.01
"""The share of sequences that may be of no alphabet, or one of them, for it to be taken where none is named."""
MOST = 4096
"""The most letters that an alphabet may have."""
SMILES = re.compile(r"\[[^\[\]]*\]|Br|Cl|%[0-9]{2}|@@|[BCNOPSFIHbcnops]|[0-9()=#$:/\\.+@*~-]")
"""A bracket atom, a halogen of two letters, a ring bond of two digits, or one sign.  [OpenSMILES 1.0, section 3]"""


class LetterError(ValueError):
    """A text that is not of an alphabet; `position` counts from 1."""

    def __init__(self, position: int, found: str) -> None:
        super().__init__(f"{found!r} at position {position}")
        self.position, self.found = position, found


@dataclass(frozen=True)
class Alphabet:
    """The letters of sequences, by name and in the order of their tokens."""

    name: str
    letters: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.letters)

    def cut(self, text: str) -> list[str]:
        """Return the letters of a text. Raises `LetterError` for the first one that this alphabet does not have."""
        found = cut(self.name, text)
        known = set(self.letters)
        place = 1
        for letter in found:
            if letter not in known:
                raise LetterError(place, letter)
            place += len(letter)
        return found

    def tokens(self, text: str) -> list[int]:
        """Return the tokens of a text. Raises `LetterError` as `cut` does."""
        number = {letter: i for i, letter in enumerate(self.letters)}
        return [number[letter] for letter in self.cut(text)]

    def text(self, tokens: Iterable[int]) -> str:
        """Return the text that tokens stand for; bytes that are no UTF-8 become a mark of replacement."""
        found = [self.letters[token] for token in tokens]
        if self.name == "bytes":
            return bytes(map(ord, found)).decode("utf-8", errors="replace")
        return "".join(found)

    def in_words(self) -> str:
        """Return its name and letters, as far as these are few."""
        if self.name in NAMED or self.name == "bytes":
            return self.name
        shown = " ".join(self.letters[:12]) + (" ..." if len(self) > 12 else "")
        return f"{self.name}, {len(self)} letters: {shown}"

    @classmethod
    def named(cls, name: str, texts: Sequence[str]) -> Self:
        """Return the alphabet of a name; the letters of an open one are those that occur in `texts`.

        Raises `LetterError` for a text that cannot be cut.
        """
        if name in NAMED:
            return cls(name, tuple(NAMED[name]))
        if name == "bytes":
            return cls(name, tuple(map(chr, range(256))))
        return cls(name, tuple(sorted({letter for text in texts for letter in cut(name, text)})))

    @classmethod
    def of_letters(cls, letters: str) -> Self:
        """Return the alphabet of the letters that a person named."""
        return cls("own", tuple(dict.fromkeys(letters)))

    @classmethod
    def from_dict(cls, name: object, letters: object) -> Self:
        """Return the alphabet that a bundle describes. Raises `BundleError` for a bad one."""
        good = isinstance(letters, list) and 0 < len(letters) <= MOST
        if not good or name not in ALPHABETS or not all(isinstance(x, str) and x for x in _items(letters)):
            raise BundleError(f"The alphabet {name!r} of a codec of sequences has no letters, or is not known.")
        found = tuple(_items(letters))
        if len(set(found)) != len(found) or (name in NAMED and found != tuple(NAMED[str(name)])):
            raise BundleError(f"The letters of the alphabet {name!r} of a codec of sequences are not its own.")
        return cls(str(name), found)


def _items(letters: Any) -> list[Any]:
    return list(letters)


def cut(name: str, text: str) -> list[str]:
    """Return the letters of a text by the rule of an alphabet. Raises `LetterError` for SMILES that cannot be cut."""
    if name in NAMED:
        return list(text.upper())
    if name == "bytes":
        return list(map(chr, text.encode()))
    if name != "smiles":
        return list(text)
    found, place = [], 0
    while place < len(text):
        match = SMILES.match(text, place)
        if match is None:
            raise LetterError(place + 1, text[place])
        found.append(match.group())
        place = match.end()
    return found


def guessed(texts: Sequence[str]) -> str:
    """Return the alphabet that nearly all texts are of: dna, rna or protein, and otherwise own."""
    for name, letters in NAMED.items():
        known = set(letters) | set(letters.lower())
        others = sum(not set(text) <= known for text in texts)
        if others <= max(1, FEW * len(texts)) and others < len(texts):
            return name
    return "own"
