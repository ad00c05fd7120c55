"""How many real rows stand behind a class: samples of a class cannot know more of it than these rows do."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gendi.diffusion.config import ConditionConfig

FEW = 50
"""Classes of fewer training rows are said to be rare."""


def rows_by_class(specs: Sequence[ConditionConfig], conditions: Mapping[str, Any]) -> dict[str, dict[str, int]]:
    """Return how many rows each class has, for each condition of the kind `class`, by name.

    Args:
        specs: the conditions.
        conditions: the conditions of rows by name, (n,) each, with -1 where a class is not known.
    """
    out = {}
    for spec in specs:
        if spec.kind == "class" and spec.name in conditions:
            rows = np.asarray(conditions[spec.name], np.int64)
            counts = np.bincount(rows[rows >= 0], minlength=spec.size)
            names = spec.names or tuple(str(k) for k in range(spec.size))
            out[spec.name] = dict(zip(names, counts.tolist(), strict=True))
    return out


def rare_of(counts: Mapping[str, int]) -> dict[str, int]:
    """Return the classes of 1 to `FEW` - 1 rows, from the smallest one on."""
    rare = {name: count for name, count in counts.items() if 0 < count < FEW}
    return dict(sorted(rare.items(), key=lambda pair: pair[1]))


def in_words(counts: Mapping[str, int], most: int = 5) -> str:
    """Return classes with their numbers of rows, "A (3), B (12) and 2 more"."""
    shown = ", ".join(f"{label} ({count:,})" for label, count in list(counts.items())[:most])
    return shown + (f" and {len(counts) - most} more" if len(counts) > most else "")
