"""Scores of a prediction, as text, as a dictionary and as a DataFrame."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gendi.data.cells.extra import require
from gendi.data.cells.scoring.compare import CEILING, PREDICTION, Comparison
from gendi.data.cells.scoring.inputs import Condition
from gendi.data.cells.scoring.intervals import interval_of, mean_of
from gendi.data.cells.scoring.metrics import BETTER, RANGE
from gendi.data.cells.scoring.wins import explained
from gendi.machine.tables import cell, html_table, table


@dataclass(frozen=True)
class Score:
    """A mean over conditions, with its 95% interval; None where it has no value."""

    value: float | None
    interval: tuple[float, float] | None


def _limited(metric: str, interval: tuple[float, float] | None) -> tuple[float, float] | None:
    low, high = RANGE.get(metric, (-np.inf, np.inf))
    return None if interval is None else (max(interval[0], low), min(interval[1], high))


@dataclass(frozen=True, repr=False)
class Scores:
    """Scores of a prediction beside those of simple references and of real cells.

    `scores[model][metric]` has a value and its interval, for the models "prediction", "control", "training mean",
    "additive", "ridge" and "interpolation" where they can be made, and "ceiling".
    """

    predicted: str
    real: str
    genes: int
    cells: tuple[int, int]
    """Predicted and real treated cells that were compared."""
    conditions: tuple[Condition, ...]
    scores: Mapping[str, Mapping[str, Score]]
    explanation: tuple[str, ...]
    """Which metrics a mean model wins, and why."""
    notes: tuple[str, ...]
    each: Mapping[str, Mapping[str, tuple[float, ...]]] = field(default_factory=dict)
    """By model and metric, the value of each condition; NaN where a metric has no meaning."""

    @classmethod
    def of(cls, comparison: Comparison, predicted: str, real: str, genes: int, notes: tuple[str, ...]) -> "Scores":
        """Return the scores of a comparison."""
        models = [PREDICTION, *(name for name in comparison.values if name not in (PREDICTION, CEILING)), CEILING]
        scores, each = {}, {}
        for model in models:
            of = comparison.values[model]
            scores[model] = {m: Score(mean_of(of[m]), _limited(m, interval_of(of[m]))) for m in BETTER}
            each[model] = {m: tuple(float(value[0]) for value in of[m]) for m in BETTER}
        said = (*notes, *comparison.notes)
        return cls(
            predicted,
            real,
            genes,
            comparison.cells,
            comparison.conditions,
            scores,
            tuple(explained(comparison)),
            said,
            each,
        )

    def _rows(self) -> tuple[list[list[object]], list[str]]:
        others = [name for name in self.scores if name != PREDICTION]
        rows = list[list[object]]()
        for metric, better in BETTER.items():
            own = self.scores[PREDICTION][metric]
            low_high = "-" if own.interval is None else f"{cell(own.interval[0])} to {cell(own.interval[1])}"
            rows.append([metric, own.value, low_high, *(self.scores[name][metric].value for name in others), better])
        return rows, ["metric", PREDICTION, "95% interval", *others, "better"]

    def table(self) -> str:
        """Return the metrics of the prediction with intervals, and of the references, as text."""
        return table(*self._rows())

    def __repr__(self) -> str:
        return "\n".join([self.table(), "", *self.explanation])

    def _repr_html_(self) -> str:
        return html_table(*self._rows())

    def frame(self) -> Any:
        """Return the values of each condition as a pandas DataFrame with a row for each condition and model.

        Doses are numbers, and words such as "1+0.5" where parts of a combination have doses of their own.
        """
        rows, several = [], any(condition.parts for condition in self.conditions)
        for i, condition in enumerate(self.conditions):
            for model, metrics in self.each.items():
                about = {"cell_type": condition.cell_type, "perturbation": condition.perturbation}
                dose = condition.written if several else condition.dose
                found = {m: values[i] for m, values in metrics.items()}
                rows.append({**about, "dose": dose, "model": model, **found})
        return require("pandas").DataFrame(rows)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain lists and numbers, for JSON."""
        names = [str(condition) for condition in self.conditions]
        return {
            "predicted": self.predicted,
            "real": self.real,
            "genes": self.genes,
            "cells": {"predicted": self.cells[0], "real": self.cells[1]},
            "better": dict(BETTER),
            "scores": {
                model: {
                    name: {"value": score.value, "interval": None if score.interval is None else list(score.interval)}
                    for name, score in metrics.items()
                }
                for model, metrics in self.scores.items()
            },
            "conditions": {
                name: {
                    model: {m: None if np.isnan(values[i]) else values[i] for m, values in metrics.items()}
                    for model, metrics in self.each.items()
                }
                for i, name in enumerate(names)
            },
            "explanation": list(self.explanation),
            "notes": list(self.notes),
        }
