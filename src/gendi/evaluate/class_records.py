"""What an evaluation of rows says of each class."""

from collections.abc import Iterable
from dataclasses import dataclass

Interval = tuple[float, float]


@dataclass(frozen=True)
class ClassRecord:
    """One class: how far its samples are from its real rows, and whether its real rows are recognised."""

    name: str
    samples: int
    """Samples of the class that were compared."""
    real: int
    """Real rows of the class that they were compared with, training and held-out ones."""
    energy: float | None
    """Energy distance between both, in the features; None for fewer than two rows of either."""
    interval: Interval | None
    """95% confidence interval of `energy`; None for fewer than four rows of either."""
    limit: float | None
    """The largest `energy` that passes; None where so few rows could not fail whatever they were."""
    recognised: float | None = None
    """The share of held-out rows of the class that a classifier trained on the samples recognises."""
    recognised_interval: Interval | None = None
    """95% confidence interval of `recognised`."""

    @property
    def passed(self) -> bool | None:
        """Whether `energy` is within its limit; None without either."""
        return None if self.energy is None or self.limit is None else self.energy <= self.limit

    @property
    def over_limit(self) -> float | None:
        """`energy` over its limit, which passes up to 1; None without either."""
        return None if self.energy is None or self.limit is None else self.energy / self.limit


def worst_first(records: Iterable[ClassRecord]) -> list[ClassRecord]:
    """Return records in the order in which people read them: the worst first, those without a limit last."""
    return sorted(records, key=lambda r: (r.over_limit is None, -(r.over_limit or 0.0)))
