"""Features that several processes compute together: each computes the features and the partial sums of its share.

A process that is alone computes everything.
"""

import functools
from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float32

from gendi.data.images.extractors import Extractor
from gendi.data.images.tensors import Images
from gendi.evaluate.metrics import Features, FeatureStatistics, frechet_distance, frechet_from_features
from gendi.machine.distributed import team
from gendi.machine.stopping import Poll


def features_of(
    extractor: Extractor, n: int, rows: Callable[[slice], Images], poll: Poll | None = None
) -> Float32[np.ndarray, "n d"]:
    """Return the features (n, d) of n images in every process.

    `rows` returns the images of a slice; it is called only for the share of this process. If there are fewer images
    than processes, each process computes all.
    """
    members = team()
    if n < members.size:
        return extractor(rows(slice(0, n)), poll=poll)
    shares = members.shares(n)
    mine = extractor(rows(shares[members.rank]), poll=poll)
    return members.join_rows(torch.from_numpy(mine), shares).numpy()


def statistics(features: Features) -> FeatureStatistics:
    """Return count, mean and covariance of `features`, merged from the shares of all processes."""
    members = team()
    if len(features) < 2 * members.size:
        return FeatureStatistics.from_features(features)
    mine = FeatureStatistics.from_features(features[members.shares(len(features))[members.rank]])
    every: list[FeatureStatistics] = members.gathered(mine)
    return functools.reduce(FeatureStatistics.merge, every)


def frechet(x: Features, y: Features) -> float:
    """Return `frechet_from_features` of features that every process has."""
    if team().size == 1 or len(x) + len(y) <= 2 * x.shape[1]:
        return team().from_first(lambda: frechet_from_features(x, y))
    a, b = statistics(x), statistics(y)
    return team().from_first(lambda: frechet_distance(a.mean, a.covariance, b.mean, b.covariance))
