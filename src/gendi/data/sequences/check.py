"""`gendi data check` for sequences: a report on all of them before hours of training."""

import os
from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Int64

from gendi.data.condition_report import ConditionReport, condition_report
from gendi.data.dataset import Data
from gendi.data.sequences.codec import SequenceCodec
from gendi.data.split import Split
from gendi.errors import DataError


@dataclass(frozen=True)
class SequenceReport:
    """What `gendi data check` reports about sequences."""

    name: str
    spec: str
    train: int
    """Training sequences."""
    heldout: int
    """Held-out sequences."""
    alphabet: str
    """The name of the alphabet, and its letters."""
    longest: int
    """The most letters that there is room for."""
    lengths: tuple[int, int, int]
    """The fewest letters of a training sequence, the median and the most."""
    letters: dict[str, int]
    """How often each letter of the alphabet stands in the training sequences, the most frequent first."""
    unused: tuple[str, ...]
    """Letters of the alphabet that no training sequence has."""
    duplicates: int
    """Training sequences that equal an earlier one."""
    most_frequent: tuple[str, int]
    """The training sequence that is there most often, and how often."""
    one_letter: int
    """Training sequences of two or more letters that are all the same."""
    heldout_in_train: int
    """Held-out sequences that equal a training sequence."""
    entropy: float
    """Bits per letter of a code that knows the frequencies of the letters and of ends alone. A model that learned more
    needs less."""
    conditions: tuple[ConditionReport, ...]
    """The conditions that a network can be given."""
    fingerprint: str
    skipped: tuple[tuple[str, str], ...]
    """Sequences that were passed over: (file, reason)."""
    notes: tuple[str, ...]

    def facts(self) -> list[tuple[str, object]]:
        """Return what the command prints, as rows of a table."""
        low, median, high = self.lengths
        total = sum(self.letters.values())
        text, times = self.most_frequent
        shown = text if len(text) <= 24 else f"{text[:24]}..."
        return [
            ("training sequences", self.train),
            ("held-out sequences", self.heldout),
            ("alphabet", self.alphabet),
            ("letters", f"{low:,} to {high:,} each, median {median:,}; room for {self.longest:,}"),
            ("all letters", total),
            ("most frequent letters", ", ".join(f"{x!r} {k / total:.1%}" for x, k in list(self.letters.items())[:6])),
            ("never used", " ".join(map(repr, self.unused)) or "none"),
            ("bits per letter by frequencies", f"{self.entropy:.3f}"),
            ("duplicates", self.duplicates),
            ("most frequent", f"{shown!r}, {times:,} times"),
            ("of one letter alone", self.one_letter),
            ("held out and in training", self.heldout_in_train),
            ("fingerprint", self.fingerprint[:16]),
        ]

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain dicts, lists, numbers and strings."""
        plain = asdict(self)
        plain["skipped"] = [{"path": path, "reason": reason} for path, reason in self.skipped]
        return {name: list(value) if isinstance(value, tuple) else value for name, value in plain.items()}


def report_on(data: Data) -> SequenceReport:
    """Report on sequences that are open. Raises `DataError` if there are none to train on."""
    codec = data.fitted
    assert isinstance(codec, SequenceCodec)
    if not len(data.train):
        raise DataError(f"{data.name} has no sequences to train on.")
    rows, heldout = _rows(data.train), _rows(data.heldout)
    lengths, size = codec.letters(rows), len(codec.alphabet)
    counts = np.bincount(rows[rows < size], minlength=size)
    order = np.argsort(-counts, kind="stable")
    known = Counter(map(bytes, rows))
    most, times = known.most_common(1)[0]
    first = rows[:, :1]
    inside = np.arange(rows.shape[1]) < lengths[:, None]
    alike = ((rows == first) | ~inside).all(axis=1) & (lengths > 1)
    return SequenceReport(
        name=data.name,
        spec=data.spec,
        train=len(rows),
        heldout=len(heldout),
        alphabet=codec.alphabet.in_words(),
        longest=codec.length,
        lengths=(int(lengths.min()), int(np.median(lengths)), int(lengths.max())),
        letters={codec.alphabet.text([int(i)]): int(counts[i]) for i in order if counts[i]},
        unused=tuple(codec.alphabet.text([int(i)]) for i in range(size) if not counts[i]),
        duplicates=len(rows) - len(known),
        most_frequent=(codec.text(np.frombuffer(most, np.int64)), times),
        one_letter=int(alike.sum()),
        heldout_in_train=sum(bytes(row) in known for row in heldout),
        entropy=letter_entropy(counts, len(rows) if codec.ends else 0),
        conditions=tuple(condition_report(spec, data.train.conditions[spec.name]) for spec in data.conditions),
        fingerprint=data.fingerprint,
        skipped=tuple((os.fsencode(skipped.path).decode(errors="replace"), skipped.reason) for skipped in data.skipped),
        notes=data.notes,
    )


def letter_entropy(counts: Int64[np.ndarray, " k"], ends: int = 0) -> float:
    """Return the bits per letter of a code for the frequencies of letters, and of `ends` ends of sequences.

    The ends cost bits and are no letters: the result is all bits over the number of letters.
    """
    every = np.append(counts, ends).astype(np.float64)
    every = every[every > 0]
    if not counts.sum():
        return 0.0
    return float(-(every * np.log2(every / every.sum())).sum() / counts.sum())


def _rows(split: Split) -> Int64[np.ndarray, "n l"]:
    return np.asarray(split.batch(range(len(split))), np.int64)
