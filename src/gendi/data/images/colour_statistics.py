"""What the metrics of colour are computed from: a few sums of each picture, and the metrics of any sets of pictures."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, UInt8

from gendi.machine.stopping import Poll, may_stop

EXTREME, NEAR, GREY = 0.005, 8, 16
"""The share of the darkest and of the brightest values; how near to 0 or 255 a value is black or white; and how far
apart the colours of a pixel may be for it to be nearly grey."""
CHANNELS = {1: ("grey",), 3: ("red", "green", "blue"), 4: ("red", "green", "blue", "alpha")}
_BATCH_BYTES = 1 << 25
_LEVELS = np.arange(256, dtype=np.float64)

Values = dict[str, Float64[np.ndarray, " k"]]


def channel_names(channels: int) -> tuple[str, ...]:
    """Return the names of the channels of a picture."""
    return CHANNELS.get(channels) or tuple(f"channel-{c + 1}" for c in range(channels))


@dataclass(frozen=True)
class Tones:
    """Sums over the pixels of N pictures that have red, green and blue."""

    chroma: Float64[np.ndarray, " n"]
    """Mean over a picture's pixels of the largest minus the smallest colour."""
    greys: Float64[np.ndarray, " n"]
    """Number of pixels whose colours differ by at most `GREY`."""
    in_greys: Float64[np.ndarray, "n 3"]
    """Sums of red, green and blue over these pixels."""

    @classmethod
    def of(cls, pictures: UInt8[np.ndarray, "n h w c"]) -> "Tones":
        colours = pictures[..., :3]
        chroma = colours.max(axis=3) - colours.min(axis=3)
        grey = chroma <= GREY
        sums = (colours * grey[..., None]).sum(axis=(1, 2), dtype=np.float64)
        return cls(chroma.mean(axis=(1, 2), dtype=np.float64), grey.sum(axis=(1, 2), dtype=np.float64), sums)

    @classmethod
    def joined(cls, parts: list["Tones"]) -> "Tones":
        chroma, greys, in_greys = zip(*((part.chroma, part.greys, part.in_greys) for part in parts), strict=True)
        return cls(np.concatenate(chroma), np.concatenate(greys), np.concatenate(in_greys))

    def balance(self, weights: Float64[np.ndarray, "k n"]) -> Float64[np.ndarray, "k 3"]:
        """Return the mean of each colour minus that of all three, over the nearly grey pixels; NaN without any."""
        with np.errstate(invalid="ignore"):
            mean: Float64[np.ndarray, "k 3"] = (weights @ self.in_greys) / (weights @ self.greys)[:, None]
        return np.asarray(mean - mean.mean(axis=1, keepdims=True))


@dataclass(frozen=True)
class Colours:
    """What the metrics need to know of N pictures, so that sets drawn from them cost one matrix product."""

    histograms: Float64[np.ndarray, "n channels 256"]
    """How many pixels of a picture have which value in which channel."""
    tones: Tones | None
    """None without three colours."""

    @classmethod
    def of(
        cls, count: int, read: Callable[[slice], UInt8[np.ndarray, "b h w c"]], size: int, poll: Poll | None = None
    ) -> "Colours":
        """Read `count` pictures of `size` bytes each through `read`, a part at a time."""
        parts = []
        for part in _parts(count, max(1, _BATCH_BYTES // size)):
            may_stop(poll)
            pictures = read(part)
            parts.append(cls(_histograms(pictures), Tones.of(pictures) if pictures.shape[3] >= 3 else None))
        return cls.joined(parts)

    @classmethod
    def joined(cls, parts: list["Colours"]) -> "Colours":
        """Return all pictures of the parts as one."""
        tones = [part.tones for part in parts if part.tones is not None]
        return cls(np.concatenate([part.histograms for part in parts]), Tones.joined(tones) if tones else None)

    def __len__(self) -> int:
        return len(self.histograms)

    def measure(self, weights: Float64[np.ndarray, "k n"]) -> Values:
        """Return every metric by name for k sets, where set i holds picture j `weights[i, j]` times."""
        n, channels, _ = self.histograms.shape
        names = channel_names(channels)
        total = (weights @ self.histograms.reshape(n, -1)).reshape(len(weights), channels, 256)
        pixels = total.sum(axis=2)
        mean = total @ _LEVELS / pixels
        each = self.histograms @ _LEVELS / self.histograms.sum(axis=2)
        of_squares = weights @ each**2 / weights.sum(axis=1)[:, None]
        out = {f"mean-{name}": mean[:, c] for c, name in enumerate(names)}
        out["spread-of-means"] = np.sqrt(np.maximum(of_squares - mean**2, 0).mean(axis=1))
        if self.tones is not None:
            tint, balance = mean[:, :3] - mean[:, :3].mean(axis=1, keepdims=True), self.tones.balance(weights)
            out |= {f"tint-{name}": tint[:, c] for c, name in enumerate(names[:3])}
            out |= {f"grey-balance-{name}": balance[:, c] for c, name in enumerate(names[:3])}
            out["saturation"] = weights @ self.tones.chroma / weights.sum(axis=1)
        black, white = _mean_of_lowest(total), 255 - _mean_of_lowest(total[..., ::-1])
        out |= {f"black-point-{name}": black[:, c] for c, name in enumerate(names)}
        out |= {f"white-point-{name}": white[:, c] for c, name in enumerate(names)}
        out["blacks"] = total[..., : NEAR + 1].sum(axis=(1, 2)) / pixels.sum(axis=1)
        out["whites"] = total[..., 255 - NEAR :].sum(axis=(1, 2)) / pixels.sum(axis=1)
        return out

    def contributors(self) -> dict[str, float]:
        """Return how many pictures, in effect, a metric rests on, for those that not every picture has a part in."""
        names = channel_names(self.histograms.shape[1])
        out = {}
        if self.tones is not None:
            out = {f"grey-balance-{name}": _effective(self.tones.greys) for name in names[:3]}
        for end, counts in (("black", self.histograms), ("white", self.histograms[..., ::-1])):
            for c, name in enumerate(names):
                below = np.cumsum(counts[:, c].sum(axis=0))
                last = int(np.searchsorted(below, EXTREME * below[-1]))
                out[f"{end}-point-{name}"] = _effective(counts[:, c, : last + 1].sum(axis=1))
            out[f"{end}s"] = _effective(counts[..., : NEAR + 1].sum(axis=(1, 2)))
        return out

    def deals(self, n: int, count: int, rng: np.random.Generator) -> Values:
        """Return every metric of `count` sets of n pictures each, drawn with replacement."""
        return self.measure(rng.multinomial(n, np.full(len(self), 1 / len(self)), count).astype(np.float64))

    def whole(self) -> dict[str, float]:
        """Return every metric of all these pictures."""
        return {name: float(v[0]) for name, v in self.measure(np.ones((1, len(self)))).items()}


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
    return np.asarray(np.diff(np.minimum(below, wanted), axis=2, prepend=0) @ _LEVELS / wanted[..., 0])


def _effective(weights: Float64[np.ndarray, " n"]) -> float:
    """Return the number of equal weights that vary as these do; 0 if all of them are 0."""
    squares = float((weights**2).sum())
    return float(weights.sum()) ** 2 / squares if squares else 0.0
