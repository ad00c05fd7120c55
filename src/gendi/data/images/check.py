"""`gendi data check` for pictures: a report on all of them before hours of training."""

import hashlib
import math
import os
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from gendi.data.condition_report import ConditionReport, condition_report
from gendi.data.dataset import Data
from gendi.data.images.codec import pictures_only
from gendi.data.images.near_duplicates import count_across_classes
from gendi.data.open import open_data
from gendi.data.split import Split


@dataclass(frozen=True)
class DataReport:
    """What `gendi data check` reports about pictures."""

    name: str
    spec: str
    train: int
    """Training images."""
    heldout: int
    """Held-out images."""
    height: int
    width: int
    channels: int
    conditions: tuple[ConditionReport, ...]
    """The conditions that a network can be given."""
    low: int
    """Least byte of the training images."""
    high: int
    """Greatest byte of the training images."""
    mean: float
    """Mean byte of the training images."""
    duplicates: int
    """Training images that equal an earlier one byte for byte."""
    across_classes: int
    """Training images with a near-duplicate in another class (`gendi.data.images.near_duplicates`)."""
    blank: int
    """Training images of a single colour."""
    heldout_in_train: int
    """Held-out images that equal a training image byte for byte."""
    fingerprint: str
    skipped: tuple[tuple[str, str], ...]
    """Files that were passed over: (path, reason)."""
    notes: tuple[str, ...]

    def facts(self) -> list[tuple[str, object]]:
        """Return what the command prints, as rows of a table."""
        return [
            ("training images", self.train),
            ("held-out images", self.heldout),
            ("size", f"{self.height} x {self.width}, {self.channels} channel(s)"),
            ("bytes", f"{self.low} to {self.high}, mean {self.mean:.1f}"),
            ("duplicates", self.duplicates),
            ("nearly equal to one in another class", self.across_classes),
            ("of a single colour", self.blank),
            ("held out and in training", self.heldout_in_train),
            ("fingerprint", self.fingerprint[:16]),
        ]

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain dicts, lists, numbers and strings."""
        plain = asdict(self)
        plain["skipped"] = [{"path": path, "reason": reason} for path, reason in self.skipped]
        plain["notes"] = list(self.notes)
        return plain


def check_images(spec: str, *, size: int | tuple[int, int] | None = None, max_bad: int | None = None) -> DataReport:
    """Open a data set as training would, and report on every image. Arguments and errors are those of `open_data`."""
    return report_on(open_data(spec, size=size, max_bad=max_bad))


def report_on(data: Data) -> DataReport:
    """Report on pictures that are already open."""
    codec = pictures_only(data.codec, "gendi data check")
    low, high, total, blank = 255, 0, 0, 0
    for start in range(0, len(data.train), 1024):
        chunk = data.train.rows[start : start + 1024]
        low, high, total = (
            min(low, int(chunk.min())),
            max(high, int(chunk.max())),
            total + int(chunk.sum(dtype=np.int64)),
        )
        if codec.height * codec.width > 1:
            blank += int((chunk == chunk[:, :1, :1]).all((1, 2, 3)).sum())
    train, heldout = _digests(data.train), _digests(data.heldout)
    known = set(train)
    notes = list(data.notes)
    if low == high:
        notes.append(f"warning: every pixel of the training images is {low}")
    return DataReport(
        name=data.name,
        spec=data.spec,
        train=len(data.train),
        heldout=len(data.heldout),
        height=codec.height,
        width=codec.width,
        channels=codec.channels,
        conditions=tuple(condition_report(spec, data.train.conditions[spec.name]) for spec in data.conditions),
        low=low,
        high=high,
        mean=total / math.prod(data.train.rows.shape),
        duplicates=len(train) - len(known),
        across_classes=count_across_classes(data.train),
        blank=blank,
        heldout_in_train=sum(digest in known for digest in heldout),
        fingerprint=data.fingerprint,
        skipped=tuple((os.fsencode(skipped.path).decode(errors="replace"), skipped.reason) for skipped in data.skipped),
        notes=tuple(notes),
    )


def _digests(split: Split) -> list[bytes]:
    """Return a 16-byte digest of every image."""
    return [
        hashlib.blake2b(np.ascontiguousarray(image).data, digest_size=16).digest()
        for start in range(0, len(split), 1024)
        for image in split.rows[start : start + 1024]
    ]
