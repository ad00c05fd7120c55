"""How good are the samples: distances on features, classes, memorisation, each beside its real-against-real floor.

    from gendi.data import open_data
    from gendi.evaluate import evaluate
    evaluate(samples, open_data("mnist")).table()

Importing this package is light; what computes is loaded when it is first named.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gendi.evaluate.evaluation import evaluate, load_samples
    from gendi.evaluate.extractors import EXTRACTORS, Extractor, ModuleExtractor, get_extractor
    from gendi.evaluate.metrics import (
        FeatureStatistics,
        density_coverage,
        frechet_distance,
        frechet_from_features,
        kernel_distance,
        precision_recall,
    )
    from gendi.evaluate.result import Evaluation, Metric, compare

_HOME = {
    "evaluate": "evaluation",
    "load_samples": "evaluation",
    "EXTRACTORS": "extractors",
    "Extractor": "extractors",
    "ModuleExtractor": "extractors",
    "get_extractor": "extractors",
    "FeatureStatistics": "metrics",
    "density_coverage": "metrics",
    "frechet_distance": "metrics",
    "frechet_from_features": "metrics",
    "kernel_distance": "metrics",
    "precision_recall": "metrics",
    "Evaluation": "result",
    "Metric": "result",
    "compare": "result",
}
__all__ = [
    "EXTRACTORS",
    "Evaluation",
    "Extractor",
    "FeatureStatistics",
    "Metric",
    "ModuleExtractor",
    "compare",
    "density_coverage",
    "evaluate",
    "frechet_distance",
    "frechet_from_features",
    "get_extractor",
    "kernel_distance",
    "load_samples",
    "precision_recall",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(f"gendi.evaluate.{_HOME[name]}"), name)
    raise AttributeError(f"module 'gendi.evaluate' has no attribute {name!r}")
