"""Evaluating samples against data from Python."""

from pathlib import Path
from typing import Any

from gendi.api.proportions import Proportions
from gendi.api.sample import sample
from gendi.data import open_data
from gendi.data.kinds import kind_of
from gendi.errors import UsageError
from gendi.evaluate import Evaluation
from gendi.train.kept.bundle import Bundle, load_bundle


def measure(
    samples: Any,
    data: Any = None,
    *,
    n: int = 1000,
    seed: int = 0,
    **options: Any,
) -> Evaluation:
    """Evaluate samples against data, and return every metric with its floor.

    Args:
        samples: bytes (N, H, W, C), an AnnData or a DataFrame; or a model to draw n samples from. Unequal classes are
            drawn in the proportions of the training pictures (`gendi.api.proportions`).
        data: the data to compare with; a model's own training data by default.
        n, seed, options: the options of the kind of data; those for pictures are the options of
            `gendi.data.images.evaluation.evaluate`.
    """
    size = None
    if isinstance(samples, Bundle | str | Path):
        bundle = samples if isinstance(samples, Bundle) else load_bundle(samples)
        data = data or bundle.meta.get("data_spec")
        size = bundle.codec.size
    if data is None:
        raise UsageError("say which data to compare with: data='mnist', or a path.")
    opened = open_data(data, size=size)
    kind = kind_of(opened.kind)
    if isinstance(samples, Bundle | str | Path):
        shares = Proportions.of(bundle.config.conditions, opened) if kind.pictures else None
        samples = sample(bundle, n, seed=seed, condition=None if shares is None else shares.values(range(n)))
    return kind.evaluate(samples, opened, n=n, seed=seed, **options)
