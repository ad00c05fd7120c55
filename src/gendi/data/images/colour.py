"""The colours of pictures: channel means, their spread, saturation, black and white points, each with floor and gate.

A shift of colour is a common fault of diffusion models that distances on features hardly see: a tint of a few bytes in
one channel moves no edge. These metrics see nothing else. Those in bytes run from 0 to 255, shares from 0 to 1:

- `mean-red`, `mean-green`, `mean-blue` (`mean-grey` for one channel): the mean of a channel over all pixels;
- `spread-of-means`: the standard deviation over pictures of a picture's channel means (the root mean square over
  channels). It is too small where all pictures are about equally bright;
- `tint-red`, `tint-green`, `tint-blue`: the mean of a channel minus the mean of all three, which differs less from
  picture to picture than their brightness does;
- `grey-balance-red` and so on: the same over nearly grey pixels only, whose colours differ by at most 16. It differs
  least, and so it tells the faintest tints from chance. Data without such pixels lack it;
- `saturation`: the mean over pixels of the largest minus the smallest of red, green and blue;
- `black-point-red` and so on: the mean of the darkest 0.5% of the values of a channel, over all pictures together;
- `white-point-red` and so on: the mean of the brightest 0.5%;
- `blacks`, `whites`: the share of values within 8 of 0, and within 8 of 255. Crushed blacks and blown whites show here,
  even where the points are at 0 and 255 already.

Real pictures are drawn many times from a pool of training and held-out pictures, with replacement and as many as there
are samples. The **floor** is the value of the whole pool, and the **gate** is the prediction interval of these deals
(see `gendi.evaluate.prediction`): real pictures fail any of the gates once in a hundred evaluations. The pool is itself
a draw of N pictures, so a metric of n new ones varies sqrt(1 + n / N) times as far around the pool's value as a deal
does.

Where few pictures have values that are dark, bright or grey enough to count, the deviation of a metric is known only as
well as their number allows: if picture j has w_j such values, the metric rests on m = (sum w_j)^2 / (sum w_j^2)
pictures, of which a set has its share, and the interval has m - 1 degrees of freedom. Below twenty such pictures the
gate is the whole range. Nor is a gate narrower than what rounding to bytes may do: a level to either side for black and
white points, a quarter of a level for the means of all values, 1 / 255 for shares.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float64, Int64, UInt8

from gendi.data.dataset import Data
from gendi.data.images.colour_statistics import Colours
from gendi.data.split import Split
from gendi.diffusion.randomness import stream
from gendi.evaluate.comparison import Z95
from gendi.evaluate.prediction import ALPHA, prediction_interval
from gendi.evaluate.result import Gate, Interval, Metric
from gendi.machine.stopping import Poll, may_stop

DEALS, REPLICATES = 200, 200
POOL_MOST = 10_000
POOL_BYTES = 1 << 29
"""Most bytes of real pictures that are read, as long as that is at least as many pictures as there are samples."""
FEWEST = 20
"""Fewest pictures that a metric must rest on to be judged."""
SHARES, POINTS = ("blacks", "whites"), ("black-point", "white-point")


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
    others = ours.deals(n, REPLICATES, stream(seed, "colour bootstrap"))
    deals = real.deals(n, DEALS, stream(seed, "colour deals"))
    share, contributors = n / len(real), real.contributors()
    resting = {name: contributors.get(name, np.inf) * min(1.0, share) for name in values}
    judged = [name for name in values if not name.startswith("grey-balance") or resting[name] >= FEWEST]
    out = []
    for name in judged:
        error, floor_error = float(others[name].std(ddof=1)), float(deals[name].std(ddof=1) * np.sqrt(share))
        known = bool(np.isfinite(values[name]))
        out.append(
            Metric(
                name,
                values[name] if known else None,
                floors[name],
                "closest",
                standard_error=error if np.isfinite(error) else None,
                ideal=floors[name],
                interval=_interval(values[name], error) if np.isfinite(error) else None,
                gate=_gate(name, floors[name], deals[name], ALPHA / len(judged), share, resting[name]),
                floor_error=floor_error,
                floor_interval=_interval(floors[name], floor_error),
            )
        )
    return out


def _gate(
    name: str, floor: float, deals: Float64[np.ndarray, " k"], alpha: float, share: float, resting: float
) -> Gate:
    """Return a gate that real pictures miss with probability `alpha`.

    A set is `share` times as large as the pool, and the metric rests on `resting` of its pictures.
    """
    if resting < FEWEST:
        return 0.0, 1.0 if name in SHARES else 255.0
    low, high = prediction_interval(deals.tolist(), alpha / 2, float(np.sqrt(1 + share)), resting - 1)
    least = 1 / 255 if name in SHARES else 1.0 if name.startswith(POINTS) else 0.25
    return min(low, floor - least), max(high, floor + least)


def _interval(value: float, error: float) -> Interval:
    return value - Z95 * error, value + Z95 * error


def _pool(data: Data, most: int, size: int, seed: int, poll: Poll | None) -> Colours:
    """Read up to `most` pictures, drawn from the training and the held-out ones."""
    first = len(data.train)
    chosen = stream(seed, "colour pool").permutation(first + len(data.heldout))[:most].astype(np.int64)
    train, heldout = np.sort(chosen[chosen < first]), np.sort(chosen[chosen >= first]) - first
    return Colours.joined(
        [
            Colours.of(len(indices), _reader(split, indices), size, poll)
            for split, indices in ((data.train, train), (data.heldout, heldout))
            if len(indices)
        ]
    )


def _reader(split: Split, indices: Int64[np.ndarray, " n"]) -> Callable[[slice], UInt8[np.ndarray, "b h w c"]]:
    def read(part: slice) -> UInt8[np.ndarray, "b h w c"]:
        pictures: UInt8[np.ndarray, "b h w c"] = np.asarray(split.batch(indices[part]), np.uint8)
        return pictures

    return read
