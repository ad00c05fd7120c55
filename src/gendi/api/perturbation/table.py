"""The effects of a fitted model as a table."""

from typing import Any

import numpy as np

from gendi.api.perturbation.model import Perturbation
from gendi.data.cells.extra import require

Z = 1.959963984540054


def effects(model: Perturbation, *, cell_type: str | None = None, drug: str | None = None) -> Any:
    """Return the predicted log-fold changes at the tested doses as a DataFrame.

    Its columns are `cell_type`, `drug`, `dose`, `gene`, `log_fold_change` (natural logarithm), and, where the model
    knows standard errors, `low` and `high`, a 95% interval.

    Args:
        model: a fitted model.
        cell_type, drug: only these; all types with controls and all drugs by default.

    Raises:
        UsageError: an unknown type or drug; the nearest name is suggested.
    """
    pandas, e = require("pandas"), model.experiment
    types = range(len(e.type_names)) if cell_type is None else [e.type_number(cell_type)]
    drugs = range(len(e.drug_names)) if drug is None else [e.drug_number(drug)]
    error_of = getattr(model.effects, "standard_error", None)
    parts = []
    for c in types:
        for d in drugs:
            for x in np.unique(e.doses[e.drugs == d]).tolist():
                lfc = model.effects.lfc(c, d, x)
                columns = {"gene": list(e.genes), "log_fold_change": lfc}
                if error_of is not None:
                    half = Z * error_of(c, d, x)
                    columns |= {"low": lfc - half, "high": lfc + half}
                about = {"cell_type": e.type_names[c], "drug": e.drug_names[d], "dose": x}
                parts.append(pandas.DataFrame({**about, **columns}))
    return pandas.concat(parts, ignore_index=True)
