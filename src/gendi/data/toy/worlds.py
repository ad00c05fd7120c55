"""The toy worlds: five distributions of points in the plane, each made of thickened rectangles.

    swissroll      a spiral of one and a half turns, drawn with a thin pen
    checkerboard   the eight black squares of a board of four by four
    moons          two half circles that reach into one another; each is a class
    gaussians      eight spots on a circle; each is a class
    letters        the strokes of the letters G, E, N, D and I; each is a class

All of them have mean 0 and, averaged over the two coordinates, variance 1. `World.denoiser` is the exact denoiser
(`gendi.diffusion.gaussian.rectangles`), so whatever is learned from these points can be held against the truth.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray

from gendi.diffusion.gaussian.rectangles import RectangleDenoiser, mean_and_variance
from gendi.diffusion.gaussian.schedule import Schedule, make_schedule
from gendi.diffusion.randomness import stream
from gendi.errors import unknown_name

Grid = NDArray[np.float64]
Point = tuple[float, float]


@dataclass(frozen=True, eq=False)
class World:
    """A distribution of points in the plane: a mixture of thickened rectangles.

    Attributes:
        name: the name of the world.
        weights: (K,), which sum to 1.
        centres: (K, 2).
        axes: (K, 2, 2), whose columns are the directions of the sides.
        halves: (K, 2), half the lengths of the sides.
        thickness: standard deviation of the noise around the rectangles.
        classes: the class of each rectangle (K,), or None.
        names: the names of the classes.
    """

    name: str
    weights: Grid
    centres: Grid
    axes: Grid
    halves: Grid
    thickness: float
    classes: NDArray[np.int64] | None = None
    names: tuple[str, ...] = ()

    def denoiser(self, schedule: Schedule) -> RectangleDenoiser:
        """Return the exact denoiser of this world under a schedule; it takes the condition `class` if there is one."""
        weights, centres = torch.from_numpy(self.weights), torch.from_numpy(self.centres)
        axes, halves = torch.from_numpy(self.axes), torch.from_numpy(self.halves)
        classes = None if self.classes is None else torch.from_numpy(self.classes)
        return RectangleDenoiser(schedule, weights, centres, axes, halves, self.thickness, classes)

    def points(self, n: int, seed: int = 0) -> tuple[Grid, NDArray[np.int64] | None]:
        """Return n points (n, 2) and their classes (n,), or None; they are a function of the name, n and the seed."""
        rng = stream(seed, f"toy world {self.name}")
        drawn = (torch.from_numpy(rng.random(n)), torch.from_numpy(rng.random((n, 2))))
        normal = torch.from_numpy(rng.standard_normal((n, 2)))
        rows, component = self.denoiser(make_schedule("cosine")).sample_data(*drawn, normal)
        return rows.numpy(), None if self.classes is None else self.classes[component.numpy()]


def world(name: str) -> World:
    """Return the world `name`. Raises `UsageError`, which suggests the nearest name, for an unknown one."""
    if name not in WORLDS:
        raise unknown_name("toy world", name, WORLDS)
    return _made(name)


@cache
def _made(name: str) -> World:
    return _standardised(WORLDS[name]())


def _standardised(raw: World) -> World:
    """Return a world moved and scaled so that its mean is 0 and its mean variance 1."""
    mean, variance = mean_and_variance(raw.denoiser(make_schedule("cosine")))
    scale = math.sqrt(variance)
    centres, halves = (raw.centres - mean.numpy()) / scale, raw.halves / scale
    return World(raw.name, raw.weights, centres, raw.axes, halves, raw.thickness / scale, raw.classes, raw.names)


def _strokes(
    name: str, lines: Sequence[Sequence[Point]], thickness: float, names: tuple[str, ...] = (), equal: bool = False
) -> World:
    """Return the world of some polygonal lines.

    A line is a class if there are `names`. Points are even along all lines or, if `equal`, each line has as many.
    """
    starts = np.concatenate([np.array(line[:-1], np.float64) for line in lines])
    ends = np.concatenate([np.array(line[1:], np.float64) for line in lines])
    owner = np.repeat(np.arange(len(lines)), [len(line) - 1 for line in lines])
    lengths = np.hypot(*(ends - starts).T)
    weights = lengths / lengths.sum()
    if equal:
        weights = lengths / np.bincount(owner, lengths)[owner] / len(lines)
    along = (ends - starts) / lengths[:, None]
    across = np.stack([-along[:, 1], along[:, 0]], 1)
    halves = np.stack([lengths / 2, np.zeros_like(lengths)], 1)
    classes = owner if names else None
    return World(name, weights, (starts + ends) / 2, np.stack([along, across], 2), halves, thickness, classes, names)


def _swissroll() -> World:
    angle = np.linspace(1.5 * math.pi, 4.5 * math.pi, 121)
    line = [(float(x), float(y)) for x, y in zip(angle * np.cos(angle), angle * np.sin(angle), strict=True)]
    return _strokes("swissroll", [line], 0.3)


def _moons() -> World:
    angle = np.linspace(0, math.pi, 25)
    upper = [(math.cos(a), math.sin(a)) for a in angle]
    lower = [(1 - math.cos(a), 0.5 - math.sin(a)) for a in angle]
    return _strokes("moons", [upper, lower], 0.06, ("upper", "lower"))


def _checkerboard() -> World:
    squares = [(i - 1.5, j - 1.5) for i in range(4) for j in range(4) if (i + j) % 2 == 0]
    k = len(squares)
    return World(
        "checkerboard", np.full(k, 1 / k), np.array(squares), np.tile(np.eye(2), (k, 1, 1)), np.full((k, 2), 0.5), 0.0
    )


def _gaussians() -> World:
    k = 8
    angle = 2 * math.pi * np.arange(k) / k
    names = ("east", "north-east", "north", "north-west", "west", "south-west", "south", "south-east")
    return World(
        "gaussians",
        np.full(k, 1 / k),
        np.stack([np.cos(angle), np.sin(angle)], 1),
        np.tile(np.eye(2), (k, 1, 1)),
        np.zeros((k, 2)),
        0.08,
        np.arange(k),
        names,
    )


def _letters() -> World:
    shapes: dict[str, list[Point]] = {
        "G": [
            *[(0.9, 0.8), (0.6, 1.0), (0.25, 0.95), (0.0, 0.6), (0.0, 0.35), (0.25, 0.03), (0.6, 0.0), (0.9, 0.15)],
            *[(0.9, 0.45), (0.55, 0.45)],
        ],
        "E": [(0.8, 1.0), (0.0, 1.0), (0.0, 0.5), (0.65, 0.5), (0.0, 0.5), (0.0, 0.0), (0.8, 0.0)],
        "N": [(0.0, 0.0), (0.0, 1.0), (0.8, 0.0), (0.8, 1.0)],
        "D": [(0.0, 0.0), (0.0, 1.0), (0.45, 1.0), (0.8, 0.75), (0.85, 0.5), (0.8, 0.25), (0.45, 0.0), (0.0, 0.0)],
        "I": [(0.0, 0.0), (0.0, 1.0)],
    }
    places = ((0.0, 1.4), (1.25, 1.4), (2.5, 1.4), (0.65, 0.0), (2.1, 0.0))
    lines = [
        [(x + left, y + bottom) for x, y in shape]
        for shape, (left, bottom) in zip(shapes.values(), places, strict=True)
    ]
    return _strokes("letters", lines, 0.03, tuple(shapes), equal=True)


WORLDS: dict[str, Callable[[], World]] = {
    "swissroll": _swissroll,
    "checkerboard": _checkerboard,
    "moons": _moons,
    "gaussians": _gaussians,
    "letters": _letters,
}
"""What makes each world, by its name; `world(name)` is what to call."""
