"""The description of a sampler of tokens in the registry."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from gendi.diffusion.discrete.samplers.state import TokenState
from gendi.diffusion.options import WithOptions


@dataclass(frozen=True)
class TokenSamplerInfo(WithOptions):
    """One sampler of tokens.

    Args:
        run: the sampler itself; see `gendi.diffusion.discrete.samplers`.
        use: one line on when to use it.
        processes: the processes whose denoisers it takes.
        calls_per_step: calls in a step, with the usual options.
        one_by_one: whether it makes as many calls as there are masks, whatever number is asked for.
    """

    run: Callable[..., Iterator[TokenState]]
    use: str
    processes: tuple[str, ...] = ("absorbing", "uniform")
    calls_per_step: int = 1
    one_by_one: bool = False

    not_options = ("fixed",)
