"""What the rows of a condition are like, for reports on data."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gendi.diffusion.config import ConditionConfig


@dataclass(frozen=True)
class ConditionReport:
    """What the training rows have of one condition."""

    name: str
    kind: str
    size: int
    """Classes, tags, numbers or channels."""
    missing: int
    """Rows whose value is missing."""
    counts: dict[str, int]
    """Rows by class or tag; empty for numbers and pictures."""
    low: float | None = None
    """Least number."""
    high: float | None = None
    """Greatest number."""
    mean: float | None = None
    std: float | None = None


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
