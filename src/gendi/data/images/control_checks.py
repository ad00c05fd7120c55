"""Which metrics on features can be trusted on these pictures: those that take no fake for real pictures.

A pool of real pictures, training and held-out ones together, is dealt at random many times into thirds: n pictures in
the samples' place, n in the reference's, and the rest. What a metric says of these deals gives its **gate**, the
prediction interval for one more deal (`gendi.evaluate.prediction`), on the side that is worse. The fakes of
`gendi.data.images.controls` are made of the rest of one deal, and measured against its reference. A fake within the
gate passes as real: the metric **misses** it, and its values are no grade on these data.

Shares over neighbours (precision, recall, density, coverage) vary less over deals of one pool of N pictures than over
fresh ones, by sqrt(1 - 2 n / N), as `gendi.evaluate.vectors.floors` explains, and their gates are widened by that.

The gates and the fakes depend on the data, the features, n and the seed alone, and are kept in the cache.
"""

import contextlib
import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float32, Int64

from gendi.data.dataset import Data
from gendi.data.images.controls import FAKES, make_controls
from gendi.data.images.extractors import Extractor
from gendi.data.images.feature_cache import reference_features
from gendi.data.images.shared_features import features_of
from gendi.diffusion.randomness import stream
from gendi.errors import GendiError, ResourceError
from gendi.evaluate import metrics as m
from gendi.evaluate.prediction import ALPHA, prediction_interval
from gendi.evaluate.result import Check, Gate, inside
from gendi.machine.distributed import team
from gendi.machine.stopping import Poll, may_stop
from gendi.storage.files import atomic_write
from gendi.storage.store import cache_dir

PRECISION_K, DENSITY_K = 3, 5
DEALS = 16
MOST, MOST_WIDE, MOST_SLOW = 1000, 500, 200
"""Most pictures in a third: usually, for features of more than `WIDE` dimensions, and for slow networks."""
WIDE, FEWEST = 512, 20
POOL_MOST = 4000
CHEAP = ("digits", "pixels", "learned")
"""Extractors that take seconds for thousands of pictures."""
DISTANCES = ("fid", "kid")
"""Metrics that are better if they are lower; the others are shares, and better if they are higher."""
VERSION = 1
"""Part of the key of the cache: raise it when fakes, deals or metrics change."""

Values = Mapping[str, float]
Features = Float32[np.ndarray, "_ _"]


def plain_metrics(real: Features, fake: Features) -> dict[str, float]:
    """Return the metrics on features by name, without intervals. Raises `UsageError` for fewer than 6 rows."""
    precision, recall = m.precision_recall(real, fake, PRECISION_K)
    density, coverage = m.density_coverage(real, fake, DENSITY_K)
    return {
        "fid": m.frechet_from_features(real, fake),
        "kid": m.kernel_distance(real, fake).value,
        "precision": precision,
        "recall": recall,
        "density": density,
        "coverage": coverage,
    }


class ControlCheck:
    """The gates of an extractor's metrics on some data, and what these metrics say of fakes.

    Args:
        extractor: the features.
        data: the pictures.
        n: pictures in each set of the evaluation; the sets here are smaller if need be.
        seed: the seed of pool, deals and fakes.
        poll: called between parts; raise from it to stop.

    `size` is the number of pictures in a third. Below `FEWEST` there are no gates.
    """

    def __init__(self, extractor: Extractor, data: Data, n: int, seed: int = 0, poll: Poll | None = None) -> None:
        self.name, self.seed = extractor.name, seed
        train, heldout = len(data.train), len(data.heldout)
        pool = min(POOL_MOST, train + heldout)
        most = MOST if extractor.name in CHEAP else MOST_SLOW
        if extractor.name == "pixels" and int(np.prod(data.train.rows.shape[1:])) > WIDE:
            most = MOST_WIDE
        self.size = min(n, most, pool // 3)
        self.gates: dict[str, Gate] = {}
        self.controls: dict[str, dict[str, float]] = {}
        if self.size < FEWEST:
            return
        chosen = stream(seed, "control pool").permutation(train + heldout)[: min(pool, 4 * self.size)].astype(np.int64)
        self._key = _key(extractor, data, self.size, seed)
        of_train, of_heldout = np.sort(chosen[chosen < train]), np.sort(chosen[chosen >= train]) - train
        parts = [
            reference_features(extractor, split.rows, indices, f"{data.fingerprint}/{name}", poll=poll)
            for name, split, indices in (("train", data.train, of_train), ("heldout", data.heldout, of_heldout))
            if len(indices)
        ]
        pooled = np.concatenate(parts)
        order = stream(seed, "control reference").permutation(len(pooled)).astype(np.int64)
        self.reference = pooled[order[: self.size]]
        known = team().from_first(lambda: _load(self._key))
        if known is None:
            rest = order[2 * self.size :]
            found = self._of_controls(extractor, data, of_train, of_heldout, rest, seed, poll)
            known = team().from_first(lambda: self._judge(pooled, found, seed, poll))
            team().from_first(lambda: _store(self._key, known))
        self.gates = {name: (low, high) for name, (low, high) in known["gates"].items()}
        self.controls = known["controls"]

    def checks(self, features: Features) -> dict[str, Check]:
        """Return the check of each metric, by name, with what it says of `size` random ones of the samples' features.

        They may be sorted, by class for instance, so the first ones would not do.
        """
        if self.size < FEWEST:
            return {}
        some = stream(self.seed, "control samples").permutation(len(features))[: self.size]
        ours = plain_metrics(self.reference, features[np.sort(some)]) if len(features) >= self.size else {}
        return {
            name: Check(self.size, ours.get(name), gate, self.controls[name], self.missed(name))
            for name, gate in self.gates.items()
        }

    def missed(self, name: str) -> tuple[str, ...]:
        """Return the fakes that a metric takes for real pictures."""
        return tuple(fake for fake, value in self.controls[name].items() if inside(value, self.gates[name]))

    def in_words(self) -> list[str]:
        """Return the notes of an evaluation on this check."""
        if self.size < FEWEST:
            return [
                f"{self.name}: there are too few real images to check whether the metrics catch fakes, so it is "
                "unknown whether they are grades on these data."
            ]
        blind = {name: self.missed(name) for name in self.gates if self.missed(name)}
        asked = f"{self.name} was checked with {self.size:,} fakes of each kind ({', '.join(FAKES)})"
        if not blind:
            return [f"{asked}: every metric tells all of them from real images."]
        told = "; ".join(f"{name} takes {_listed(fakes)} for real images" for name, fakes in blind.items())
        rest = [name for name in self.gates if name not in blind]
        trusted = f"Only {_listed(rest)} can be trusted here." if rest else "None of these metrics is a grade here."
        return [f"{asked}: {told}. On these data such values are no grades. {trusted}"]

    @property
    def misses(self) -> int:
        """How many fakes all metrics miss, together."""
        return sum(len(self.missed(name)) for name in self.gates)

    def _of_controls(
        self,
        extractor: Extractor,
        data: Data,
        of_train: Int64[np.ndarray, " a"],
        of_heldout: Int64[np.ndarray, " b"],
        rest: Int64[np.ndarray, " c"],
        seed: int,
        poll: Poll | None,
    ) -> dict[str, Features]:
        """Return the features of the fakes by name, made of the pictures `rest` of the pool."""
        first = len(of_train)
        train, heldout = of_train[np.sort(rest[rest < first])], of_heldout[np.sort(rest[rest >= first]) - first]
        used = [(s, i) for s, i in ((data.train, train), (data.heldout, heldout)) if len(i)]
        pictures = np.concatenate([split.batch(indices) for split, indices in used])
        labels = None
        if data.train.labels is not None and data.heldout.labels is not None:
            labels = np.concatenate([np.asarray(s.labels)[i] for s, i in used]).astype(np.int64)
        out = {}
        for name, fakes in make_controls(pictures, labels, self.size, seed).items():
            may_stop(poll)
            out[name] = features_of(extractor, len(fakes), lambda part, fakes=fakes: fakes[part], poll)  # type: ignore[misc]
        return out

    def _judge(self, pooled: Features, fakes: Mapping[str, Features], seed: int, poll: Poll | None) -> dict[str, Any]:
        n, rng = self.size, stream(seed, "control deals")
        deals = []
        for _ in range(DEALS):
            may_stop(poll)
            order = rng.permutation(len(pooled))
            deals.append(plain_metrics(pooled[order[:n]], pooled[order[n : 2 * n]]))
        caught: dict[str, Values] = {}
        for name in FAKES:
            may_stop(poll)
            caught[name] = plain_metrics(self.reference, fakes[name])
        wider = 1 / float(np.sqrt(1 - 2 * n / len(pooled)))
        gates: dict[str, Gate] = {}
        for name in deals[0]:
            level, spread = ALPHA / len(deals[0]), 1.0 if name in DISTANCES else wider
            low, high = prediction_interval([deal[name] for deal in deals], level, spread)
            gates[name] = (None, high) if name in DISTANCES else (low, None)
        controls = {name: {fake: values[name] for fake, values in caught.items()} for name in gates}
        return {"gates": gates, "controls": controls}


def _listed(words: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]]))


def _key(extractor: Extractor, data: Data, size: int, seed: int) -> str:
    parts = (data.fingerprint, extractor.name, extractor.sha256, extractor.resize, str(size), str(seed), str(VERSION))
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]


def _load(key: str) -> dict[str, Any] | None:
    try:
        found = json.loads((cache_dir() / "features" / f"controls-{key}.json").read_text("utf-8"))
        gates = {str(name): tuple(_number(end) for end in gate) for name, gate in found["gates"].items()}
        controls = {
            str(name): {fake: float(values[fake]) for fake in FAKES} for name, values in found["controls"].items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    whole = gates.keys() == controls.keys() and all(len(gate) == 2 for gate in gates.values())
    return {"gates": gates, "controls": controls} if gates and whole else None


def _number(value: object) -> float | None:
    if value is None:
        return None
    if isinstance(value, int | float):
        return float(value)
    raise ValueError(f"{value!r} is no number")


def _store(key: str, content: Mapping[str, Any]) -> None:
    folder = cache_dir() / "features"
    with contextlib.suppress(OSError, ResourceError, GendiError):
        folder.mkdir(parents=True, exist_ok=True)
        atomic_write(folder / f"controls-{key}.json", json.dumps(content))
