"""The walk for a model of pictures."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gendi.api.conditions import read_conditions
from gendi.api.models import Models, null_where_silent
from gendi.api.request import Request
from gendi.data.images.codec import pictures_only
from gendi.diffusion.conditions import requested_conditions
from gendi.diffusion.gaussian.conditioned import conditioned
from gendi.diffusion.gaussian.config import ObjectiveConfig
from gendi.diffusion.gaussian.denoiser import Denoiser
from gendi.diffusion.gaussian.samplers import SAMPLERS
from gendi.diffusion.gaussian.samplers.draw import calls_to_times
from gendi.diffusion.randomness import normal
from gendi.machine.stopping import Poll
from gendi.report.explain.mathml import fraction, maths, number, root, row, squared
from gendi.report.explain.plot import Curve, curves
from gendi.report.explain.scene import Frame, operator, scene, sheet, term, terms, tile
from gendi.report.explain.walk import DRAWS, FIRST, STEPS, Levels, Step, look, walk_back
from gendi.report.page import Html, fill, section
from gendi.report.processes import Film, reverse_film, visible
from gendi.train.kept.bundle import Bundle

SHOWN = 6
"""Samples of the last scene."""


@dataclass(frozen=True)
class Told:
    """What the walk shows: the picture, where it is from, and the requested conditions as `gendi.sample` takes them."""

    picture: NDArray[np.uint8] | None
    """(H, W, C); None for a sample of the model's own."""
    source: str
    condition: Mapping[str, Any]
    seed: int = 0


def picture_sections(bundle: Bundle, told: Told, poll: Poll | None = None) -> list[tuple[str, str, Html]]:
    """Return the sections (key, name, markup) of the walk.

    Raises `UsageError` for a condition that the model does not know, or was never trained without and is not requested.
    """
    codec, schedule = pictures_only(bundle.codec, "gendi explain"), bundle.schedule()
    models = Models.read(bundle, None)
    values = null_where_silent(models.conditions, read_conditions(models.conditions, told.condition, range(1)))
    cond = requested_conditions(models.conditions, values, 1)
    plain = models.denoiser(None, cond, precision="fp32", clip=False)

    def with_rows(n: int) -> Denoiser:
        return conditioned(plain, {name: value.expand(n, *value.shape[1:]) for name, value in cond.items()})

    film = reverse_film(bundle, Request.of(bundle, SHOWN, {"seed": told.seed}, condition=told.condition), poll=poll)
    pixels = film.noisy[-1, SHOWN - 1] if told.picture is None else told.picture
    x_0 = codec.encode(torch.from_numpy(pixels[None].copy()))[0]
    levels = look(with_rows(DRAWS), x_0, told.seed, poll=poll)
    calls = STEPS if schedule.steps is None else min(STEPS, schedule.steps)
    times = calls_to_times(schedule, SAMPLERS["ancestral"], calls, None, bundle.bounds)
    start = schedule(times[0])[1].float() * normal(codec.shape, told.seed, "explain-start")
    steps = walk_back(with_rows(1), start, times, told.seed, poll=poll)

    def pixels_of(x: Tensor, t: Tensor | float = 0.0) -> NDArray[np.uint8]:
        shown = visible(x[None], schedule, torch.as_tensor(t, dtype=torch.float64))
        return np.asarray(codec.decode(shown.float()).numpy()[0])

    return [
        ("noise", "Into noise", noise_section(levels, told.source, pixels_of)),
        ("network", "The network", network_section(levels, bundle.config.objective, pixels_of)),
        ("step", "One step back", step_section(steps, pixels_of)),
        ("way", "All the way", way_section(film)),
    ]


def equation(*parts: str | Html) -> Html:
    """Return an equation in a line of its own."""
    return fill('<div class="equation">{maths}</div>', maths=maths(*parts, block=True))


def noise_section(levels: Levels, source: str, pixels_of: Any) -> Html:
    """Return the section on the forward process: the picture, the noise, and their sum at every level."""
    clean, eps = tile(pixels_of(levels.x_0), "the clean picture"), tile(pixels_of(levels.eps), "pure noise")
    frames = []
    for t, alpha, sigma, x_t in zip(levels.times, levels.alpha, levels.sigma, levels.x_t, strict=True):
        body = terms(
            term(tile(pixels_of(x_t, t), f"the picture at t = {t:.2f}"), maths("x_t")),
            operator("="),
            term(clean, maths(number(float(alpha)), "x_0"), "the picture"),
            operator("+"),
            term(eps, maths(number(float(sigma)), "ε"), "noise"),
        )
        frames.append(Frame(body, f"t = {t:.2f}: {_ratio(float(alpha), float(sigma))}"))
    return section(
        "noise",
        "Into noise",
        [
            f"Here is {source}. The forward process mixes it with Gaussian noise. Nothing is learned in this part.",
            fill(
                "The time {t} runs from 0 (the picture) to 1 (noise). It sets two numbers: how much of the picture is "
                "left, {a}, and how much noise there is, {s}. One formula leads to any {t} at once.",
                t=maths("t"),
                a=maths("α_t"),
                s=maths("σ_t"),
            ),
            "Move the slider. From which level on can you no longer say what it is?",
        ],
        [
            equation("x_t = α_t x_0 + σ_t ε ,", fill("<mspace width='1em'/>"), "ε ∼ N ( 0 , I )"),
            scene(frames, label="Time t", start=FIRST, group="level", still=level_curves(levels)),
        ],
    )


def level_curves(levels: Levels) -> Html:
    """Return the chart of alpha and sigma over t."""
    drawn = [
        Curve(levels.alpha.numpy(), "α: picture", "s0"),
        Curve(levels.sigma.numpy(), "σ: noise", "s1"),
    ]
    return curves(levels.times.numpy(), drawn, "How much picture and how much noise there is over t", start=FIRST)


def _ratio(alpha: float, sigma: float) -> str:
    ratio = (alpha / sigma) ** 2
    if ratio >= 1:
        return f"the picture's part has {ratio:,.3g} times the weight of the noise (the signal-to-noise ratio)."
    return f"the noise has {1 / max(ratio, 1e-12):,.3g} times the weight of the picture's part."


def network_section(levels: Levels, objective: ObjectiveConfig, pixels_of: Any) -> Html:
    """Return the section on what the network says at every level, beside the truth."""
    frames = []
    truth = [
        term(tile(pixels_of(levels.x_0), "the clean picture"), maths("x_0"), "the truth"),
        term(tile(pixels_of(levels.eps), "the noise"), maths("ε"), "the truth"),
    ]
    for i, t in enumerate(levels.times):
        body = fill(
            "{said}{true}",
            said=terms(
                term(tile(pixels_of(levels.x_t[i], t), f"the picture at t = {t:.2f}"), maths("x_t"), "what it sees"),
                term(tile(pixels_of(levels.x0_hat[i]), "the picture that it expects"), maths("x̂_0"), "what it expects"),
                term(tile(pixels_of(levels.eps_hat[i]), "the noise that is left"), maths("ε̂"), "so the noise is"),
            ),
            true=terms(fill("<div></div>"), *truth),
        )
        said = (
            f"t = {t:.2f}: the expected noise is off by {levels.eps_error[i]:.3f}, the expected picture by "
            f"{levels.x0_error[i]:.4f} (mean squares over {DRAWS} noises)."
        )
        frames.append(Frame(body, said))
    errors = curves(
        levels.times.numpy(),
        [
            Curve(levels.eps_error.double().clamp(min=1e-9).numpy(), "error of ε̂", "s1"),
            Curve(levels.x0_error.double().clamp(min=1e-9).numpy(), "error of x̂", "s0"),
        ],
        "Mean squared errors over t",
        start=FIRST,
        log=True,
    )
    text: list[object] = [
        "The network sees the noisy picture and the level of noise, and nothing else. Training taught it one thing: to "
        "say what the clean picture is.",
        fill(
            "Where much noise covers the picture, many pictures are possible. The answer {x} with the least squared "
            "error is their mean, so it is blurred. That is no fault of the network.",
            x=maths("x̂_0"),
        ),
        *meaning(objective),
        fill(
            "The direction in which {x} becomes more probable, the score, is the expected noise with a minus: {score}.",
            x=maths("x_t"),
            score=maths("∇ log q ( x_t ) ≈ −", fraction("ε̂", "σ_t")),
        ),
    ]
    return section(
        "network",
        "What the network says",
        text,
        [
            equation("x̂_0 = E [ x_0 ∣ x_t ] ,", fill("<mspace width='1em'/>"), "ε̂ =", fraction("x_t − α_t x̂_0", "σ_t")),
            scene(frames, label="Time t", start=FIRST, group="level", still=errors),
        ],
    )


def meaning(objective: ObjectiveConfig) -> list[Html]:
    """Return a sentence on what the network's output is, with its equation."""
    outputs: dict[str, tuple[str, tuple[str | Html, ...]]] = {
        "eps": ("the noise", ("x̂_0 =", fraction("x_t − σ_t ε̂", "α_t"))),
        "v": (
            "a mixture v of noise and picture",
            ("x̂_0 =", fraction("α_t x_t − σ_t v̂", row(squared("α_t"), "+", squared("σ_t")))),
        ),
        "mu": ("the mean of the next step", ("x̂_0 =", fraction("μ̂ − w_t x_t", "w_0"))),
        "x0": ("the picture itself", ()),
        "edm": ("a correction F of what it sees", ("x̂_0 = c_skip x_t + c_out F ( c_in x_t , t )",)),
    }
    said, parts = outputs["edm" if objective.precondition else objective.prediction]
    how = fill(" It is turned into {x}.", x=maths(*parts)) if parts else ""
    return [fill("The output of this network is {said}.{how}", said=said, how=how)]


def step_section(steps: list[Step], pixels_of: Any) -> Html:
    """Return the section on ancestral sampling: each step as a sum of pictures."""
    frames = []
    for step in steps:
        drawn = [
            term(tile(pixels_of(step.x_s, step.s), "after the step"), maths("x_s"), f"s = {step.s:.2f}"),
            operator("="),
            term(tile(pixels_of(step.x_t, step.t), "before"), maths(number(step.w_t), "x_t"), f"t = {step.t:.2f}"),
            operator("+"),
            term(tile(pixels_of(step.x0_hat), "expected"), maths(number(step.w_0), "x̂_0"), "what it expects"),
            operator("+"),
            term(tile(pixels_of(step.z), "new noise"), maths(number(step.spread), "z"), "new noise"),
        ]
        last = " The last step adds no noise." if step.s == 0 else ""
        frames.append(Frame(terms(*drawn), f"From t = {step.t:.2f} to s = {step.s:.2f}.{last}"))
    wide = fill("<mspace width='1em'/>")
    return section(
        "step",
        "One step back",
        [
            fill(
                "Sampling starts from pure noise. A step goes from {t} to a smaller time {s}: it keeps most of what is "
                "there, adds some of what the network expects, and adds a little new noise.",
                t=maths("t"),
                s=maths("s"),
            ),
            fill(
                "The three weights are not chosen. They are those of the exact answer to “where was {s}, if {t} is "
                "here and the picture was {x}?”, the posterior of the forward process.",
                s=maths("x_s"),
                t=maths("x_t"),
                x=maths("x̂_0"),
            ),
            f"This is the sampler of the DDPM paper in {len(steps)} steps (there it had 1000).",
        ],
        [
            equation("x_s = w_t x_t + w_0 x̂_0 +", root("β̃_ts"), "z"),
            equation(
                "w_t =",
                row("α_ts", fraction(squared("σ_s"), squared("σ_t"))),
                ",",
                wide,
                "w_0 =",
                row("α_s", fraction(squared("σ_ts"), squared("σ_t"))),
                ",",
                wide,
                "β̃_ts =",
                row(squared("σ_ts"), fraction(squared("σ_s"), squared("σ_t"))),
            ),
            fill(
                '<p class="note">Here {a} and {v}: what a single step from {s} to {t} leaves of the picture, and the '
                "variance of the noise that it adds.</p>",
                a=maths("α_ts =", fraction("α_t", "α_s")),
                v=maths(squared("σ_ts"), "=", squared("σ_t"), "−", squared("α_ts"), squared("σ_s")),
                s=maths("s"),
                t=maths("t"),
            ),
            scene(frames, label="Step", start=len(frames) // 2),
        ],
    )


def way_section(film: Film) -> Html:
    """Return the section on several samples, with the model's own sampler."""
    frames = []
    for i, t in enumerate(film.times):
        both = np.concatenate([film.noisy[i], film.guesses[i]])
        picture = sheet(both, film.noisy.shape[1], f"{SHOWN} samples at t = {t:.2f}, and what is expected of them")
        now = "The samples are done." if i == film.steps else f"{i} of {film.steps} steps are done."
        frames.append(Frame(picture, f"t = {t:.2f}: {now}"))
    return section(
        "way",
        "All the way",
        [
            f"These are {film.noisy.shape[1]} samples of the model by its own sampler, {film.sampler}, in {film.steps} "
            "steps.",
            fill("Above is {x}, below what the network expects at that moment, {y}.", x=maths("x_t"), y=maths("x̂_0")),
            "Watch the lower row. At first all expectations are alike: the mean of all pictures. Then each is led to "
            "one kind of picture, and at the end only details change.",
        ],
        [scene(frames, label="Step", start=film.steps // 2)],
    )
