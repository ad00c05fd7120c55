"""The closed registry of samplers: a name, the function, its options, and one line on when to use it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from gendi.errors import unknown_name
from gendi.samplers.ancestral import ancestral
from gendi.samplers.ddim import ddim
from gendi.samplers.dpmpp import dpmpp_2m
from gendi.samplers.state import State


@dataclass(frozen=True)
class SamplerInfo:
    """One sampler: what it runs, the grid that suits it, its order, and whether it draws noise on the way."""

    run: Callable[..., Iterator[State]]
    grid: str
    order: int
    deterministic: bool
    use: str
    quick: bool = True
    """Whether some tens of steps are enough."""


SAMPLERS: dict[str, SamplerInfo] = {
    "ancestral": SamplerInfo(ancestral, "uniform", 1, False, "the paper's Algorithm 2; hundreds of steps", quick=False),
    "ancestral-large": SamplerInfo(
        partial(ancestral, variance="large"),
        "uniform",
        1,
        False,
        "Algorithm 2 with variance beta; best with all T steps",
        quick=False,
    ),
    "ancestral-karras": SamplerInfo(
        ancestral, "karras", 1, False, "the default: 20 steps where they count; its noise corrects a model's errors"
    ),
    "ddim": SamplerInfo(ddim, "uniform", 1, True, "deterministic, 20 to 100 steps; --eta adds noise"),
    "dpmpp-2m": SamplerInfo(dpmpp_2m, "karras", 2, True, "deterministic, good samples in 10 to 20 steps"),
    "dpmpp-2m-sde": SamplerInfo(
        partial(dpmpp_2m, eta=1.0), "karras", 1, False, "the reverse SDE at second order; 20 steps"
    ),
}


def get_sampler(name: str) -> SamplerInfo:
    """Return the sampler `name`. Raises `UsageError` with the nearest name for an unknown one."""
    if name not in SAMPLERS:
        raise unknown_name("sampler", name, SAMPLERS)
    return SAMPLERS[name]
