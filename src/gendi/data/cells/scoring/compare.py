"""The values of all metrics for a prediction, the references and the ceiling, condition by condition."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from gendi.data.cells.scoring.groups import Group, axes_of, group_of, once
from gendi.data.cells.scoring.inputs import Condition, Pair, Side
from gendi.data.cells.scoring.metrics import BETTER, Truth, changed_genes, correlation, measure
from gendi.data.cells.scoring.references import reference_shifts
from gendi.diffusion.randomness import stream
from gendi.errors import DataError
from gendi.evaluate.vectors.distances import median_distance

PREDICTION, CEILING = "prediction", "ceiling"
ENOUGH = 5
"""Number of conditions from which on intervals are over conditions; over cells below it."""
AGAIN = 200
"""Groups that are drawn anew for an interval over cells."""
HALVINGS = 2
"""Times that the real cells are halved for the ceiling."""

Floats = NDArray[np.float64]
Values = dict[str, dict[str, list[Floats]]]
"""By model and metric, for each condition the values (b,) of the cells as they are, and as drawn anew."""


@dataclass(frozen=True, eq=False)
class Comparison:
    """What was measured, and the facts about the data that explain it."""

    conditions: tuple[Condition, ...]
    values: Values
    one_out: bool
    notes: tuple[str, ...]
    common: tuple[float, float]
    """Mean correlation of the real changes of two conditions of a type, and the same where each is compared with its
    own half of the controls; NaN if no type has two."""
    changed: float
    """Mean share of the genes that change."""
    spread: float
    """Median over conditions of the variance of the predicted cells as a share of that of the real ones."""
    cells: tuple[int, int]
    """Predicted and real treated cells of the scored conditions."""


class _Cells:
    """The groups of one file, without copies of whole groups."""

    def __init__(self, side: Side, again: int, seed: int) -> None:
        self.side, self.again, self.seed, self.copied = side, again, seed, dict[str, int]()
        self._kept: dict[object, NDArray[np.int64]] = {}

    def rows(self, key: Condition | str) -> NDArray[np.int64]:
        if key not in self._kept:
            rows = self.side.treated[key] if isinstance(key, Condition) else self.side.controls[key]
            self._kept[key], times = once(self.side, rows)
            if times > 1 and len(self._kept[key]) > 1:
                self.copied[str(key) if isinstance(key, Condition) else f"controls {key}".strip()] = times
        return self._kept[key]

    def group(self, rows: NDArray[np.int64], axes: Floats, *name: object) -> Group:
        rng = stream(self.seed, f"cells drawn anew {name}") if self.again else None
        return group_of(self.side, rows, axes, self.again, rng)


def compare(pair: Pair, seed: int = 0) -> Comparison:
    """Return the values of all metrics. Raises `DataError` where no condition has two real cells."""
    asked = [k for k in pair.predicted.treated if len(pair.real.treated[k]) > 1]
    notes = []
    if few := len(pair.predicted.treated) - len(asked):
        notes.append(f"{few} conditions have a single real cell, so they were left out")
    if not asked:
        raise DataError(
            f"No predicted condition has 2 real cells in {pair.real.name}: there is nothing to compare with."
        )
    again = AGAIN if len(asked) < ENOUGH else 0
    predicted, real = _Cells(pair.predicted, again, seed), _Cells(pair.real, again, seed + 1)
    used = sorted({k.cell_type for k in asked})
    axes = axes_of(pair.real, [*(real.rows(k) for k in asked), *(real.rows(c) for c in used)])
    every = sorted({k.cell_type for k in pair.real.treated} & set(pair.real.controls))
    controls = {c: real.group(real.rows(c), axes, "control", c) for c in every}
    own = {c: _own_controls(predicted, controls[c], axes, c) for c in used}
    shared = all(np.allclose(own[c].means[0], controls[c].means[0], atol=1e-6) for c in used)
    treated = {k: real.group(real.rows(k), axes, *k) for k in asked}
    means = {
        k: treated[k].means[0] if k in treated else group_of(pair.real, real.rows(k), axes).means[0]
        for k in pair.real.treated
        if k.cell_type in controls
    }
    shifts = {k: mean - controls[k.cell_type].means[0] for k, mean in means.items()}
    ranked = [k for k in shifts if len(real.rows(k)) > 1]
    references, one_out = reference_shifts(shifts, asked)
    sigma = median_distance(np.concatenate([group.z for group in treated.values()]))
    values: Values = {}
    changed_shares, spreads, truths = [], [], dict[Condition, Truth]()
    for k in asked:
        control = controls[k.cell_type]
        others = np.array([shifts[j] for j in ranked if j != k and j.cell_type == k.cell_type])
        changed = changed_genes(treated[k], control)
        truth = Truth(treated[k], control, changed, others.reshape(-1, len(changed)), sigma)
        found = predicted.group(predicted.rows(k), axes, *k)
        _add(values, PREDICTION, measure(found, own[k.cell_type], truth))
        for name, of in references.items():
            if k in of:
                _add(values, name, measure(control.moved(of[k], axes), control, truth))
            else:
                _add(values, name, {metric: np.full(1 + again, np.nan) for metric in BETTER})
        truths[k] = truth
        changed_shares.append(changed.mean())
        spreads.append(found.variances[0].sum() / max(treated[k].variances[0].sum(), 1e-12))
    unasked = {k: means[k] for k in ranked if k not in truths}
    halvings = [_halved(real, truths, unasked, axes, shared, i) for i in range(HALVINGS)]
    for k in asked:
        found_halves = [halving[k] for halving in halvings if k in halving]
        _add(
            values,
            CEILING,
            {m: np.mean([each[m] for each in found_halves], axis=0) for m in found_halves[0]} if found_halves else {},
        )
    for cells in (predicted, real):
        if cells.copied:
            name, times = next(iter(cells.copied.items()))
            notes.append(
                f"every cell of {name} is there {times} times in {cells.side.name}, and was taken once: copies are no "
                f"further cells" + (f" (so in {len(cells.copied)} groups)" if len(cells.copied) > 1 else "")
            )
    mean_of = {c: controls[c].means[0] for c in used}
    halved = {c: _halves(real, c, axes, 0) for c in used}
    common = (
        _common({k: means[k] for k in asked}, {c: (mean_of[c], mean_of[c]) for c in used}),
        _common(
            {k: means[k] for k in asked},
            {c: (mean_of[c],) * 2 if h is None else (h[0].means[0], h[1].means[0]) for c, h in halved.items()},
        ),
    )
    n = tuple(sum(len(cells.rows(k)) for k in asked) for cells in (predicted, real))
    return Comparison(
        tuple(asked),
        values,
        one_out,
        tuple(notes),
        common,
        float(np.mean(changed_shares)),
        float(np.median(spreads)),
        (n[0], n[1]),
    )


def _own_controls(cells: _Cells, real: Group, axes: Floats, cell_type: str) -> Group:
    if cell_type not in cells.side.controls:
        return real
    return cells.group(cells.rows(cell_type), axes, "control", cell_type)


def _add(values: Values, model: str, found: Mapping[str, Floats]) -> None:
    for metric in BETTER:
        values.setdefault(model, {}).setdefault(metric, []).append(found.get(metric, np.full(1, np.nan)))


def _halved(
    cells: _Cells,
    truths: Mapping[Condition, Truth],
    unasked: Mapping[Condition, Floats],
    axes: Floats,
    shared: bool,
    number: int,
) -> dict[Condition, dict[str, Floats]]:
    """Return the metrics of one half of each condition's real cells as a prediction, with the other half as the truth.

    Ranks are among the halves and `unasked`, the mean expression (G,) of the real conditions that were not predicted.

    Where predictions are compared with the real controls (`shared`), so are both halves; otherwise controls are halved
    too. Conditions of fewer than 4 cells are left out.
    """
    controls: dict[str, tuple[Group, Group]] = {}
    for k, truth in truths.items():
        if k.cell_type not in controls:
            whole = (truth.control, truth.control)
            found = None if shared else _halves(cells, k.cell_type, axes, number)
            controls[k.cell_type] = found or whole
    halves = {k: found for k in truths if (found := _halves(cells, k, axes, number)) is not None}
    expressions = {**{k: half[1].means[0] for k, half in halves.items()}, **unasked}
    shifts = {k: x - controls[k.cell_type][1].means[0] for k, x in expressions.items() if k.cell_type in controls}
    out = {}
    for k, (one, other) in halves.items():
        u, v = controls[k.cell_type]
        others = [shift for j, shift in shifts.items() if j != k and j.cell_type == k.cell_type]
        truth = replace(truths[k], treated=other, control=v, others=np.array(others).reshape(-1, one.means.shape[1]))
        out[k] = measure(one, u, truth)
    return out


def _halves(cells: _Cells, key: Condition | str, axes: Floats, number: int) -> tuple[Group, Group] | None:
    """Return the two halves of a group, drawn by chance; None for fewer than 4 cells."""
    rows = cells.rows(key)
    if len(rows) < 4:
        return None
    order = stream(cells.seed, f"halves of {key}", number).permutation(len(rows))
    parts = (np.sort(order[: len(rows) // 2]), np.sort(order[len(rows) // 2 :]))
    one, other = (cells.group(rows[part], axes, "half", i, number, key) for i, part in enumerate(parts))
    return one, other


def _common(means: Mapping[Condition, Floats], halves: Mapping[str, tuple[Floats, Floats]]) -> float:
    """Return the mean correlation of the changes of two conditions of a type; NaN if no type has two.

    Args:
        means: the mean expression (G,) of conditions.
        halves: for each type, the mean expression of the controls that the first and the second one is compared with.
    """
    pairs = [pair for pair in combinations(means, 2) if pair[0].cell_type == pair[1].cell_type]
    found = []
    for a, b in pairs[:: max(1, len(pairs) // 500)]:
        u, v = halves[a.cell_type]
        found.append(float(correlation((means[a] - u)[None], (means[b] - v)[None])[0]))
    return float(np.mean(found)) if found else float("nan")
