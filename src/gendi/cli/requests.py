"""From flags to a request, and from a request to samples: what `gendi sample`, `gendi evaluate` and the edits share."""

import dataclasses
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch

from gendi.api.conditions import as_words
from gendi.api.guidance import Guidance
from gendi.api.impute import BATCH as ROWS
from gendi.api.models import Models
from gendi.api.prepared import Prepared
from gendi.api.request import Request, enough_calls, own_guidance, samplers_with_eta
from gendi.cli.condition_flags import ConditionFlags
from gendi.cli.console import say
from gendi.cli.values import format_duration
from gendi.data.images.class_rows import Asked
from gendi.data.kinds import kind_of
from gendi.diffusion.gaussian.samplers import Drawing
from gendi.errors import UsageError
from gendi.train.kept.bundle import Bundle
from gendi.train.kept.moment import moment_of
from gendi.train.progress.signals import StopFlag
from gendi.train.weights.families import family_of

BATCH = 250
ESTIMATE_AFTER, LONG = 3.0, 600.0
"""After how many seconds of drawing its length is estimated, and above how many seconds to go that is said."""


def classes_asked(ready: Prepared) -> dict[str, Any]:
    """Return the keyword by which files of pictures learn their classes; empty for other data, and without classes."""
    bundle, labels = ready.models.own, ready.cond.get("class")
    if labels is None or labels.ndim != 1 or labels.is_floating_point() or not kind_of(bundle.codec.kind).pictures:
        return {}
    spec = next(spec for spec in ready.models.conditions if spec.name == "class")
    requested = "class" in ready.request.condition
    return {"asked": Asked(labels.cpu().numpy(), spec.names, requested)}


def pick_device() -> str:
    """Return the device that work goes to: cuda, mps or cpu."""
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


@runtime_checkable
class DrawingFlags(Protocol):
    """The flags of every command that draws samples; those that were not given are None."""

    @property
    def sampler(self) -> str | None: ...
    @property
    def steps(self) -> int | None: ...
    @property
    def seed(self) -> int | None: ...
    @property
    def wanted(self) -> ConditionFlags: ...


def make_request(bundle: Bundle, run: str, n: int, flags: DrawingFlags) -> Request:
    """Return the request that flags stand for. Raises `UsageError` for an unknown sampler."""
    sampler = flags.sampler or bundle.config.sample.sampler
    steps = flags.steps or enough_calls(sampler, bundle)
    return Request(
        run,
        n,
        Drawing(steps=steps, sampler=sampler, seed=flags.seed or 0, bounds=bundle.bounds),
        condition=as_words(flags.wanted.conditions()),
        guidance=Guidance.from_dict(flags.wanted.guidance_fields()) or own_guidance(bundle),
        clip=bundle.config.sample.clip,
    )


def read_options(
    words: tuple[str, ...], eta: float | None, sampler: str, bundle: Bundle
) -> dict[str, float | int | bool | str]:
    """Return the options of a sampler of the family of `bundle` from NAME=VALUE and --eta.

    Raises `UsageError` for an option that the sampler has not, or a word that is no value of it.
    """
    info, found = family_of(bundle.config).find_sampler(sampler), {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals:
            raise UsageError(f"--options {word}: an option is written NAME=VALUE, for instance churn=20.")
        option = name.replace("-", "_")
        found[option] = info.read_option(sampler, option, value)
    if eta is not None:
        if "eta" not in info.options:
            raise UsageError(f"--eta is an option of {', '.join(samplers_with_eta())}; {sampler} has none.")
        found["eta"] = eta
    return found


def made_here(request: Request, batch_size: int | None, models: Models) -> Request:
    """Return the request as it is drawn on this machine: on its device, with the hashes of the models that draw."""
    how = dataclasses.replace(
        request.how, batch_size=batch_size or (ROWS if request.where else BATCH), device=pick_device()
    )
    guides = {name: digest for name, digest in models.sha256.items() if name}
    return dataclasses.replace(request, how=how, weights=models.own.sha256, guides=guides)


def say_moment(run: str, bundle: Bundle) -> None:
    """Say of which step a model is, if its run has not finished: while it trains, and after it was stopped."""
    if (moment := moment_of(Path(run), bundle)) is not None:
        say(f"note: {moment}")


def say_what_changed(
    source: str, places: Mapping[str, str], old: Mapping[str, str | None], new: Mapping[str, str | None]
) -> None:
    """Say of each of `places`, by name, that it is not what `source` was drawn with, where two SHA-256 differ."""
    for name, place in places.items():
        if old.get(name) not in (None, new.get(name)):
            say(f"note: the weights in {place} are not those that {source} was drawn with; the samples will differ.")


def announced(request: Request, stop: StopFlag, aloud: bool = True) -> Callable[[], None]:
    """Return what to poll while drawing: it says, before the first step, what is drawn, and stops if a signal came.

    If the first calls show that the drawing will take long, it says about how long.
    """
    said: list[str] = []
    begun, done = time.monotonic(), 0
    calls = request.how.steps * math.ceil(request.n / request.how.batch_size)

    def poll() -> None:
        nonlocal done
        done += 1
        spent = time.monotonic() - begun
        if aloud and len(said) == 1 and spent > ESTIMATE_AFTER:
            said.append("")
            if (left := spent / done * (calls - done)) > LONG:
                say(
                    f"about {format_duration(left)} to go, judging by the first {done} of {calls:,} calls; --steps N "
                    "makes fewer calls"
                )
        if aloud and not said:
            way = f"cells given, {calls:,}" if request.where else f"{request.how.sampler}, {request.how.steps}"
            said.append(f"drawing {request.n:,} samples: {way} calls")
            say(f"{said[0]}, seed {request.how.seed}")
        stop.raise_if_requested("Nothing was written.")

    return poll
