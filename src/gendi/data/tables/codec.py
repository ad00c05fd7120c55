"""The codec of tables: rows of G cells, some missing, <-> vectors of D numbers.

Scores z, each standard normal over the training rows:

    one for each column that varies    z = Phi^-1(u) by its marginal (`gendi.data.tables.marginals`), for numbers and
                                       dates. A missing cell's score is drawn from N(0, 1)
    one for each pattern of gaps       u in (1 - p, 1) where the cell is missing, and in (0, 1 - p) where it is not; p
                                       is the share of rows where it is. Columns that are always missing together
                                       share one score

and behind them, for each category or boolean of K words, the K - 1 coordinates of the word's point, with mean 0 and
covariance 1 over the training rows (`gendi.data.tables.points`). A missing cell has the point of a word that is drawn
by their shares. A vector is decoded to the nearest point, and the denoiser knows that there are only these
(`gendi.diffusion.gaussian.points`).

A column with a single value, or with none, has no coordinates, and neither has one that a rule computes from others
(`gendi.data.tables.rules`). Vectors whose scores are standard normal, and whose points have their shares, therefore
have the right values, frequencies and shares of gaps, and only the dependence between columns is left to learn. Of
that, the correlations of scores are removed too:

    x = C^-1 z,   C = R^(1/2), R the correlations of the training rows' scores, with eigenvalues of at least `LEAST`,

so that x has no correlations; the points are not changed. A Gaussian of unit variance in x is the Gaussian copula of
the numbers. A preconditioned network begins with it, as its output is zero before training, and with independent words.

Words of a column that has more than `WORDS_MOST` lie side by side on one score, in the order of the main difference
between their rows in other columns (`in_order`); so do all words of codecs without points, as every codec was at first.
The cells of a column that is a given condition are not decoded from the vector: they are the values of the condition.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri
from torch import Tensor

from gendi.data.tables.codec_fields import checked_schema, rules_from, rules_to_list
from gendi.data.tables.marginals import INSIDE, Marginal, fit_marginal
from gendi.data.tables.orders import in_codes, in_order, ranked
from gendi.data.tables.points import drawn, nearest, points_of, with_points
from gendi.data.tables.rules import Rule, broken
from gendi.data.tables.schema import Column, Schema
from gendi.data.vectors import VectorCodec
from gendi.diffusion.conditions import is_null
from gendi.diffusion.config import ConditionConfig
from gendi.diffusion.gaussian.points import PointPosterior
from gendi.diffusion.randomness import Places
from gendi.errors import BundleError, DataError, diverged
from gendi.storage.safe_tensors import TensorSpec

Grid = NDArray[np.float64]
Gap = tuple[tuple[int, ...], float]
"""Columns that are missing together, and the share of rows where they are missing."""
LEAST = 1e-4
"""The smallest eigenvalue of the correlations. Smaller ones are raised to it, so that noise is not amplified."""


class TableCodec(VectorCodec):
    """The codec of the module's docstring.

    Attributes:
        schema: the description of the columns.
        marginals: one for each column.
        gaps: the patterns of missing cells.
        orders: by column, the codes of a category in the order in which they lie on its score.
        cond: the conditions of the training rows, by name.
        axes: C (D, D), of full rank; the identity by default.
        points: by column, the points (K, K - 1) that stand for its K words, in the order in which they would lie on a
            score; given as the columns that have them, none by default. Such a column has no score.
        coordinates: by column that varies, the coordinates of z that are its own.
        rules: what every row keeps (`gendi.data.tables.rules`).
        valued: the columns that have coordinates: those that vary and that no rule computes.
    """

    kind: ClassVar[str] = "table"
    once: ClassVar[bool] = True

    def __init__(
        self,
        schema: Schema,
        marginals: Sequence[Marginal],
        gaps: Sequence[Gap],
        orders: Mapping[int, Sequence[int]],
        cond: Mapping[str, Tensor],
        axes: Grid | None = None,
        rules: Sequence[Rule] = (),
        points: Iterable[int] = (),
    ) -> None:
        self.schema, self.marginals, self.gaps = schema, tuple(marginals), tuple(gaps)
        self.orders = {column: tuple(order) for column, order in orders.items()}
        self.training_conditions = dict(cond)
        self.rules = tuple(rules)
        self.has_rules = bool(self.rules)
        self.valued = _valued(schema, [len(marginal.x) for marginal in self.marginals], self.rules)
        self.points = {j: points_of(np.diff(self.marginals[j].u.reshape(-1, 2))[:, 0]) for j in sorted(points)}
        scored = [j for j in self.valued if j not in self.points]
        self.coordinates = {j: slice(k, k + 1) for k, j in enumerate(scored)}
        self.gaps_at, end = len(scored), len(scored) + len(self.gaps)
        for j, each in self.points.items():
            self.coordinates[j], end = slice(end, end + each.shape[1]), end + each.shape[1]
        self._size = end
        self.axes = np.eye(self.shape[0]) if axes is None else axes
        self._inverse = np.linalg.inv(self.axes)

    def misfit(self, schema: Any, ours: Sequence[ConditionConfig], theirs: Sequence[ConditionConfig]) -> str:
        """Return a sentence that says why another table cannot be encoded, or ""; see `VectorCodec.misfit`.

        It must have the same columns in the same order, of the same kinds, and categories with the same words.
        """
        known, found = ({c.name: c for c in s.columns} for s in (self.schema, schema))
        if list(known) != list(found):
            odd = [*(f"without {n}" for n in known if n not in found), *(f"with {n}" for n in found if n not in known)]
            return f"Its columns differ: {', '.join(odd[:5]) or 'they are in another order'}."
        for name, column in known.items():
            other = found[name]
            if (column.kind, column.labels, column.levels) != (other.kind, other.labels, other.levels):
                return f"Its column {name}, a {other.kind}, has other values than the model's {column.kind}."
        return ""

    @classmethod
    def fit(
        cls, schema: Schema, rows: Grid, cond: Mapping[str, Tensor], rules: Sequence[Rule] = (), points: bool = True
    ) -> Self:
        """Return the codec fitted to training rows (N, G), which keep the rules.

        Words are points, or lie on a score without `points`. Raises `DataError` if all rows are the same.
        """
        several = [j for j, column in enumerate(schema.columns) if column.kind == "category" and len(column.labels) > 2]
        orders = {j: order for j in several if (order := in_order(rows, j))}
        in_places = ranked(rows, orders)
        marginals = []
        for column, values in zip(schema.columns, in_places.T, strict=True):
            marginals.append(fit_marginal(values[~np.isnan(values)], column.kind in ("category", "boolean")))
        valued = _valued(schema, [len(marginal.x) for marginal in marginals], rules)
        words = with_points(schema, marginals, valued) if points else ()
        codec = cls(schema, marginals, _gaps(rows), orders, cond, rules=rules, points=words)
        if not codec.shape[0]:
            raise DataError("Every column of the table has the same value in all rows: there is nothing to learn.")
        z = codec._scores(rows, np.arange(len(rows)))
        axes, scores = np.eye(codec.shape[0]), slice(codec.scores)
        axes[scores, scores] = root_of_correlations(z[:, scores])
        return cls(schema, marginals, codec.gaps, orders, cond, axes, rules, words)

    @property
    def shape(self) -> tuple[int]:
        return (self._size,)

    @property
    def scores(self) -> int:
        """The number of scores, which come first in z; behind them are the points of words."""
        return self.gaps_at + len(self.gaps)

    def encode(self, rows: Tensor, cond: Mapping[str, Tensor], index: Tensor) -> Tensor:
        """Map rows (B, G) to x (B, D); where a value does not determine its score, the row's number keys the draw."""
        z = self._scores(rows.cpu().numpy().astype(np.float64), index.cpu().numpy())
        return torch.from_numpy(np.einsum("nd,de->ne", z, self._inverse).astype(np.float32)).to(rows.device)

    def _scores(self, rows: Grid, index: NDArray[np.int64]) -> Grid:
        """Return the scores z (B, D) of rows (B, G); `index` are the numbers of the rows."""
        values, places = ranked(rows, self.orders), Places(0, "table scores", 0)
        u = np.stack([places(i, 0, 0).random(self.shape[0]) for i in index.tolist()])
        u = INSIDE + (1 - 2 * INSIDE) * u
        z = np.empty(u.shape)
        for j, place in self.coordinates.items():
            z[:, place] = self._own(j, values[:, j], u[:, place.start])
        for k, (columns, p) in enumerate(self.gaps, self.gaps_at):
            missing = np.isnan(values[:, columns[0]])
            z[:, k] = ndtri(np.where(missing, 1 - p + p * u[:, k], (1 - p) * u[:, k]))
        return z

    def _own(self, j: int, values: Grid, u: Grid) -> Grid:
        """Return the coordinates (B, d) of a column's `values` (B,), by uniform draws u (B,)."""
        marginal, missing = self.marginals[j], np.isnan(values)
        filled = np.where(missing, marginal.x[0], values)
        if j not in self.points:
            return np.where(missing, ndtri(u), marginal.scores(filled, u))[:, None]
        seen = marginal.x[::2]
        word = np.searchsorted(seen, filled).clip(max=len(seen) - 1)
        any_word = drawn(np.diff(marginal.u.reshape(-1, 2))[:, 0], u)
        return self.points[j][np.where(missing, any_word, word)]

    def score_bounds(self, j: int, values: NDArray[np.float64]) -> tuple[Grid, Grid]:
        """Return the least and the greatest coordinates (n, d) of `values` (n,) of column j, which are not missing."""
        placed = ranked(values[:, None], {0: self.orders[j]} if j in self.orders else {})[:, 0]
        if j in self.points:
            known = self._own(j, placed, np.zeros(len(placed)))
            return known, known
        low, high = self.marginals[j].bounds(placed)
        return low[:, None], high[:, None]

    def decode(self, x: Tensor, cond: Mapping[str, Tensor], seed: int, first: int) -> Tensor:
        """Map x (n, D) to rows (n, G), float64; nothing is drawn."""
        z = np.einsum("nd,de->ne", x.detach().cpu().numpy().astype(np.float64), self.axes)
        if np.isnan(z).any():
            raise diverged("The rows to decode contain NaN.")
        rows = np.empty((len(z), len(self.marginals)))
        for j, (column, marginal) in enumerate(zip(self.schema.columns, self.marginals, strict=True)):
            own = z[:, self.coordinates.get(j, slice(0, 1))]
            values = marginal.x[2 * nearest(self.points[j], own)] if j in self.points else marginal.values(own[:, 0])
            rows[:, j] = in_codes(self.orders[j], values) if j in self.orders else _round(column, values, marginal.x)
        rows = self._told(rows, cond)
        for rule in self.rules:
            if rule.computes:
                rows[:, self.places[rule.computes]] = rule.computed(rows)
        for k, (columns, p) in enumerate(self.gaps, self.gaps_at):
            rows[np.ix_(ndtr(z[:, k]) > 1 - p, columns)] = np.nan
        return torch.from_numpy(self._told(rows, cond))

    def _told(self, rows: Grid, cond: Mapping[str, Tensor]) -> Grid:
        """Return rows (n, G) with the cells of given conditions in them."""
        for j, column in enumerate(self.schema.columns):
            if column.condition in cond:
                given = cond[column.condition].cpu()
                rows[:, j] = np.where(is_null(given).numpy(), rows[:, j], self._cells_of(j, given.numpy()))
        return rows

    def broken(self, rows: Tensor) -> Tensor:
        """Return which decoded rows (n, G) break a rule, (n,)."""
        return torch.from_numpy(broken(self.rules, rows.numpy()))

    @property
    def places(self) -> dict[str, int]:
        """The number of each column by its name."""
        return {column.name: j for j, column in enumerate(self.schema.columns)}

    def point_posterior(self) -> PointPosterior | None:
        """Return what a denoiser makes of words that are points; None if there are none."""
        return PointPosterior([torch.from_numpy(each) for each in self.points.values()]) if self.points else None

    def steady(self) -> tuple[Tensor, list[int]]:
        """Return C, and which of the coordinates of z are those of words, of gaps and of columns of few values."""
        values = {j for j in self.coordinates if j not in self.points and not self.marginals[j].discrete}
        moving = {self.coordinates[j].start for j in values}
        return torch.from_numpy(self.axes), [k for k in range(self._size) if k not in moving]

    def _cells_of(self, j: int, condition: NDArray[Any]) -> Grid:
        """Return the cells of column j for the values of its condition.

        Values are float32: each becomes the observed number that rounds to it, if there is one.
        """
        column, seen = self.schema.columns[j], self.marginals[j].x
        if condition.dtype.kind == "i":
            return np.asarray(column.levels, np.float64)[condition] if column.levels else condition.astype(np.float64)
        numbers = condition.astype(np.float64)
        if not len(seen):
            return numbers
        right = np.clip(np.searchsorted(seen, numbers), 1, max(1, len(seen) - 1))
        near = np.stack([seen[right - 1], seen[np.minimum(right, len(seen) - 1)]])
        nearest = np.where(abs(near[0] - numbers) <= abs(near[1] - numbers), near[0], near[1])
        return np.where(nearest.astype(np.float32) == condition, nearest, _round(column, numbers, seen))

    def to_dict(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "schema": self.schema.to_dict(),
            "knots": [len(marginal.x) for marginal in self.marginals],
            "gaps": [{"columns": list(columns), "share": p} for columns, p in self.gaps],
            "orders": {str(j): list(order) for j, order in sorted(self.orders.items())},
            "points": list(self.points),
            "told": {
                name: "class" if rows.dtype == torch.int64 else "value"
                for name, rows in self.training_conditions.items()
            },
            "rows": len(next(iter(self.training_conditions.values()), ())),
            "rules": rules_to_list(self.rules),
        }

    def tensors(self) -> dict[str, Tensor]:
        cond = {f"told.{name}": rows for name, rows in self.training_conditions.items()}
        u, x = (np.concatenate([getattr(marginal, letter) for marginal in self.marginals]) for letter in "ux")
        return {
            "knots.u": torch.from_numpy(u),
            "knots.x": torch.from_numpy(x),
            "axes": torch.from_numpy(self.axes),
            **cond,
        }

    @classmethod
    def expected(cls, data: Mapping[str, Any]) -> dict[str, TensorSpec]:
        schema = checked_schema(data)
        total, types = sum(data["knots"]), {"class": torch.int64, "value": torch.float32}
        cond: dict[str, TensorSpec] = {
            f"told.{name}": ((data["rows"],), types[kind]) for name, kind in data["told"].items()
        }
        points, valued = set(data.get("points", ())), _valued(schema, data["knots"], rules_from(data, schema))
        d = sum(data["knots"][j] // 2 - 1 if j in points else 1 for j in valued) + len(data["gaps"])
        shapes = {"knots.u": (total,), "knots.x": (total,), "axes": (d, d)}
        return {**{name: (shape, torch.float64) for name, shape in shapes.items()}, **cond}

    @classmethod
    def from_parts(cls, data: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Self:
        schema = checked_schema(data)
        ends = np.cumsum(data["knots"])[:-1]
        u, x = (np.split(tensors[f"knots.{letter}"].numpy(), ends) for letter in "ux")
        marginals = [Marginal(*knots) for knots in zip(u, x, strict=True)]
        for column, marginal in zip(schema.columns, marginals, strict=True):
            if not marginal.sound:
                raise BundleError(f"The knots of the column {column.name!r} do not rise: the table's codec is damaged.")
        gaps = [(tuple(gap["columns"]), gap["share"]) for gap in data["gaps"]]
        cond = {name: tensors[f"told.{name}"] for name in data["told"]}
        axes, orders = tensors["axes"].numpy(), {int(j): order for j, order in data["orders"].items()}
        if not (np.isfinite(axes).all() and np.linalg.cond(axes) < 1e6):
            raise BundleError("The axes of the table's codec are not of full rank: it is damaged.")
        return cls(schema, marginals, gaps, orders, cond, axes, rules_from(data, schema), data.get("points", ()))


def root_of_correlations(z: Grid) -> Grid:
    """Return the symmetric C = R^(1/2) (D, D) for scores z (N, D); eigenvalues of R below `LEAST` are raised to it."""
    n = len(z)
    values, vectors = np.linalg.eigh(z.T @ z / n)
    root: Grid = (vectors * np.sqrt(np.maximum(values, LEAST))) @ vectors.T
    return root


def _valued(schema: Schema, knots: Sequence[int], rules: Sequence[Rule]) -> list[int]:
    """Return the columns that have scores, from the number of knots of each marginal."""
    computed = {rule.computes for rule in rules}
    return [
        j
        for j, (column, k) in enumerate(zip(schema.columns, knots, strict=True))
        if k > 1 and column.name not in computed
    ]


def _gaps(rows: Grid) -> list[Gap]:
    """Return the columns that are missing together, and the share of rows in which they are."""
    missing = np.isnan(rows)
    found: dict[bytes, list[int]] = {}
    for j in np.flatnonzero(missing.any(axis=0) & ~missing.all(axis=0)).tolist():
        found.setdefault(missing[:, j].tobytes(), []).append(j)
    return [(tuple(columns), float(missing[:, columns[0]].mean())) for columns in found.values()]


def _round(column: Column, values: Grid, seen: Grid) -> Grid:
    """Return the values, where those that were not `seen` are rounded to the decimals of the column."""
    decimals = column.decimals if column.kind == "number" else 0
    if decimals is None or not len(seen):
        return values
    at = np.minimum(np.searchsorted(seen, values), len(seen) - 1)
    return np.where(seen[at] == values, values, np.round(values, decimals))
