"""The codec of sequences: letters <-> tokens 0 .. K - 1 of L positions.

The tokens are the letters of the alphabet in their order. Where sequences differ in length two more follow: the end,
and the padding behind it. A sequence of L letters fills its row and has no end. Both are tokens like the others, so
that a model learns how long sequences are.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gendi.data.codec import Codec
from gendi.data.sequences.alphabet import NAMED, Alphabet, LetterError
from gendi.errors import BundleError, UsageError

FREE = -1
"""What stands in an infill pattern's row where a token is to be drawn."""
LONGEST = 65_536


class SequenceCodec(Codec):
    """Translates between tokens (N, L) and themselves, and between texts and tokens.

    Args:
        alphabet: the letters.
        length: L, the most letters of a sequence.
        ends: whether sequences may be shorter.
    """

    kind: ClassVar[str] = "sequence"

    def __init__(self, alphabet: Alphabet, length: int, ends: bool) -> None:
        self.alphabet, self.length, self.ends = alphabet, length, ends
        self.tokens = self.count = len(alphabet) + 2 * ends
        """How many different tokens there are."""
        self.end, self.pad = len(alphabet), len(alphabet) + 1
        """The tokens of the end and of the padding; no sequence has them unless `ends`."""

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.length,)

    @property
    def description(self) -> str:
        return f"{'up to ' * self.ends}{self.length:,} letters of the alphabet {self.alphabet.in_words()}"

    def encode(self, rows: Tensor, cond: Mapping[str, Tensor], index: Tensor) -> Tensor:
        return rows.long()

    def decode(self, x: Tensor, cond: Mapping[str, Tensor], seed: int, first: int) -> Tensor:
        return x.long()

    def row(self, text: str) -> list[int]:
        """Return the tokens (L,) of a text.

        Raises `LetterError` for a letter that the alphabet does not have, and `UsageError` for a text whose length does
        not fit.
        """
        found = self.alphabet.tokens(text)
        if len(found) > self.length or (len(found) < self.length and not self.ends):
            raise UsageError(f"it has {len(found)} letters, and there is room for {self._room()}")
        return self._filled(found)

    def rows(self, texts: Sequence[str]) -> NDArray[Any]:
        """Return the tokens (N, L) of texts. Raises as `row` does."""
        dtype = np.uint8 if self.count <= 256 else np.int32
        return np.array([self.row(text) for text in texts], dtype).reshape(len(texts), self.length)

    def text(self, row: Sequence[int] | NDArray[Any]) -> str:
        """Return the text of the tokens of a row, up to the first end or padding."""
        letters = []
        for token in row:
            if token >= len(self.alphabet):
                break
            letters.append(int(token))
        return self.alphabet.text(letters)

    def letters(self, rows: NDArray[Any]) -> NDArray[np.int64]:
        """Return how many letters each row (N, L) has."""
        ended = np.cumsum(rows >= len(self.alphabet), axis=1) > 0
        return np.asarray((~ended).sum(axis=1), np.int64)

    def infilled(self, pattern: str) -> Tensor:
        """Return the tokens (L,) that a pattern gives, -1 where any is to be drawn, and -1 - m for one of m letters.

        A question mark is a letter to be drawn, and a star at the end lets the sequence go on as it likes; without it
        the sequence ends where the pattern does. A backslash makes the next sign a letter.
        """
        given, on = self._pattern(pattern)
        if len(given) > self.length:
            raise UsageError(
                f"the infill pattern {pattern!r} has {len(given)} letters, and this model draws {self._room()}. Give "
                f"at most {self.length}, or train a model on longer sequences."
            )
        if on:
            return torch.tensor(given + [FREE] * (self.length - len(given)))
        if len(given) < self.length and not self.ends:
            raise UsageError(
                f"the infill pattern {pattern!r} has {len(given)} letters, and every sequence of this model has "
                f"{self.length}. Give as many, with ? for those to be drawn, or a star at the end."
            )
        return torch.tensor(self._filled(given))

    def _pattern(self, pattern: str) -> tuple[list[int], bool]:
        """Return what a pattern gives, as `infilled` does, and whether the sequence may go on behind it."""
        found: list[int] = []
        fixed, place, start = "", 0, 1
        while place <= len(pattern):
            sign = pattern[place : place + 1]
            if sign == "\\" and self.alphabet.name != "smiles" and place + 1 < len(pattern):
                fixed, place = fixed + pattern[place + 1], place + 2
                continue
            goes_on = sign == "*" and place == len(pattern) - 1
            if sign in ("?", "") or goes_on:
                found += self._given(pattern, fixed, start)
                if goes_on:
                    return found, True
                found += [FREE - len(self.alphabet)] * (sign == "?")
                fixed, start = "", place + 2
            else:
                fixed += sign
            place += 1
        return found, False

    def _given(self, pattern: str, fixed: str, start: int) -> list[int]:
        try:
            return self.alphabet.tokens(fixed)
        except LetterError as error:
            raise UsageError(
                f"the infill pattern {pattern!r} has {error.found!r} at position {start + error.position - 1}, which "
                f"the model's alphabet ({self.alphabet.in_words()}) does not have. Write ? where a letter is to be "
                "drawn."
            ) from None

    def _filled(self, tokens: list[int]) -> list[int]:
        rest = self.length - len(tokens)
        return tokens + ([self.end] + [self.pad] * (rest - 1) if rest else [])

    def _room(self) -> str:
        return f"{'up to' if self.ends else 'exactly'} {self.length}"

    def mismatch(self, other: Codec) -> str:
        """Return why data with the codec `other` are not for a model with this one; empty if they are."""
        if not isinstance(other, SequenceCodec):
            return "they are no sequences."
        if other.alphabet != self.alphabet:
            return (
                f"their alphabet is {other.alphabet.in_words()}, and the model's {self.alphabet.in_words()}. Open them "
                f"with {self._option()}."
            )
        if (other.length, other.ends) != (self.length, self.ends):
            return (
                f"their sequences have {other._room()} letters, and the model's {self._room()}. Open them with "
                f"?longest={self.length}."
            )
        return ""

    def _option(self) -> str:
        if self.alphabet.name in (*NAMED, "bytes"):
            return f"?alphabet={self.alphabet.name}"
        return "the letters of the model (?letters=...)"

    def to_dict(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "alphabet": self.alphabet.name,
            "letters": list(self.alphabet.letters),
            "length": self.length,
            "ends": self.ends,
        }

    @classmethod
    def from_parts(cls, data: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Self:
        alphabet = Alphabet.from_dict(data.get("alphabet"), data.get("letters"))
        length, ends = data.get("length"), data.get("ends")
        if type(length) is not int or not 1 <= length <= LONGEST or type(ends) is not bool:
            raise BundleError(
                f"A codec of sequences has length = {length!r} and ends = {ends!r}, which is not possible."
            )
        return cls(alphabet, length, ends)
