"""Which walk a RUN argument asks for, and the page."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gendi.api.request import Request
from gendi.data import open_data
from gendi.data.kinds import kind_of
from gendi.data.toy.codec import PointCodec
from gendi.data.toy.kind import TOYS
from gendi.data.toy.worlds import world
from gendi.diffusion.gaussian.config import STUDENTS
from gendi.diffusion.gaussian.samplers import SAMPLERS, Drawing
from gendi.diffusion.gaussian.schedule import make_schedule
from gendi.errors import GendiError, UsageError
from gendi.machine.stopping import Poll
from gendi.report.explain.mathml import maths
from gendi.report.explain.pictures import Told, picture_sections
from gendi.report.explain.plane import plane_sections
from gendi.report.film import SCRIPT
from gendi.report.page import Html, fill, page, section
from gendi.train.kept.bundle import Bundle
from gendi.train.kept.folders import place_of

SAMPLER, CALLS = "ddim", 30
"""How points are drawn with an exact denoiser."""


def is_world(run: str) -> bool:
    """Return whether a RUN argument names a toy world, toy:NAME, and no model."""
    return run.startswith(f"{TOYS.name}:")


def explain_world(spec: str, seed: int = 0, *, poll: Poll | None = None) -> str:
    """Return a page, one file that needs no network, that walks through the processes of a toy world, toy:NAME.

    Its best possible denoiser, which is a formula, takes the network's place. `poll` is called between pictures; raise
    from it to stop. Raises `UsageError` for an unknown world.
    """
    name = TOYS.place(spec)[0]
    found = world(name)
    how = Drawing(sampler=SAMPLER, steps=CALLS, seed=seed)
    drawn = plane_sections(found, found.denoiser(make_schedule("cosine")), how, seed, learned=False, poll=poll)
    lead = f"The world {name} is so simple that the best possible denoiser is a formula: no network is needed."
    return _page(name, lead, drawn)


def explain_model(
    bundle: Bundle,
    run: str,
    *,
    picture: NDArray[np.uint8] | None = None,
    named: str = "",
    condition: Mapping[str, Any] | None = None,
    seed: int = 0,
    poll: Poll | None = None,
) -> str:
    """Return a page, one file that needs no network, that walks through the processes of a model.

    Args:
        bundle: a model of pictures, or of a toy world.
        run: where it is: a run's folder, a bundle, or the name of a model that comes with gendi.
        picture: bytes (H, W, C) of the model's size; by default the first held-out picture of the run's data or, where
            they are not there or the model is a shipped one, a sample of the model.
        named: what the picture is called.
        condition: conditions of the pictures, as `gendi.sample` takes them.
        seed: of all noises.
        poll: called between calls of the network; raise from it to stop.

    Raises:
        UsageError: a model of something else, or a student; a picture or a condition for a toy world; a condition that
            the model does not know or cannot do without.
    """
    name, kind = Path(run).resolve().name, kind_of(bundle.codec.kind)
    lead = f"A diffusion model of {kind.noun}, taken apart."
    if bundle.config.objective.loss in STUDENTS:
        raise UsageError(
            f"{run} is a student, which jumps to data in a few calls and has no steps to show. Explain its teacher."
        )
    if isinstance(bundle.codec, PointCodec):
        if picture is not None or condition:
            raise UsageError(f"{run} is a model of points, which are shown as they are: leave --image and --class out.")
        how = Request.of(bundle, 1, {"seed": seed}).how
        if not SAMPLERS[how.sampler].quick or SAMPLERS[how.sampler].adaptive:
            how = Drawing(sampler=SAMPLER, steps=CALLS, seed=seed)
        found = world(bundle.codec.world)
        drawn = plane_sections(found, bundle.denoiser(), how, seed, learned=True, poll=poll)
        return _page(name, lead, drawn)
    if not kind.pictures:
        raise UsageError(f"gendi explain shows models of pictures and of toy worlds; {run} is a model of {kind.noun}.")
    source = f"your picture {named}" if named else "your picture"
    if picture is None:
        picture, source = _picture(run, bundle)
    return _page(name, lead, picture_sections(bundle, Told(picture, source, condition or {}, seed), poll))


def _picture(run: str, bundle: Bundle) -> tuple[NDArray[np.uint8] | None, str]:
    """Return the first held-out picture of a run, if its data are there, and what it is."""
    spec = bundle.meta.get("data_spec")
    if not place_of(run).shipped and isinstance(spec, str):
        try:
            size = bundle.codec.shape[1], bundle.codec.shape[2]
            data = open_data(spec, size=size)
            return data.heldout.batch([0])[0], "a picture of the data that the network was never trained on"
        except GendiError:
            pass
    return None, "a sample that the model drew itself (--image shows a picture of yours)"


def _page(name: str, lead: str, drawn: list[tuple[str, str, Html]]) -> str:
    top = fill(
        '<div class="hero"><div class="hero-text"><p class="kind">gendi explain · how diffusion works</p>'
        '<h1>{name}</h1><p class="lead">{lead} Every picture below has a slider; the equation beside it says what you '
        "see.</p></div></div>",
        name=name,
        lead=lead,
    )
    drawn = [*drawn, ("symbols", "Symbols", _symbols())]
    footer = "This page loads nothing from anywhere. The book of gendi derives every equation on it."
    return page(f"{name} explained · gendi", top, drawn, footer, scripts=[SCRIPT], styles=("page.css", "explain.css"))


def _symbols() -> Html:
    meanings = [
        ("t", "the time: 0 is data, 1 is noise"),
        ("x_0", "the clean example"),
        ("x_t", "the example with the noise of time t"),
        ("ε", "the noise: every number of it is drawn from N(0, 1)"),
        ("α_t", "how much of the example is left at time t"),
        ("σ_t", "how much noise there is at time t"),
        ("x̂_0", "what the denoiser expects the clean example to be, the mean of all that it can be"),
        ("ε̂", "the noise that is in the example if the denoiser is right"),
    ]
    rows = [
        fill('<tr><th scope="row">{symbol}</th><td>{text}</td></tr>', symbol=maths(symbol), text=text)
        for symbol, text in meanings
    ]
    table = fill('<div class="scroll"><table class="plain symbols"><tbody>{rows}</tbody></table></div>', rows=rows)
    return section("symbols", "Symbols", ["What the letters on this page mean."], [table])
