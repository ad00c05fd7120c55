"""What an autoencoder costs: the metrics of real held-out pictures that were encoded and decoded.

    latent-floor-F         the Fréchet distance on features F of decode(encode(held-out)) to training pictures
    reconstruction-psnr    the peak signal-to-noise ratio of decode(encode(x)) to x, in decibels, mean over pictures

A model of latents draws no better pictures than its decoder makes, so its distance ends near the latent floor.
"""

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Int64, UInt8

from gendi.data.dataset import Data
from gendi.data.images.codec import to_planes
from gendi.data.images.extractors import Extractor
from gendi.data.images.feature_cache import reference_features
from gendi.data.images.shared_features import features_of, frechet
from gendi.diffusion.autoencoder.losses import psnr
from gendi.errors import UsageError
from gendi.evaluate.intervals import of_mean
from gendi.evaluate.result import Estimate, Metric
from gendi.machine.stopping import Poll

Restore = Callable[[np.ndarray], np.ndarray]
"""Encodes and decodes pictures, bytes (N, H, W, C)."""
MOST_DECIBELS = 100.0
"""What a picture counts that comes back without any error."""


def restored_metrics(
    extractor: Extractor,
    restored: UInt8[np.ndarray, "m h w c"],
    data: Data,
    reference: Int64[np.ndarray, " n"],
    fid: Metric | None,
    poll: Poll | None = None,
) -> list[Metric]:
    """Return the latent floor on features; nothing if there are too few pictures for a distance.

    Args:
        extractor: computes the features.
        restored: held-out pictures that were encoded and decoded.
        data: the raw data.
        reference: numbers of training pictures to compare with.
        fid: the Fréchet distance of the samples on these features, whose floor is that of real pictures.
        poll: called between batches; raises to stop.
    """
    features = features_of(extractor, len(restored), lambda part: restored[part], poll)
    real = reference_features(extractor, data.train.rows, reference, f"{data.fingerprint}/train", poll=poll)
    try:
        value = frechet(real, features)
    except UsageError:
        return []
    floor = Estimate(None) if fid is None else Estimate(fid.floor, fid.floor_error, fid.floor_interval)
    return [Metric.of(f"latent-floor-{extractor.name}", Estimate(value), floor, "lower", extractor=extractor.name)]


def reconstruction_metric(pictures: UInt8[np.ndarray, "m h w c"], restored: UInt8[np.ndarray, "m h w c"]) -> Metric:
    """Return the mean of 10 log10(255^2 / mean (x - y)^2) over pictures x and what came back of them, y."""
    x, y = (to_planes(torch.from_numpy(np.ascontiguousarray(rows))) for rows in (pictures, restored))
    decibels = psnr(x, y).clamp(max=MOST_DECIBELS).numpy()
    return Metric.of("reconstruction-psnr", of_mean(decibels), Estimate(None), "higher")
