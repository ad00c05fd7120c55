"""The two files of a score, predicted and real, as cells of the same genes, scale and conditions."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gendi.data.cells.matrices import matrices
from gendi.data.cells.perturbation.treatment import spelled, split_doses
from gendi.data.cells.read import read_h5ad
from gendi.data.cells.rows import CountRows
from gendi.data.cells.scoring.scales import Scale, log_rows, same, scale_of
from gendi.errors import DataError, Mend, UsageError, unknown_name

SHOWN = 5
"""Names that a message gives as examples."""
SIGN = "+"
"""What stands between the doses of a combination's parts in a message."""


class Condition(NamedTuple):
    """What treated cells have in common; the type is "" and the dose is 0 where there is no such column.

    The parts of a combination may have doses of their own; `dose` is then their geometric mean.
    """

    cell_type: str
    perturbation: str
    dose: float
    parts: tuple[float, ...] = ()
    """The doses of the parts of a combination, where they differ."""

    @property
    def written(self) -> str:
        """The dose as text, such as 3 or 1+0.5."""
        return spelled(self.parts or (self.dose,), SIGN)

    def __str__(self) -> str:
        dose = f" at {self.written}" if self.dose else ""
        return f"{self.perturbation}{dose}" + (f" in {self.cell_type}" if self.cell_type else "")


Doses = tuple[float, tuple[float, ...]]
"""The fields `dose` and `parts` of a condition."""


@dataclass(frozen=True)
class Columns:
    """The columns of `obs` that say what a cell is, and what says that it is a control."""

    perturbation: str
    control: str
    cell_type: str | None = None
    dose: str | None = None
    combine: str = SIGN
    """What stands between the doses of a combination's parts."""


@dataclass(frozen=True, eq=False)
class Side:
    """The cells of one file: rows of each condition and of each type's controls, and how to read them."""

    name: str
    matrix: Any
    columns: NDArray[np.int64]
    """The columns of the genes that are compared, in the order of the real cells."""
    logged: bool
    treated: Mapping[Condition, NDArray[np.int64]]
    controls: Mapping[str, NDArray[np.int64]]

    def expression(self, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return log-normalised expression (n, G) of some cells. Raises `DataError` for NaN and infinity."""
        try:
            return log_rows(self.matrix, rows, self.columns, self.logged)
        except DataError as error:
            raise DataError(f"{self.name}: {error}") from error


@dataclass(frozen=True, eq=False)
class Pair:
    """Predicted and real cells, the names of the genes that both have, and what a person should know of them."""

    predicted: Side
    real: Side
    genes: tuple[str, ...]
    notes: tuple[str, ...]


def read_pair(
    predicted: Any, real: Any, columns: Columns, layer: str | None = None, shared_genes: bool = False
) -> Pair:
    """Return the predicted and the real cells of two AnnData, or of two paths of an .h5ad.

    Raises:
        UsageError: a missing column, layer or control.
        DataError: files that cannot be read; genes that are missing, unless `shared_genes`; files of different scales;
            labels that are empty; predicted conditions that the real cells do not have.
    """
    found = [read_h5ad(str(each)) if isinstance(each, str | Path) else each for each in (predicted, real)]
    names = [
        Path(each).name if isinstance(each, str | Path) else word
        for each, word in ((predicted, "predicted"), (real, "real"))
    ]
    if names[0] == names[1]:
        names = [str(predicted), str(real)]
    for adata, name in zip(found, names, strict=True):
        _check(adata, name)
    genes, notes = _shared([list(map(str, adata.var_names)) for adata in found], names, shared_genes)
    labels = [_labels(adata, name, columns) for adata, name in zip(found, names, strict=True)]
    (treated, controls), (real_treated, real_controls) = labels
    _check_conditions(treated, real_treated, names)
    if not real_controls:
        raise _no_control(found[1], names[1], columns)
    for cell_type in sorted({condition.cell_type for condition in treated}):
        if cell_type not in real_controls:
            raise DataError(
                f"{names[1]} has no control cells of the type {cell_type!r}, and the effect of a perturbation is a "
                "difference from controls of the same type. Add some, or leave the type out."
            )
    if not all(condition.cell_type in controls for condition in treated):
        notes.append(f"{names[0]} lacks controls: the changes that it predicts are from the controls of {names[1]}")
        controls = {c: rows for c, rows in controls.items() if c not in {k.cell_type for k in treated}}
    chosen, more = _scales(found, names, layer)
    sides = []
    for i, (adata, (matrix, scale)) in enumerate(zip(found, chosen, strict=True)):
        place = {str(gene): j for j, gene in enumerate(adata.var_names)}
        filename = Path(adata.filename) if getattr(adata, "isbacked", False) else None
        take = np.array([place[gene] for gene in genes], np.int64)
        own = (treated, controls) if i == 0 else (real_treated, real_controls)
        sides.append(Side(names[i], CountRows(matrix, filename), take, scale.logged, *own))
    return Pair(sides[0], sides[1], tuple(genes), (*notes, *more))


def _check(adata: Any, name: str) -> None:
    if 0 in adata.shape:
        raise DataError(f"{name} has {adata.shape[0]} cells and {adata.shape[1]} genes: there is nothing to score.")
    if twice := [gene for gene, times in Counter(map(str, adata.var_names)).items() if times > 1]:
        raise DataError(
            f"{len(twice)} names belong to several genes in {name}, the first is {twice[0]!r}, and genes are matched "
            "by name. Give each gene its own name: adata.var_names_make_unique()."
        )


def _shared(genes: Sequence[list[str]], names: Sequence[str], allowed: bool) -> tuple[list[str], list[str]]:
    """Return the genes that both have in the order of the real ones, and notes."""
    predicted, real = set(genes[0]), set(genes[1])
    both = [gene for gene in genes[1] if gene in predicted]
    if not both:
        raise DataError(
            f"{names[0]} and {names[1]} have no gene in common: the names are like {genes[0][0]!r} in one and like "
            f"{genes[1][0]!r} in the other. Give both the same kind of names, symbols or Ensembl's, as var_names."
        )
    notes = []
    for own, other, here, there in ((genes[1], predicted, *names), (genes[0], real, *reversed(names))):
        if missing := [gene for gene in own if gene not in other]:
            some = ", ".join(missing[:SHOWN]) + (" and others" if len(missing) > SHOWN else "")
            what = f"{len(missing):,} of the {len(own):,} genes of {there} are missing in {here}: {some}"
            if here == names[0] and not allowed:
                raise DataError(
                    f"{what}. A score of the other genes can be better than one of all. Predict all of them, or score "
                    f"the {len(both):,} that both have with --shared-genes, in Python with shared_genes=True."
                ).mended_by(Mend(add=("--shared-genes",)))
            notes.append(f"{what}; scores are of the {len(both):,} genes that both have")
    if not notes and genes[0] != genes[1]:
        notes.append(f"the genes of {names[0]} are in another order than those of {names[1]}: matched by name")
    return both, notes


def _labels(
    adata: Any, name: str, columns: Columns
) -> tuple[dict[Condition, NDArray[np.int64]], dict[str, NDArray[np.int64]]]:
    """Return the rows of each condition, and those of the controls of each type."""
    for key in (columns.perturbation, columns.cell_type, columns.dose):
        if key is not None and key not in adata.obs:
            raise unknown_name(f"column of obs in {name}", key, [str(each) for each in adata.obs.columns])
    control = _controls(adata, columns)
    treated = ~control
    types = _words(adata.obs[columns.cell_type], columns.cell_type, name) if columns.cell_type else [""] * len(control)
    every = _words(adata.obs[columns.perturbation], columns.perturbation, name, treated)
    nothing: Doses = (0.0, ())
    doses = (
        _doses(adata.obs[columns.dose], columns.dose, name, treated, columns.combine)
        if columns.dose
        else [nothing] * len(control)
    )
    conditions: dict[Condition, list[int]] = {}
    controls: dict[str, list[int]] = {}
    for i, is_control in enumerate(control):
        if is_control:
            controls.setdefault(types[i], []).append(i)
        else:
            conditions.setdefault(Condition(types[i], every[i], *doses[i]), []).append(i)
    if not conditions:
        raise DataError(
            f"Every cell of {name} is a control ({columns.control!r} in {columns.perturbation!r}): there is no "
            "perturbation to score. --control says which cells are controls, and --perturbation where it is said."
        )
    return (
        {key: np.array(conditions[key]) for key in sorted(conditions)},
        {key: np.array(rows) for key, rows in controls.items()},
    )


def _controls(adata: Any, columns: Columns) -> NDArray[np.bool_]:
    if columns.control in adata.obs:
        column = adata.obs[columns.control].to_numpy()
        if np.isin(column, (0, 1)).all():
            return np.asarray(column, bool)
    return np.asarray(adata.obs[columns.perturbation].astype(object) == columns.control, bool)


def _no_control(adata: Any, name: str, columns: Columns) -> UsageError:
    known = sorted({str(word) for word in adata.obs[columns.perturbation].dropna()})
    return unknown_name(f"control in obs[{columns.perturbation!r}] of {name}", columns.control, known)


def _words(column: Any, key: str | None, name: str, kept: NDArray[np.bool_] | None = None) -> list[str]:
    missing = column.isna().to_numpy() if kept is None else column.isna().to_numpy() & kept
    if missing.any():
        raise DataError(
            f"obs[{key!r}] is empty (NaN) in {int(missing.sum()):,} of the {len(column):,} cells of {name}, the first "
            f"is {column.index[missing][0]!r}. Fill it in, or leave these cells out."
        )
    return [str(word) for word in column]


def _doses(column: Any, key: str, name: str, treated: NDArray[np.bool_], sign: str) -> list[Doses]:
    """Return the dose of each cell and those of its parts, (0, ()) for controls."""
    words = column.astype(object).tolist()
    known: dict[Any, Doses | None] = {word: _dose(word, sign) for word in {*words}}
    bad = [i for i, word in enumerate(words) if treated[i] and known[word] is None]
    if bad:
        raise DataError(
            f"obs[{key!r}] is no number above 0 in {len(bad):,} treated cells of {name}; the first is "
            f"{column.index[bad[0]]!r} with {words[bad[0]]!r}. Correct it, or mark these cells as controls. Parts of a "
            f"combination have one number for all, or one each, such as 1{sign}0.5."
        )
    return [(known[word] if own else None) or (0.0, ()) for word, own in zip(words, treated, strict=True)]


def _dose(word: Any, sign: str) -> Doses | None:
    """Return a dose, and the doses of parts where these differ; None for anything else than numbers above 0."""
    parts = split_doses(word, sign) if isinstance(word, str) else [word]
    try:
        doses = tuple(map(float, parts))
    except (TypeError, ValueError):
        return None
    if not (np.isfinite(doses).all() and min(doses) > 0):
        return None
    return (doses[0], ()) if len(set(doses)) == 1 else (float(np.exp(np.log(doses).mean())), doses)


def _check_conditions(predicted: Any, real: Any, names: Sequence[str]) -> None:
    """Raise `DataError` for conditions that are predicted and not real, with the nearest one."""
    for part, word in ((1, "perturbation"), (0, "cell type")):
        known = sorted({condition[part] for condition in real})
        strange = sorted({condition[part] for condition in predicted} - set(known))
        if strange:
            same_letters = [each for each in known if each.casefold() == strange[0].casefold()]
            near = same_letters or get_close_matches(strange[0], known, n=1)
            hint = f" Perhaps it is {near[0]!r} there." if near else f" It has {', '.join(known[:SHOWN])}."
            others = f" and {len(strange) - 1} more" if len(strange) > 1 else ""
            raise DataError(
                f"{names[0]} predicts the {word} {strange[0]!r}{others}, of which {names[1]} has no treated cell."
                f"{hint} Rename it, or leave these predictions out."
            )
    strange_ones = [condition for condition in predicted if condition not in real]
    if strange_ones:
        first = strange_ones[0]
        same_drug = [k for k in real if k.perturbation == first.perturbation]
        near_ones = [k for k in same_drug if k.cell_type == first.cell_type] or same_drug
        nearest = min(near_ones, key=lambda k: abs(np.log((k.dose or 1.0) / (first.dose or 1.0))))
        others = f" and {len(strange_ones) - 1} more conditions" if len(strange_ones) > 1 else ""
        raise DataError(
            f"{names[0]} predicts {first}{others}, of which {names[1]} has no cells. The nearest that it has is "
            f"{nearest}. Leave these predictions out, or correct their labels."
        )


def _scales(found: Sequence[Any], names: Sequence[str], layer: str | None) -> tuple[list[tuple[Any, Scale]], list[str]]:
    """Return a matrix and its scale for each file, of which both can be brought to one scale, and notes."""
    there = [matrices(adata) for adata in found]
    if layer is not None:
        for name, own in zip(names, there, strict=True):
            if layer not in own:
                raise unknown_name(f"layer of {name}", layer, list(own))
        tries = [(layer, layer)]
    else:
        counts = [[key for key in ("counts", "X", "raw") if key in own] for own in there]
        tries = [("X", "X")] * all("X" in own for own in there)
        tries += [(a, b) for a in counts[0] for b in counts[1] if (a, b) != ("X", "X")]
    if not tries:
        raise DataError(f"One of {names[0]} and {names[1]} has no matrix X, and --layer names no other.")
    seen: list[dict[str, Scale]] = [{}, {}]
    for keys in tries:
        both = []
        for i, key in enumerate(keys):
            if key not in seen[i]:
                seen[i][key] = scale_of(there[i][key])
            both.append(seen[i][key])
        if same(*both) and (keys == tries[0] or {scale.kind for scale in both} == {"counts"}):
            notes = []
            if keys != ("X", "X") and layer is None:
                notes.append(f"X differs in scale: scores are of {keys[0]} of {names[0]} and {keys[1]} of {names[1]}")
            if not both[0].logged:
                notes.append("expression was normalised to 10,000 per cell and its logarithm taken, ln(1 + y)")
            return [(there[i][key], scale) for i, (key, scale) in enumerate(zip(keys, both, strict=True))], notes
    first = [seen[i][tries[0][i]] for i in range(2)]
    raise DataError(
        f"{names[0]} looks like {first[0]}, and {names[1]} like {first[1]}: {_why(first)}. Bring both to the same "
        "scale, from counts for instance with sc.pp.normalize_total(adata, target_sum=1e4) and sc.pp.log1p(adata), or "
        "name a layer that both have with --layer."
    )


def _why(scales: Sequence[Scale]) -> str:
    if any(scale.kind not in ("counts", "scaled", "log1p") for scale in scales):
        return "scores are of counts or of log-normalised expression"
    return "a difference of the two would be one of scales, not of cells"
