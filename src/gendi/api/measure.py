"""Evaluating samples against data from Python."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gendi.api.classes import asked_classes, without_class
from gendi.api.models import Models
from gendi.api.prepared import prepare
from gendi.api.proportions import Proportions
from gendi.api.request import Request
from gendi.api.sample import draw
from gendi.api.token_likelihood import bits_per_letter
from gendi.data import open_data
from gendi.data.codec import Codec
from gendi.data.images.class_metrics import may_read
from gendi.data.images.latents import LatentCodec
from gendi.data.kinds import IN_MEMORY, kind_of
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
            drawn in the proportions of the training pictures (`gendi.api.proportions`). For pictures of classes, some
            samples more are drawn without a class, whose shares of the classes are then measured.
        data: the data to compare with; a model's own training data by default. Of an object in memory, the same groups
            are held out as in training (`gendi.fit(..., split_by=...)`).
        n, seed, options: the options of the kind of data; those for pictures are the options of
            `gendi.data.images.evaluation.evaluate`.
    """
    size = split_by = None
    if isinstance(samples, Bundle | str | Path):
        bundle = samples if isinstance(samples, Bundle) else load_bundle(samples)
        if data is None:
            data = bundle.meta.get("data_spec")
            if data == IN_MEMORY:
                raise UsageError(
                    "This model was trained on an object in memory, which its bundle does not hold: give it, "
                    "gendi.measure(model, data)."
                )
        size = bundle.codec.size
        split_by = None if isinstance(data, str | Path) else bundle.meta.get("split_by")
    if data is None:
        raise UsageError("say which data to compare with: data='mnist', or a path.")
    opened = open_data(data, size=size, split_by=split_by)
    kind = kind_of(opened.kind)
    if isinstance(samples, Bundle | str | Path):
        shares = Proportions.of(bundle.config.conditions, opened) if kind.pictures else None
        request = dataclasses.replace(Request.of(bundle, n, {"seed": seed}), proportions=shares)
        prepared = prepare(request, Models.read(bundle, None))
        samples = draw(prepared)
        if "bits" in kind.evaluation_options:
            options = {"bits": bits_per_letter(bundle, opened, seed=seed).estimate, **options}
        if (restore := restoring(bundle.codec)) is not None:
            options = {"restore": restore, **options}
        if "asked" in kind.evaluation_options and (asked := asked_classes(prepared, opened)) is not None:
            options = {"asked": asked, **options}
            free = (
                without_class(request, bundle) if "free" not in options and may_read(opened, _names(options)) else None
            )
            if free is not None:
                options["free"] = draw(prepare(free, prepared.models))
    return kind.evaluate(samples, opened, n=n, seed=seed, **options)


def restoring(codec: Codec) -> Callable[[np.ndarray], np.ndarray] | None:
    """Return what encodes and decodes pictures, if a model works in the latents of an autoencoder; else None."""
    return codec.restored if isinstance(codec, LatentCodec) else None


def _names(options: Mapping[str, Any]) -> list[str]:
    """Return the names of the extractors among the options of an evaluation; none for the usual one."""
    given = options.get("extractor", ())
    several = [given] if isinstance(given, str) or not isinstance(given, Sequence) else list(given)
    return [each if isinstance(each, str) else each.name for each in several]
