"""The effects of a fitted model as a table."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from gendi.api.perturbation.model import Perturbation
from gendi.data.cells.extra import require
from gendi.data.cells.perturbation.treatment import Treatment, spelled
from gendi.errors import unknown_name

Z = 1.959963984540054


def effects(
    model: Perturbation,
    *,
    cell_type: str | None = None,
    drug: str | None = None,
    genes: str | Sequence[str] | None = None,
) -> Any:
    """Return the predicted log-fold changes at the tested doses, also of combinations, as a DataFrame.

    Its columns are `cell_type`, `drug`, `dose` (where treatments have doses; words such as "1+0.5" where there are
    combinations), `gene`, `log_fold_change` (natural logarithm), and `low` and `high`, a 95% interval.

    Args:
        model: a fitted model.
        cell_type, drug, genes: only these; all types with controls, all drugs and combinations, and all genes by
            default.

    Raises:
        UsageError: an unknown type, drug or gene; the nearest name is suggested.
    """
    pandas, e = require("pandas"), model.experiment
    known = e.treatment_names
    if drug is not None and drug not in known:
        raise unknown_name(e.kind, drug, known)
    number = {gene: g for g, gene in enumerate(e.genes)}
    genes = (genes,) if isinstance(genes, str) else genes
    for gene in genes or ():
        if gene not in number:
            raise unknown_name("gene", gene, number)
    kept = np.array([number[gene] for gene in e.genes if genes is None or gene in genes], np.int64)
    types = range(len(e.type_names)) if cell_type is None else [e.type_number(cell_type)]
    given = [Treatment((d,), (x,)) for d in e.singles for x in np.unique(e.doses[e.drugs == d]).tolist()]
    given = [each for each in [*given, *e.combinations.values()] if drug in (None, e.name_of(each))]
    parts = []
    for c in types:
        for treatment in given:
            lfc, variance = model.effects.effect(c, treatment)
            half = Z * np.sqrt(variance)
            about: dict[str, Any] = {"cell_type": e.type_names[c], "drug": e.name_of(treatment)}
            if e.dosed:
                about["dose"] = spelled(treatment.doses, str(e.sign)) if e.combinations else treatment.doses[0]
            columns = {"log_fold_change": lfc[kept], "low": (lfc - half)[kept], "high": (lfc + half)[kept]}
            parts.append(pandas.DataFrame({**about, "gene": [e.genes[g] for g in kept], **columns}))
    return pandas.concat(parts, ignore_index=True)
