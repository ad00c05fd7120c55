"""The effects of a fitted model as a table."""

from typing import Any

import numpy as np

from gendi.api.perturbation.model import Perturbation
from gendi.data.cells.extra import require
from gendi.data.cells.perturbation.treatment import Treatment, spelled
from gendi.errors import unknown_name

Z = 1.959963984540054


def effects(model: Perturbation, *, cell_type: str | None = None, drug: str | None = None) -> Any:
    """Return the predicted log-fold changes at the tested doses, also of combinations, as a DataFrame.

    Its columns are `cell_type`, `drug`, `dose` (where treatments have doses; words such as "1+0.5" where there are
    combinations), `gene`, `log_fold_change` (natural logarithm), and `low` and `high`, a 95% interval.

    Args:
        model: a fitted model.
        cell_type, drug: only these; all types with controls and all drugs and combinations by default.

    Raises:
        UsageError: an unknown type or drug; the nearest name is suggested.
    """
    pandas, e = require("pandas"), model.experiment
    known = e.treatment_names
    if drug is not None and drug not in known:
        raise unknown_name(e.kind, drug, known)
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
            columns = {"gene": list(e.genes), "log_fold_change": lfc, "low": lfc - half, "high": lfc + half}
            parts.append(pandas.DataFrame({**about, **columns}))
    return pandas.concat(parts, ignore_index=True)
