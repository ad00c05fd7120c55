"""The walk for a toy world: points in the plane, with a model of the world or with its exact denoiser."""

from dataclasses import dataclass

import numpy as np
import torch

from gendi.data.toy.worlds import World
from gendi.diffusion.gaussian.denoiser import Denoiser
from gendi.diffusion.gaussian.process import Process, like
from gendi.diffusion.gaussian.samplers import Drawing, initial, trajectory
from gendi.diffusion.gaussian.samplers.draw import SampleNoise, calls_to_times
from gendi.diffusion.gaussian.samplers.registry import get_sampler
from gendi.diffusion.gaussian.sde import score
from gendi.diffusion.randomness import normal, stream
from gendi.machine.stopping import Poll, may_stop
from gendi.report.explain.mathml import fraction, maths, squared
from gendi.report.explain.pictures import equation, level_curves
from gendi.report.explain.plot import Points, arrows, dots, lines, plane
from gendi.report.explain.scene import Frame, scene
from gendi.report.explain.walk import FIRST, Levels, look
from gendi.report.page import Html, fill, section

POINTS, PATHS, PLACES, CANDIDATES = 700, 300, 15, 120
"""Points of the world, samples, arrows of a side, and points that x_t may have been."""


@dataclass(frozen=True)
class Field:
    """The scores at the places of a grid (PLACES^2, 2), as arrows of which the longest is as long as the grid's
    distance."""

    arrows: Points
    longest: float
    """The length of the longest score."""


def plane_sections(
    world: World, denoiser: Denoiser, how: Drawing, seed: int = 0, *, learned: bool, poll: Poll | None = None
) -> list[tuple[str, str, Html]]:
    """Return the sections (key, name, markup) of the walk.

    Args:
        world: the world whose points are shown.
        denoiser: E[x_0 | x_t] of the points, in float32.
        how: how samples are drawn.
        learned: whether the denoiser is a network; if so, it is compared with the exact one.
    """
    x_0 = torch.from_numpy(world.points(POINTS, seed)[0]).float()
    levels = look(denoiser, x_0[0], seed, poll=poll)
    eps = normal((POINTS, 2), seed, "explain-points")
    process = Process(denoiser.schedule)
    clouds = [process.sample(x_0, t, eps).double().numpy() for t in levels.times]
    exact = world.denoiser(denoiser.schedule) if learned else None
    return [
        ("noise", "Into noise", _noise(world, levels, clouds)),
        ("score", "The score", _scores(denoiser, exact, levels, clouds, poll)),
        ("point", "One point", _one(x_0.double().numpy(), levels, seed)),
        ("way", "Back to data", _way(denoiser, how, x_0.double().numpy(), poll)),
    ]


def _key(*entries: tuple[str, object]) -> Html:
    items = [fill('<span><i class="{style}"></i>{name}</span>', style=style, name=name) for style, name in entries]
    return fill('<p class="key">{items}</p>', items=items)


def _noise(world: World, levels: Levels, clouds: list[Points]) -> Html:
    frames = [
        Frame(
            plane(dots(cloud, "data"), alt=f"{POINTS} points at t = {t:.2f}"),
            f"t = {t:.2f}: every point is {alpha:.2f} times what it was, plus {sigma:.2f} times noise of its own.",
        )
        for cloud, t, alpha, sigma in zip(clouds, levels.times, levels.alpha, levels.sigma, strict=True)
    ]
    return section(
        "noise",
        "Into noise",
        [
            f"These are {POINTS} points of the world {world.name}. The forward process pulls every point towards the "
            "middle and adds noise to it, until all worlds look the same.",
            "Nothing is learned here. One formula leads to any time at once.",
        ],
        [
            equation("x_t = α_t x_0 + σ_t ε ,", fill("<mspace width='1em'/>"), "ε ∼ N ( 0 , I )"),
            scene(frames, label="Time t", start=FIRST, group="level", still=level_curves(levels)),
        ],
    )


@torch.inference_mode()
def field(denoiser: Denoiser, places: Points, t: torch.Tensor) -> Field:
    """Return the field of scores at places (n, 2) and time t."""
    found = score(denoiser, torch.from_numpy(places).float(), t).double().numpy()
    longest = float(np.hypot(*found.T).max())
    return Field(found / longest * (places[1, 1] - places[0, 1]), longest)


def _scores(
    denoiser: Denoiser, exact: Denoiser | None, levels: Levels, clouds: list[Points], poll: Poll | None
) -> Html:
    side = np.linspace(-2.8, 2.8, PLACES)
    places = np.stack(np.meshgrid(side, side, indexing="ij"), -1).reshape(-1, 2)
    frames = []
    for t, sigma, cloud in zip(levels.times, levels.sigma, clouds, strict=True):
        may_stop(poll)
        own = field(denoiser, places, t)
        layers = [dots(cloud, "data faint")]
        text = f"t = {t:.2f}: the longest arrow stands for a score of length {own.longest:.3g}."
        if exact is not None:
            truth = field(exact, places, t)
            layers.append(arrows(places, truth.arrows * truth.longest / own.longest, "exact"))
            x_t = torch.from_numpy(cloud).float()
            with torch.inference_mode():
                gap = (score(denoiser, x_t, t) - score(exact, x_t, t)).mul(like(sigma, x_t)).square().mean()
            text += f" At the points, its ε̂ is off the best possible one by {float(gap):.4f} (mean square)."
        layers.append(arrows(places, own.arrows, "model"))
        frames.append(Frame(plane(*layers, alt=f"the score at t = {t:.2f}"), text))
    named: list[tuple[str, object]] = [
        ("data", "points with noise"),
        ("model", "the score" if exact is None else "the network's score"),
    ]
    if exact is not None:
        named.append(("exact", "the exact score, below it"))
    return section(
        "score",
        "The score",
        [
            "The arrows show at every place the direction in which the density of the noisy points grows: the score. "
            "A denoiser knows it, because it knows from where the points came.",
            "With much noise all arrows lead to the middle. With less, they lead to the nearest part of the world. "
            "Sampling follows them while the noise becomes less.",
        ],
        [
            equation(
                "∇ log q ( x_t ) =",
                fraction("α_t E [ x_0 ∣ x_t ] − x_t", squared("σ_t")),
                "= −",
                fraction("E [ ε ∣ x_t ]", "σ_t"),
            ),
            scene(frames, label="Time t", start=FIRST, group="level", still=_key(*named)),
        ],
    )


def candidates(points: Points, x_t: Points, alpha: float, sigma: float, n: int, seed: int) -> Points:
    """Return n of `points` (N, 2), drawn as often as each may have become x_t (2,): rows of q(x_0 | x_t)."""
    log = -((x_t - alpha * points) ** 2).sum(1) / (2 * sigma**2)
    weight = np.exp(log - log.max())
    return points[stream(seed, "explain-candidates").choice(len(points), n, p=weight / weight.sum())]


def _one(points: Points, levels: Levels, seed: int) -> Html:
    frames = []
    for i, t in enumerate(levels.times):
        x_t, mean = levels.x_t[i].double().numpy()[None], levels.x0_hat[i].double().numpy()[None]
        may = candidates(points, x_t[0], float(levels.alpha[i]), float(levels.sigma[i]), CANDIDATES, seed)
        drawn = plane(
            dots(points, "other faint"),
            dots(may, "data", 4.5),
            lines(x_t, mean, "ink"),
            dots(x_t, "ink", 9),
            dots(mean, "model", 9),
            alt=f"one noisy point at t = {t:.2f}, where it may have come from, and the mean of that",
        )
        away = float(np.hypot(*(mean - levels.x_0.double().numpy())[0]))
        frames.append(Frame(drawn, f"t = {t:.2f}: the expected point is {away:.2f} from where it really was."))
    named = (
        ("ink", "the noisy point"),
        ("data", "points that may have become it"),
        ("model", fill("their mean, {x}", x=maths("x̂_0"))),
    )
    return section(
        "point",
        "One point",
        [
            "Here is one point on its way into noise. Which points of the world may have become it? With little noise "
            "only its neighbours, with much noise nearly all of them.",
            "A denoiser answers with their mean. That is the answer with the least squared error, and it need not be a "
            "point of the world itself.",
        ],
        [
            equation("x̂_0 = E [ x_0 ∣ x_t ]"),
            scene(frames, label="Time t", start=FIRST, group="level", still=_key(*named)),
        ],
    )


@torch.inference_mode()
def _way(denoiser: Denoiser, how: Drawing, points: Points, poll: Poll | None) -> Html:
    schedule = denoiser.schedule
    times = calls_to_times(schedule, get_sampler(how.sampler), how.steps, how.grid, how.bounds)
    x = initial(denoiser, SampleNoise(how.seed, list(range(PATHS)), (2,), "cpu")(0), times)
    states = [x.double().numpy()]
    states += [s.x.double().numpy() for s in trajectory(denoiser, (2,), range(PATHS), how, poll=poll)]
    key, frames = _key(("model", "samples"), ("other", "the world")), []
    for i, (t, now) in enumerate(zip(times, states, strict=True)):
        tails = [lines(states[i - 1], now, "model faint")] if i else []
        drawn = plane(dots(points, "other faint"), *tails, dots(now, "model", 3.6), alt=f"samples at t = {t:.2f}")
        done = "The samples are done." if i == len(states) - 1 else f"{i} of {len(states) - 1} steps are done."
        frames.append(Frame(drawn, f"t = {t:.2f}: {done}"))
    return section(
        "way",
        "Back to data",
        [
            f"{PATHS} points begin as noise. In each step the sampler {how.sampler} asks where they are expected to "
            "come from, and moves them a little in that direction.",
            "No point knows the others, and yet together they become the world.",
        ],
        [
            equation("x_s ≈ α_s x̂_0 + σ_s ε̂ ,", fill("<mspace width='1em'/>"), "ε̂ =", fraction("x_t − α_t x̂_0", "σ_t")),
            scene(frames, label="Step", start=len(frames) // 2, still=key),
        ],
    )
