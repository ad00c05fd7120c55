"""A check of an .h5ad: what it holds, everything that is wrong with it, and how to correct it.

Training itself stops at the first problem.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from gendi.data.cells.clusters import number_of_clusters
from gendi.data.cells.looks import CHUNK, Look, first_trouble, look_at
from gendi.data.cells.matrices import find_counts, matrices
from gendi.data.cells.normalise import depths
from gendi.data.cells.observations import conditions_of, sum_of_counts
from gendi.data.cells.rows import CountRows, JoinedCounts, sparse_rows
from gendi.data.cells.settings import Setup, read_setup
from gendi.data.cells.several import Part, join
from gendi.data.condition_report import ConditionReport, condition_report
from gendi.data.split import HELDOUT_ROWS_SHARE
from gendi.data.standing import FEW, in_words, rare_of, rows_by_class
from gendi.diffusion.config import ConditionConfig
from gendi.errors import DataError, UsageError

MITOCHONDRIAL = ("MT-", "mt-")


@dataclass(frozen=True)
class Problem:
    """One problem: an `error` prevents training, a `warning` does not."""

    severity: Literal["error", "warning"]
    what: str
    mend: str


@dataclass(frozen=True)
class CellsReport:
    """The findings of `check_cells`."""

    cells: int
    genes: int
    matrices: dict[str, Look]
    """The look of each matrix, by name."""
    counts: str | None
    """The name of the matrix that training would use; None if there is none."""
    depth: tuple[float, float, float] | None = None
    """The smallest, the median and the largest depth of a cell, which is the sum of its counts."""
    zeros: float | None = None
    """The share of counts that are 0."""
    silent_genes: int = 0
    """Number of genes without a count."""
    conditions: tuple[ConditionReport, ...] = ()
    left_out: dict[str, str] = field(default_factory=dict)
    """The columns of obs that cannot be conditions, and why."""
    problems: tuple[Problem, ...] = ()
    clusters: int = 0
    """How many clusters training divides the cells into where no condition with classes is named; 0 if none."""

    @property
    def usable(self) -> bool:
        """Whether training would begin."""
        return all(problem.severity != "error" for problem in self.problems)


def check_cells(adata: Any, layer: str | None = None) -> CellsReport:
    """Check an AnnData, or the counts in its `layer`, as training would. Raises `UsageError` for a missing layer."""
    cells, genes = adata.shape
    looking = {name: look_at(matrix) for name, matrix in matrices(adata).items()}
    problems = _shape_problems(adata)
    if not cells or not genes:
        return CellsReport(cells, genes, looking, None, problems=tuple(problems))
    try:
        name, matrix = find_counts(adata, layer or read_setup(adata).layer)
    except UsageError:
        raise
    except DataError as error:
        what, _, mend = str(error).rpartition(". ")
        problems.append(Problem("error", what, mend or str(error)))
        return CellsReport(cells, genes, looking, None, problems=tuple(problems))
    rows = CountRows(matrix)
    if (trouble := first_trouble(rows)) is not None:
        where = f"{name} has {trouble.value:g} for gene {adata.var_names[trouble.gene]!r} in cell {trouble.cell}"
        problems.append(Problem("error", where, "name the layer with the counts (--layer), or mend this one"))
        return CellsReport(cells, genes, looking, name, problems=tuple(problems))
    return _report(adata, read_setup(adata), looking, name, rows, problems)


def check_parts(parts: Sequence[tuple[str, Any]], layer: str | None = None) -> CellsReport:
    """Check several AnnData, each with a name, that are read as one (`gendi.data.cells.several`).

    What is wrong with one of them begins with its name. Raises `UsageError` for a missing layer.
    """
    reports = {name: check_cells(adata, layer) for name, adata in parts}
    looking = {f"{name}: {which}": look for name, report in reports.items() for which, look in report.matrices.items()}
    bad = [
        replace(problem, what=f"{name}: {problem.what}")
        for name, report in reports.items()
        for problem in report.problems
        if problem.severity == "error"
    ]
    cells, genes = (sum(report.cells for report in reports.values()), min(report.genes for report in reports.values()))
    if bad:
        return CellsReport(cells, genes, looking, None, problems=tuple(bad))
    try:
        both = join([Part.of(name, adata, layer) for name, adata in parts])
    except DataError as error:
        what, _, mend = str(error).rpartition(". ")
        return CellsReport(cells, genes, looking, None, problems=(Problem("error", what or str(error), mend),))
    said = [Problem("warning", note, "give files of the same genes, if these matter") for note in both.genes.lacking]
    return _report(both.adata, both.settings, looking, both.layer, both.rows, said)


def _report(
    adata: Any,
    settings: Setup,
    looking: dict[str, Look],
    name: str,
    rows: CountRows | JoinedCounts,
    problems: list[Problem],
) -> CellsReport:
    """Return the report on cells whose counts are whole numbers."""
    cells, genes = rows.shape
    depth, per_gene, entries = np.empty(cells), np.zeros(genes), 0
    for start in range(0, cells, CHUNK):
        block = sparse_rows(rows, slice(start, min(start + CHUNK, cells)))
        depth[start : start + CHUNK] = depths(block)
        per_gene += np.asarray(block.sum(0, dtype=np.float64)).reshape(-1)
        entries += int(block.count_nonzero())
    try:
        columns, left_out, _ = conditions_of(adata, settings, depth)
    except DataError as error:
        what, _, mend = str(error).rpartition(". ")
        problems.append(Problem("error", what, mend))
        columns, left_out, _ = conditions_of(adata, Setup(), depth)
    mend = "rename the column, if a depth is to be requested as depth"
    problems += [Problem("warning", note, mend) for note in sum_of_counts(columns, depth)[1]]
    problems += _count_problems(adata, depth, per_gene) + _class_problems([(spec, rows) for spec, rows, _ in columns])
    return CellsReport(
        cells,
        genes,
        looking,
        name,
        (float(depth.min()), float(np.median(depth)), float(depth.max())),
        1 - entries / (cells * genes),
        int((per_gene == 0).sum()),
        tuple(condition_report(spec, values) for spec, values, _ in columns),
        left_out,
        tuple(problems),
        number_of_clusters(cells - round(HELDOUT_ROWS_SHARE * cells)),
    )


def _shape_problems(adata: Any) -> list[Problem]:
    cells, genes = adata.shape
    found = []
    if not cells or not genes:
        found.append(Problem("error", f"there are {cells} cells and {genes} genes", "give data that have some of both"))
    for axis, names in (("var", adata.var_names), ("obs", adata.obs_names)):
        if twice := [name for name, times in Counter(map(str, names)).items() if times > 1]:
            what = f"{len(twice)} names of {axis} stand for several, the first is {twice[0]!r}"
            severity: Literal["error", "warning"] = "error" if axis == "var" else "warning"
            found.append(Problem(severity, what, f"adata.{axis}_names_make_unique()"))
    return found


def _count_problems(adata: Any, depth: Any, per_gene: Any) -> list[Problem]:
    found = []
    if empty := int((depth == 0).sum()):
        first = adata.obs_names[int((depth == 0).argmax())]
        what = f"{empty} cells have no counts, the first is {first!r}"
        found.append(Problem("error", what, "sc.pp.filter_cells(adata, min_counts=1)"))
    if silent := int((per_gene == 0).sum()):
        found.append(Problem("warning", f"{silent} genes have no counts", "sc.pp.filter_genes(adata, min_counts=1)"))
    shallow = depth[depth > 0]
    if len(shallow) and np.median(shallow) < 100:
        what = f"half of the cells have fewer than {np.median(shallow):.0f} counts"
        found.append(Problem("warning", what, "model only the most variable genes (--cells.genes 1000)"))
    if len(depth) < 50:
        found.append(Problem("warning", f"there are {len(depth)} cells", "hundreds are needed to learn from"))
    return found


def _class_problems(columns: list[tuple[ConditionConfig, Any]]) -> list[Problem]:
    found = []
    specs = [spec for spec, _ in columns]
    for name, counts in rows_by_class(specs, {spec.name: rows for spec, rows in columns}).items():
        small = {label: count for label, count in counts.items() if count < 10}
        if small:
            what = f"{name}: {len(small)} of {len(counts)} classes have fewer than 10 cells: {in_words(small)}"
            found.append(Problem("warning", what, "join them with another class, or do not trust their samples"))
        few = {label: count for label, count in rare_of(counts).items() if count >= 10}
        if few:
            what = f"{name}: {len(few)} of {len(counts)} classes have fewer than {FEW} cells: {in_words(few)}"
            mend = (
                "nothing; samples of them are like the class that they are most like, where their cells do not differ"
            )
            found.append(Problem("warning", what, mend))
    return found
