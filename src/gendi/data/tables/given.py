"""Cells that are given, as bounds of the scores of a table's codec: what it takes to draw the others from their
distribution.

a value with a flat part of its marginal    its score lies between the ends of the flat part
a word that is a point                      its coordinates are known
another value                               its score is known
a range of numbers or dates                 its score lies between the scores of the ends
a cell that is there, whatever its value    the score of its pattern of gaps lies below the share of gaps
a cell that is given as missing             that score lies above it
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import chdtrc, ndtri
from torch import Tensor

from gendi.data.tables.cells import written
from gendi.data.tables.codec import TableCodec
from gendi.data.tables.rules import Rule
from gendi.diffusion.gaussian.inverse.box import Box
from gendi.errors import UsageError

Grid = NDArray[np.float64]
EDGE = 1e-6
"""How far inside the share of gaps its bounds lie, as a part of it, so that rounding does not cross them."""
FAR = 0.1
"""A given number is said to be outside the training data if it is so much of their range beyond them."""
ALMOST_NEVER = 1e-9
"""Cells so improbable together, in the Gaussian copula of the table, are warned of."""


@dataclass(frozen=True)
class Given:
    """Given cells of n rows."""

    codec: TableCodec
    values: Grid
    """(n, G), where they are `known`; NaN for a cell that is given as missing, and the lower end of a range."""
    known: NDArray[np.bool_]
    """Which cells are given, (n, G)."""
    present: NDArray[np.bool_]
    """Which cells are there, (n, G): those that are given with a value, and those that are to be filled."""
    ranges: Mapping[int, float] = field(default_factory=dict)
    """By the number of a column, the upper end of the range in which its cells are given, in all rows."""

    @classmethod
    def alike(cls, codec: TableCodec, cells: Mapping[int, tuple[float, float]], n: int) -> "Given":
        """Return the same cells or ranges (`read_where`) for n rows; the others may be missing.

        Raises `UsageError` for a range in which no row of the model can lie.
        """
        values, known = np.full((n, len(codec.marginals)), np.nan), np.zeros((n, len(codec.marginals)), bool)
        ranges = {}
        for j, (low, high) in cells.items():
            if low < high:
                low, high = _within(codec, j, low, high)
                ranges[j] = high
            values[:, j], known[:, j] = low, True
        return cls(codec, values, known, known & ~np.isnan(values), ranges)

    @classmethod
    def gaps_of(cls, codec: TableCodec, rows: Grid) -> "Given":
        """Return rows (n, G) whose missing cells are to be filled."""
        return cls(codec, rows, ~np.isnan(rows), np.ones(rows.shape, bool))

    def box(self) -> Box:
        """Return the bounds of the scores. Raises `UsageError` for gaps that no training row has."""
        low = np.full((len(self.values), *self.codec.shape), -np.inf)
        high = -low
        for j, own in self.codec.coordinates.items():
            mine = self.known[:, j] & self.present[:, j]
            low[mine, own], high[mine, own] = self.codec.score_bounds(j, self.values[mine, j])
            if j in self.ranges:
                high[mine, own] = self.codec.score_bounds(j, np.full(mine.sum(), self.ranges[j]))[1]
        for k, (columns, p) in enumerate(self.codec.gaps, self.codec.gaps_at):
            here = self.present[:, columns].any(axis=1)
            away = (self.known & ~self.present)[:, columns].any(axis=1)
            if (here & away).any():
                names = [self.codec.schema.columns[j].name for j in columns]
                raise UsageError(f"{' and '.join(names)} are always missing together in the training data.")
            high[here, k] = ndtri((1 - p) * (1 - EDGE))
            low[away, k] = ndtri(1 - p * (1 - EDGE))
        self._refuse_new_gaps()
        points = [torch.from_numpy(each) for each in self.codec.points.values()]
        return Box.of(torch.from_numpy(self.codec.axes), torch.from_numpy(low), torch.from_numpy(high), points)

    def _refuse_new_gaps(self) -> None:
        missing = (self.known & ~self.present).any(axis=0)
        able = {j for columns, _ in self.codec.gaps for j in columns}
        for j in np.flatnonzero(missing).tolist():
            if j not in able and len(self.codec.marginals[j].x):
                name = self.codec.schema.columns[j].name
                raise UsageError(f"{name} was never missing in training, so it cannot be given as missing.")

    def rows(self, part: NDArray[np.int64]) -> "Given":
        """Return the cells of the rows of some numbers."""
        return Given(self.codec, self.values[part], self.known[part], self.present[part], self.ranges)

    @property
    def exact(self) -> NDArray[np.bool_]:
        """Which cells (n, G) are given as a value or as missing, and not as a range."""
        out = self.known.copy()
        out[:, list(self.ranges)] = False
        return out

    def put(self, rows: Grid) -> Grid:
        """Return decoded rows (n, G) with the given cells in them as they were given.

        A column that a rule computes is computed anew. Where it is given, the last other column of the rule that is not
        given becomes what the rule makes it.
        """
        out = np.where(self.exact, self.values, rows)
        for j, high in self.ranges.items():
            out[:, j] = out[:, j].clip(self.values[:, j], high)
        for rule in self.codec.rules:
            if rule.computes:
                c = self.codec.places[rule.computes]
                anew = ~self.known[:, c] & ~np.isnan(out[:, c])
                out[anew, c] = rule.computed(out)[anew]
                self._solve(out, rule, c)
        return out

    def _solve(self, rows: Grid, rule: Rule, c: int) -> None:
        left, computed = self.known[:, c] & self.present[:, c], {each.computes for each in self.codec.rules}
        for name in reversed(rule.columns):
            j = self.codec.places[name]
            mine = left & ~self.known[:, j]
            if name in computed or not mine.any():
                continue
            x = self.codec.marginals[j].x
            rows[mine, j] = rule.solved(rows[mine], name, float(x[0]), float(x[-1]))
            left = left & ~mine

    def broken(self) -> Sequence[tuple[str, int]]:
        """Return each rule that given cells alone break, with the number of a row where they do."""
        rows = np.where(self.exact, self.values, np.nan)
        kept = ((rule.text, rule.kept(rows)) for rule in self.codec.rules)
        return [(text, int((~ok).argmax())) for text, ok in kept if not ok.all()]

    def warnings(self) -> tuple[str, ...]:
        """Return sentences on given numbers outside the training data, and on given cells that break a rule."""
        odd = [
            f"the given cells of row {i + 1} break the rule {text}: they stay as they are." for text, i in self.broken()
        ]
        return (*self._outside(), *odd)

    def _outside(self) -> Sequence[str]:
        found = []
        for j, (column, marginal) in enumerate(zip(self.codec.schema.columns, self.codec.marginals, strict=True)):
            values = self.values[self.exact[:, j] & self.present[:, j], j]
            if column.kind in ("category", "boolean") or not len(values) or not len(marginal.x):
                continue
            low, high = marginal.x[0], marginal.x[-1]
            beyond = np.maximum(low - values, values - high)
            if beyond.max() > FAR * (high - low):
                worst = values[int(beyond.argmax())]
                found.append(
                    f"{column.name} = {written(column, worst)} lies outside the training data, which have "
                    f"{written(column, low)} to {written(column, high)}: the model learnt nothing there, so do not "
                    "trust what is drawn with it."
                )
        return found


def _within(codec: TableCodec, j: int, low: float, high: float) -> tuple[float, float]:
    """Return the part of a range of column j that training rows reach. Raises `UsageError` if there is none."""
    column, seen = codec.schema.columns[j], codec.marginals[j].x
    if any(rule.computes == column.name for rule in codec.rules):
        raise UsageError(
            f"{column.name} is computed by a rule: give a range of a column that it is computed from, or a value."
        )
    if not len(seen) or j not in codec.coordinates:
        raise UsageError(f"{column.name} is the same in all training rows, so there is nothing to choose.")
    ends = np.array([max(low, seen[0]), min(high, seen[-1])])
    if ends[0] <= ends[1]:
        least, greatest = codec.score_bounds(j, ends)
        if least[0] < greatest[1]:
            return float(ends[0]), float(ends[1])
    shown = "..".join("" if np.isinf(end) else written(column, end) for end in (low, high))
    raise UsageError(
        f"{column.name} = {shown}: no training row has such a value; they have {written(column, seen[0])} to "
        f"{written(column, seen[-1])}."
    )


def improbable(x: Tensor) -> str:
    """Return a sentence on draws x (n, d), without points, that are far from all that a table is like, or "".

    The squared length of x has a chi-squared distribution in the Gaussian copula of the scores.
    """
    odd = np.flatnonzero(chdtrc(x.shape[1], x.double().pow(2).sum(1).numpy()) < ALMOST_NEVER)
    if 2 * len(odd) <= len(x):
        return ""
    return (
        f"the given cells are hardly ever together: {len(odd):,} of the {len(x):,} rows drawn with them are unlike all "
        "training rows. Do not trust them."
    )
