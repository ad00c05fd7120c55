"""`check_data`: look at a data set from every side before spending hours on it."""

import hashlib
import math
import os
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gendi.data.codec import pictures_only
from gendi.data.open import Data, open_data
from gendi.data.split import Split
from gendi.diffusion.config import ConditionConfig
from gendi.errors import UsageError


@dataclass(frozen=True)
class ConditionReport:
    """What the training images have of one condition."""

    name: str
    kind: str
    size: int
    """Classes, tags, numbers or channels."""
    missing: int
    """Images of which it is not known."""
    counts: dict[str, int]
    """Images by class or tag; empty for numbers and pictures."""
    low: float | None = None
    """Least number."""
    high: float | None = None
    """Greatest number."""
    mean: float | None = None
    std: float | None = None


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
    conditions: tuple["ConditionReport", ...]
    """What is known of the images, and can be told to a network."""
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
    """Report on pictures that are already open. Raises `UsageError` for other data."""
    if data.kind != "image":
        raise UsageError(
            f"gendi data check is for pictures, and {data.spec} holds {data.kind}; gendi cells check is for cells."
        )
    codec = pictures_only(data.codec, "gendi data check")
    low, high, total = 255, 0, 0
    for start in range(0, len(data.train), 1024):
        chunk = data.train.rows[start : start + 1024]
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
        heldout_in_train=sum(digest in known for digest in heldout),
        fingerprint=data.fingerprint,
        skipped=tuple((os.fsencode(skipped.path).decode(errors="replace"), skipped.reason) for skipped in data.skipped),
        notes=tuple(notes),
    )


def condition_report(spec: ConditionConfig, rows: NDArray[Any]) -> ConditionReport:
    """Report on the rows of one condition."""
    name, kind, size = spec.name, spec.kind, spec.size
    named = spec.names or tuple(str(number) for number in range(size))
    if kind == "image":
        return ConditionReport(name, kind, size, 0, {})
    if kind == "class":
        known = rows[rows >= 0]
        counts = dict(zip(named, np.bincount(known, minlength=size).tolist(), strict=True))
        return ConditionReport(name, kind, size, len(rows) - len(known), counts)
    known = rows[~np.isnan(rows).reshape(len(rows), -1).all(axis=1)]
    missing = len(rows) - len(known)
    if kind == "tags":
        counts = dict(zip(named, known.sum(0).astype(int).tolist(), strict=True))
        return ConditionReport(name, kind, size, missing, counts)
    low, high = (float(known.min()), float(known.max())) if len(known) else (None, None)
    return ConditionReport(name, kind, size, missing, {}, low, high, spec.mean, spec.std)


def _digests(split: Split) -> list[bytes]:
    """Return a 16-byte digest of every image."""
    return [
        hashlib.blake2b(np.ascontiguousarray(image).data, digest_size=16).digest()
        for start in range(0, len(split), 1024)
        for image in split.rows[start : start + 1024]
    ]
