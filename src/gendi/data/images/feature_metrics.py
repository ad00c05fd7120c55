"""The metrics of pictures on features, each with its floor and the intervals of both.

The floor is the mean over several disjoint deals of held-out images wherever there are four or more of them and the
features are cheap to compute; its interval is Student's, of the deals' mean. Otherwise there is one deal, and its
interval is found as that of the samples: see `gendi.evaluate.intervals`. The check of a metric says whether it is a
grade on these data: see `gendi.data.images.control_checks`.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np
from jaxtyping import Int64

from gendi.data.dataset import Data
from gendi.data.images.control_checks import CHEAP, DENSITY_K, PRECISION_K, ControlCheck
from gendi.data.images.extractors import Extractor
from gendi.data.images.feature_cache import reference_features
from gendi.data.images.shared_features import features_of, frechet
from gendi.errors import UsageError
from gendi.evaluate import metrics as m
from gendi.evaluate.feature_intervals import crowding, design_effects, frechet_distances, frechet_error, kernel_error
from gendi.evaluate.infinity import frechet_at_infinity, rows_needed
from gendi.evaluate.intervals import measured, measured_distance, of_deals, of_dependent_share, of_mean, of_share
from gendi.evaluate.result import GENDI_REPORT, Better, Estimate, ExtractorRecord, Metric
from gendi.machine.distributed import team
from gendi.machine.stopping import Poll, may_stop

T = TypeVar("T")
FEWEST_DEALS, MOST_DEALS = 4, 8
BETTER: dict[str, Better] = {
    "fid": "lower",
    "kid": "lower",
    "precision": "higher",
    "recall": "higher",
    "density": "higher",
    "coverage": "higher",
}


def feature_metrics(
    extractor: Extractor,
    images: np.ndarray,
    data: Data,
    reference: Int64[np.ndarray, " n"],
    deals: Sequence[Int64[np.ndarray, " m"]],
    seed: int,
    infinity: bool,
    poll: Poll | None,
) -> tuple[ExtractorRecord, list[Metric], list[str]]:
    """Return the metrics of images (n, H, W, C) against training images, and notes.

    `reference` holds indices of training images; `deals` are disjoint sets of indices of held-out images, of which the
    first is used, or up to eight. With `infinity` the Fréchet distance is extrapolated too, and its floor is that of
    the first of them.
    """
    fake = features_of(extractor, len(images), lambda part: images[part], poll)
    key, name = data.fingerprint, extractor.name
    real = reference_features(extractor, data.train.rows, reference, f"{key}/train", poll=poll)
    several = name in CHEAP and len(deals) >= FEWEST_DEALS and min(len(deals[0]), len(reference)) > DENSITY_K
    used = deals[: MOST_DEALS if several else 1]
    unseen = [reference_features(extractor, data.heldout.rows, deal, f"{key}/heldout", poll=poll) for deal in used]
    record = ExtractorRecord(name, extractor.sha256, extractor.resize, fake.shape[1])
    notes: list[str] = []

    def whole(who: str, features: np.ndarray) -> dict[str, Estimate]:
        may_stop(poll)
        missing = f"{name}: no {who} of some metrics."
        fid = _tried(lambda: frechet(real, features), missing, notes)
        return team().from_first(lambda: _estimates(real, features, fid, seed, missing, notes, poll))

    values = whole("value", fake)
    floors = whole("floor", unseen[0]) if len(used) == 1 else team().from_first(lambda: _of_deals(real, unseen, poll))
    if len(used) > 1:
        notes.append(
            f"{name}: the floors are means over {len(used)} disjoint deals of {len(used[0]):,} held-out images, and "
            "their intervals are those of these means."
        )
    control = ControlCheck(extractor, data, len(images), seed, poll)
    checks = team().from_first(lambda: control.checks(fake))
    notes += control.in_words()
    report = GENDI_REPORT.get(f"fid-{name}") if data.name == "mnist" else None
    found = [
        Metric.of(
            f"{metric}-{name}",
            values.get(metric, Estimate(None)),
            floors.get(metric, Estimate(None)),
            better,
            report=report if metric == "fid" else None,
            extractor=name,
            check=checks.get(metric),
        )
        for metric, better in BETTER.items()
    ]
    if infinity:
        extrapolated = team().from_first(lambda: _at_infinity(real, fake, unseen[0], name, seed, notes, poll))
        check = checks.get("fid")  # a distance that misses a fake misses it at every n
        found.insert(1, replace(extrapolated, check=None if check is None else replace(check, value=None)))
    return record, found, list(dict.fromkeys(notes))


def _estimates(
    real: np.ndarray,
    features: np.ndarray,
    fid: float | None,
    seed: int,
    missing: str,
    notes: list[str],
    poll: Poll | None,
) -> dict[str, Estimate]:
    """Return the metrics of one set of features with their intervals; a note says which sets are too small for some."""
    out: dict[str, Estimate] = {}
    if fid is not None:
        out["fid"] = measured_distance(fid, frechet_error(features, real, seed, poll))
    if (kid := _tried(lambda: m.kernel_distance(real, features).value, missing, notes)) is not None:
        out["kid"] = measured(kid, kernel_error(features, real, poll))
    effects = design_effects(real, features, PRECISION_K, DENSITY_K, seed, poll)
    if (shares := _tried(lambda: m.precision_recall(real, features, PRECISION_K), missing, notes)) is not None:
        out["precision"] = of_share(shares[0], len(features))
        out["recall"] = of_dependent_share(shares[1], effects.recall, len(real))
    if (found := _tried(lambda: m.density_coverage(real, features, DENSITY_K), missing, notes)) is not None:
        out["density"] = measured(found[0], of_mean(crowding(real, features, DENSITY_K)).error, least=0.0)
        out["coverage"] = of_dependent_share(found[1], effects.coverage, len(real))
    return out


def _at_infinity(
    real: np.ndarray,
    fake: np.ndarray,
    unseen: np.ndarray,
    name: str,
    seed: int,
    notes: list[str],
    poll: Poll | None,
) -> Metric:
    value, floor = (frechet_at_infinity(features, real, seed, poll) for features in (fake, unseen))
    if value.value is None or floor.value is None:
        notes.append(
            f"{name}: features of {real.shape[1]} dimensions need {rows_needed(real.shape[1]):,} images on each side "
            "for an extrapolation to infinitely many."
        )
    return Metric.of(f"fid-infinity-{name}", value, floor, "lower", extractor=name)


def _of_deals(real: np.ndarray, deals: Sequence[np.ndarray], poll: Poll | None) -> dict[str, Estimate]:
    """Return the means of the metrics over deals of held-out images, equally many in each."""
    n = len(deals[0])
    parts = [np.arange(start, start + n, dtype=np.int64) for start in range(0, n * len(deals), n)]
    found = {"fid": frechet_distances(np.concatenate(deals), real, parts, poll)}
    for deal in deals:
        may_stop(poll)
        shares, crowds = m.precision_recall(real, deal, PRECISION_K), m.density_coverage(real, deal, DENSITY_K)
        each = {"kid": m.kernel_distance(real, deal).value, "precision": shares[0], "recall": shares[1]}
        for name, value in {**each, "density": crowds[0], "coverage": crowds[1]}.items():
            found.setdefault(name, []).append(value)
    share = {"least": 0.0, "most": 1.0}
    limits = {"fid": {"least": 0.0}, "kid": {}, "density": {"least": 0.0}}
    return {name: of_deals(values, **limits.get(name, share)) for name, values in found.items()}


def _tried(measure: Callable[[], T], missing: str, notes: list[str]) -> T | None:
    """Return what `measure` returns, or None with a note where there are too few images for it."""
    try:
        return measure()
    except UsageError as error:
        notes.append(f"{missing} {error}")
        return None
