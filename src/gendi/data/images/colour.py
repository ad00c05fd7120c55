"""The colours of pictures: channel means, their spread, saturation, black and white points, each with floor and gate.

A shift of colour is the fault of diffusion models that distances on features see last: a tint of a few bytes in one
channel moves no edge. These metrics see nothing else. Those in bytes run from 0 to 255, shares from 0 to 1:

- `mean-red`, `mean-green`, `mean-blue` (`mean-grey` for one channel): the mean of a channel over all pixels;
- `tint-red`, `tint-green`, `tint-blue`: that mean minus the mean of all three. Pictures differ far less in their tint
  than in their brightness, so that a tint is told from chance much earlier here;
- `spread-of-means`: the standard deviation over pictures of a picture's channel means (the root mean square over
  channels). It is too small where all pictures are about equally bright;
- `saturation`: the mean over pixels of the largest minus the smallest of red, green and blue;
- `black-point-red` and so on: the mean of the darkest 0.5% of the values of a channel, over all pictures together;
- `white-point-red` and so on: the mean of the brightest 0.5%;
- `blacks`, `whites`: the share of values within 8 of 0, and within 8 of 255. Crushed blacks and blown whites show here,
  even where the points are at 0 and 255 already.

Real pictures are drawn many times from a pool of training and held-out pictures, with replacement and as many as there
are samples. The **floor** is the value of the whole pool, and the **gate** is the prediction interval of these deals
(see `gendi.evaluate.prediction`): real pictures fail any of the gates once in a hundred evaluations. The pool is itself
a draw of N pictures, so a metric of n new ones varies sqrt(1 + n / N) times as far around the pool's value as a deal
does. No gate is narrower than one level of a byte to either side (for shares: 1 / 255), as rounding alone moves a value
by as much.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float64, Int64, UInt8

from gendi.data.dataset import Data
from gendi.diffusion.randomness import stream
from gendi.evaluate.prediction import ALPHA, prediction_interval
from gendi.evaluate.result import Metric
from gendi.machine.stopping import Poll, may_stop

DEALS, REPLICATES, Z95 = 200, 200, 1.96
POOL_MOST = 10_000
POOL_BYTES = 1 << 29
"""Most bytes of real pictures that are read, as long as that is at least as many pictures as there are samples."""
EXTREME, NEAR = 0.005, 8
"""The share of the darkest and of the brightest values, and how near to 0 or 255 a value is black or white."""
CHANNELS = {1: ("grey",), 3: ("red", "green", "blue"), 4: ("red", "green", "blue", "alpha")}
SHARES = ("blacks", "whites")
_BATCH_BYTES = 1 << 25
_LEVELS = np.arange(256, dtype=np.float64)

Values = dict[str, Float64[np.ndarray, " k"]]


@dataclass(frozen=True)
class Colours:
    """What the metrics need to know of N pictures, so that sets drawn from them cost one matrix product."""

    histograms: Float64[np.ndarray, "n channels 256"]
    """How many pixels of a picture have which value in which channel."""
    chroma: Float64[np.ndarray, " n"] | None
    """Mean over a picture's pixels of the largest minus the smallest colour; None without three channels."""

    @classmethod
    def of(
        cls, count: int, read: Callable[[slice], UInt8[np.ndarray, "b h w c"]], size: int, poll: Poll | None = None
    ) -> "Colours":
        """Read `count` pictures of `size` bytes each through `read`, a part at a time."""
        histograms: list[Float64[np.ndarray, "b c 256"]] = []
        chroma: list[Float64[np.ndarray, " b"]] = []
        for part in _parts(count, max(1, _BATCH_BYTES // size)):
            may_stop(poll)
            pictures = read(part)
            histograms.append(_histograms(pictures))
            if pictures.shape[3] >= 3:
                colours = pictures[..., :3]
                chroma.append((colours.max(axis=3) - colours.min(axis=3)).mean(axis=(1, 2), dtype=np.float64))
        return cls(np.concatenate(histograms), np.concatenate(chroma) if chroma else None)

    def __len__(self) -> int:
        return len(self.histograms)

    def measure(self, weights: Float64[np.ndarray, "k n"]) -> Values:
        """Return every metric by name for k sets, where set i holds picture j `weights[i, j]` times."""
        n, channels, _ = self.histograms.shape
        names = CHANNELS.get(channels) or tuple(f"channel-{c + 1}" for c in range(channels))
        total = (weights @ self.histograms.reshape(n, -1)).reshape(len(weights), channels, 256)
        pixels = total.sum(axis=2)
        mean = total @ _LEVELS / pixels
        each = self.histograms @ _LEVELS / self.histograms.sum(axis=2)
        of_squares = weights @ each**2 / weights.sum(axis=1)[:, None]
        out = {f"mean-{name}": mean[:, c] for c, name in enumerate(names)}
        if self.chroma is not None:
            out |= {f"tint-{name}": mean[:, c] - mean[:, :3].mean(axis=1) for c, name in enumerate(names[:3])}
        out["spread-of-means"] = np.sqrt(np.maximum(of_squares - mean**2, 0).mean(axis=1))
        if self.chroma is not None:
            out["saturation"] = weights @ self.chroma / weights.sum(axis=1)
        black, white = _mean_of_lowest(total), 255 - _mean_of_lowest(total[..., ::-1])
        out |= {f"black-point-{name}": black[:, c] for c, name in enumerate(names)}
        out |= {f"white-point-{name}": white[:, c] for c, name in enumerate(names)}
        out["blacks"] = total[..., : NEAR + 1].sum(axis=(1, 2)) / pixels.sum(axis=1)
        out["whites"] = total[..., 255 - NEAR :].sum(axis=(1, 2)) / pixels.sum(axis=1)
        return out

    def deals(self, n: int, count: int, rng: np.random.Generator) -> Values:
        """Return every metric of `count` sets of n pictures each, drawn with replacement."""
        return self.measure(rng.multinomial(n, np.full(len(self), 1 / len(self)), count).astype(np.float64))

    def whole(self) -> dict[str, float]:
        """Return every metric of all these pictures."""
        return {name: float(v[0]) for name, v in self.measure(np.ones((1, len(self)))).items()}


def colour_metrics(
    samples: UInt8[np.ndarray, "n h w c"], data: Data, *, seed: int = 0, poll: Poll | None = None
) -> list[Metric]:
    """Return the metrics of the samples' colours, with intervals, floors and gates.

    Args:
        samples: of the height, width and channels of `data`.
        data: the real pictures, of which up to 10,000 are read.
        seed: the seed of the pool, of the deals and of the bootstrap behind the intervals.
        poll: called between parts; raise from it to stop.
    """
    n, size = len(samples), int(np.prod(samples.shape[1:]))
    ours = Colours.of(n, lambda part: samples[part], size, poll)
    real = _pool(data, max(n, min(POOL_MOST, POOL_BYTES // size)), size, seed, poll)
    may_stop(poll)
    values, floors = ours.whole(), real.whole()
    errors = {k: float(v.std(ddof=1)) for k, v in ours.deals(n, REPLICATES, stream(seed, "colour bootstrap")).items()}
    deals = real.deals(n, DEALS, stream(seed, "colour deals"))
    level, spread = ALPHA / (2 * len(values)), float(np.sqrt(1 + n / len(real)))
    return [_metric(k, values[k], floors[k], errors[k], deals[k], level, spread) for k in values]


def _metric(
    name: str,
    value: float,
    floor: float,
    error: float,
    deals: Float64[np.ndarray, " k"],
    level: float,
    spread: float,
) -> Metric:
    low, high = prediction_interval(deals.tolist(), level, spread)
    least = 1 / 255 if name in SHARES else 1.0
    return Metric(
        name,
        value,
        floor,
        "closest",
        standard_error=error,
        ideal=floor,
        interval=(value - Z95 * error, value + Z95 * error),
        gate=(min(low, floor - least), max(high, floor + least)),
    )


def _pool(data: Data, most: int, size: int, seed: int, poll: Poll | None) -> Colours:
    """Read up to `most` pictures, drawn from the training and the held-out ones."""
    first = len(data.train)
    chosen = stream(seed, "colour pool").permutation(first + len(data.heldout))[:most].astype(np.int64)
    train, heldout = np.sort(chosen[chosen < first]), np.sort(chosen[chosen >= first]) - first
    read = [
        Colours.of(len(indices), _reader(split, indices), size, poll)
        for split, indices in ((data.train, train), (data.heldout, heldout))
        if len(indices)
    ]
    chroma = [each.chroma for each in read if each.chroma is not None]
    return Colours(
        np.concatenate([each.histograms for each in read]),
        np.concatenate(chroma) if chroma else None,
    )


def _reader(split: Any, indices: Int64[np.ndarray, " n"]) -> Callable[[slice], UInt8[np.ndarray, "b h w c"]]:
    return lambda part: split.batch(indices[part])


def _parts(count: int, size: int) -> Iterator[slice]:
    for start in range(0, count, size):
        yield slice(start, min(count, start + size))


def _histograms(pictures: UInt8[np.ndarray, "b h w c"]) -> Float64[np.ndarray, "b c 256"]:
    n, channels = len(pictures), pictures.shape[3]
    bins = 256 * np.arange(n * channels, dtype=np.int64).reshape(n, 1, channels)
    places = bins + pictures.reshape(n, -1, channels)
    return np.bincount(places.ravel(), minlength=n * channels * 256).reshape(n, channels, 256).astype(np.float64)


def _mean_of_lowest(counts: Float64[np.ndarray, "k c 256"]) -> Float64[np.ndarray, "k c"]:
    """Return the mean of the lowest `EXTREME` share of the values that a histogram counts."""
    below = np.cumsum(counts, axis=2)
    wanted = EXTREME * below[..., -1:]
    return np.diff(np.minimum(below, wanted), axis=2, prepend=0) @ _LEVELS / wanted[..., 0]
