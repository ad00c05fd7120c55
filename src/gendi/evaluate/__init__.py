"""Metrics of samples, on features and on rows, each beside its floor: the value that real data have in the samples'
place. This package does not know any kind of data."""

from typing import TYPE_CHECKING

from gendi.machine.lazy import lazy_names

if TYPE_CHECKING:
    from gendi.evaluate.comparison import Difference as Difference
    from gendi.evaluate.comparison import compare as compare
    from gendi.evaluate.metrics import FeatureStatistics as FeatureStatistics
    from gendi.evaluate.metrics import density_coverage as density_coverage
    from gendi.evaluate.metrics import frechet_distance as frechet_distance
    from gendi.evaluate.metrics import frechet_from_features as frechet_from_features
    from gendi.evaluate.metrics import kernel_distance as kernel_distance
    from gendi.evaluate.metrics import precision_recall as precision_recall
    from gendi.evaluate.result import Evaluation as Evaluation
    from gendi.evaluate.result import Metric as Metric

_HOMES = {
    "Difference": "gendi.evaluate.comparison",
    "Evaluation": "gendi.evaluate.result",
    "FeatureStatistics": "gendi.evaluate.metrics",
    "Metric": "gendi.evaluate.result",
    "compare": "gendi.evaluate.comparison",
    "density_coverage": "gendi.evaluate.metrics",
    "frechet_distance": "gendi.evaluate.metrics",
    "frechet_from_features": "gendi.evaluate.metrics",
    "kernel_distance": "gendi.evaluate.metrics",
    "precision_recall": "gendi.evaluate.metrics",
}
__all__ = [
    "Difference",
    "Evaluation",
    "FeatureStatistics",
    "Metric",
    "compare",
    "density_coverage",
    "frechet_distance",
    "frechet_from_features",
    "kernel_distance",
    "precision_recall",
]
__getattr__, __dir__ = lazy_names(__name__, _HOMES)
