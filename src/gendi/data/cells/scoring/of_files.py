"""Scores of predicted cells, whatever model predicted them."""

from typing import Any

from gendi.data.cells.scoring.compare import compare
from gendi.data.cells.scoring.inputs import Columns, read_pair
from gendi.data.cells.scoring.result import Scores


def score(
    predicted: Any,
    real: Any,
    *,
    control: str,
    perturbation: str,
    cell_type: str | None = None,
    dose: str | None = None,
    combine: str = "+",
    layer: str | None = None,
    shared_genes: bool = False,
    seed: int = 0,
) -> Scores:
    """Score cells that a model predicted under perturbations against real cells, beside simple references.

    Args:
        predicted: an AnnData or the path of an .h5ad: predicted cells, and perhaps controls. Its conditions are scored.
        real: the same of real cells, with controls. Conditions that are not predicted serve the references only.
        control: the name that controls have in the column `perturbation`, or a column of booleans.
        perturbation: the column of `obs` with drugs or genes.
        cell_type: the column with types of cells; changes are then from controls of the same type.
        dose: the column with doses, numbers above 0, or words such as "1+0.5" with the dose of each part of a
            combination.
        combine: what stands between the doses of parts.
        layer: the matrix of both files to compare: a layer's name, "X" or "raw". By default X, or counts where X
            differs in scale.
        shared_genes: whether to score the genes that both files have, where genes of the real cells are missing.
        seed: the seed of the halves of real cells and of cells that are drawn anew.

    Raises:
        UsageError: a missing column, layer or control; the nearest name is suggested.
        DataError: files that cannot be read, differ in genes or in scale, labels that are empty, and predicted
            conditions of which there are no real cells.
    """
    pair = read_pair(predicted, real, Columns(perturbation, control, cell_type, dose, combine), layer, shared_genes)
    return Scores.of(compare(pair, seed), pair.predicted.name, pair.real.name, len(pair.genes), pair.notes)
