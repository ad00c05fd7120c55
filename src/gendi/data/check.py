"""`check_data`: look at a data set from every side before spending hours on it."""

import hashlib
import os
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from gendi.data.open import Data, open_data
from gendi.data.split import Split


@dataclass(frozen=True)
class DataReport:
    """What `gendi data check` says."""

    name: str
    spec: str
    train: int
    """Training images."""
    heldout: int
    """Held-out images."""
    height: int
    width: int
    channels: int
    classes: dict[str, int]
    """Training images by class; empty without labels."""
    low: int
    """Least byte of the training images."""
    high: int
    """Greatest byte of the training images."""
    mean: float
    """Mean byte of the training images."""
    duplicates: int
    """Training images whose every byte equals that of an earlier one."""
    heldout_in_train: int
    """Held-out images that are, byte for byte, training images too."""
    fingerprint: str
    skipped: tuple[tuple[str, str], ...]
    """Files that were passed over: (path, reason)."""
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain dicts, lists, numbers and strings."""
        plain = asdict(self)
        plain["skipped"] = [{"path": path, "reason": reason} for path, reason in self.skipped]
        plain["notes"] = list(self.notes)
        return plain


def check_data(spec: str, *, size: int | tuple[int, int] | None = None, max_bad: int | None = None) -> DataReport:
    """Open a data set as training would, and report on every image. Arguments and errors are those of `open_data`."""
    return report_on(open_data(spec, size=size, max_bad=max_bad))


def report_on(data: Data) -> DataReport:
    """Report on data that are already open."""
    low, high, total = 255, 0, 0
    for start in range(0, len(data.train), 1024):
        chunk = data.train.images[start : start + 1024]
        low, high, total = (
            min(low, int(chunk.min())),
            max(high, int(chunk.max())),
            total + int(chunk.sum(dtype=np.int64)),
        )
    train, heldout = _digests(data.train), _digests(data.heldout)
    known = set(train)
    notes = list(data.notes)
    if low == high:
        notes.append(f"warning: every pixel of the training images is {low}")
    classes = {}
    if data.train.labels is not None:
        counts = np.bincount(data.train.labels, minlength=len(data.class_names))
        classes = {name: int(count) for name, count in zip(data.class_names, counts, strict=True)}
    return DataReport(
        name=data.name,
        spec=data.spec,
        train=len(data.train),
        heldout=len(data.heldout),
        height=data.codec.height,
        width=data.codec.width,
        channels=data.codec.channels,
        classes=classes,
        low=low,
        high=high,
        mean=total / data.train.images.size,
        duplicates=len(train) - len(known),
        heldout_in_train=sum(digest in known for digest in heldout),
        fingerprint=data.fingerprint,
        skipped=tuple((os.fsencode(skipped.path).decode(errors="replace"), skipped.reason) for skipped in data.skipped),
        notes=tuple(notes),
    )


def _digests(split: Split) -> list[bytes]:
    """Return a 16-byte digest of every image."""
    return [hashlib.blake2b(np.ascontiguousarray(image).data, digest_size=16).digest() for image in split.images]
