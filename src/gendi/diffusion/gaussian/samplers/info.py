"""The description of a sampler in the registry."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from gendi.diffusion.gaussian.samplers.state import State
from gendi.diffusion.options import WithOptions


def identity(n: int) -> int:
    """Return n: a sampler that makes one call per interval of its grid."""
    return n


@dataclass(frozen=True)
class SamplerInfo(WithOptions):
    """One sampler: its function, the grid that suits it, its order, and whether it draws noise on the way."""

    run: Callable[..., Iterator[State]]
    """The sampler itself; see `gendi.diffusion.gaussian.samplers`."""
    grid: str
    """The name of the grid that suits it."""
    order: int
    """The power of the step with which its error falls, on a smooth problem and a grid on which all steps in log-SNR
    shrink. The error is that of the state for samplers without noise, that of the state on one Brownian path (strong)
    if `brownian`, and that of the distribution of the states (weak) for other samplers with noise. 0 means that an
    error remains however small the steps are. On a grid even in t, the first steps from t = 1, where alpha is nearly 0,
    span as much log-SNR however many steps there are. There the error of any sampler that uses one value of the
    denoiser for the first step falls as alpha^2 after it, which is order 2 for cosine.
    """
    deterministic: bool
    """Whether it draws no noise after the start."""
    use: str
    """One line on when to use it."""
    quick: bool = True
    """Whether some tens of steps are enough."""
    calls_per_step: int = 1
    """Network calls in a step of full order; the first and the last step may make fewer."""
    intervals: Callable[[int], int] = identity
    """Maps a number of calls to the number of intervals of the grid."""
    adaptive: bool = False
    """Whether it chooses its own steps; the requested number of calls is then the greatest allowed."""
    takes: Literal["mean", "end", "map"] = "mean"
    """What it takes the denoiser's answer to be: E[x_0 | x_t]; the end of the path of x_t, which is the answer of a
    consistency function; or that of a flow map, which it needs."""
    brownian: bool = False
    """Whether its noise is made of the increments of one Brownian path, the same for every grid."""

    @property
    def takes_calls(self) -> bool:
        """Whether `run` takes the number of calls, because its grid alone does not determine it."""
        return self.takes_argument("calls")
