"""What the registry says of a sampler."""

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, get_origin

from gendi.diffusion.gaussian.samplers.state import State
from gendi.errors import UsageError, unknown_name


def identity(n: int) -> int:
    """Return n: a sampler that makes one call per interval of its grid."""
    return n


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
    calls_per_step: int = 1
    """Network calls in a step of full order; first and last steps may make fewer."""
    intervals: Callable[[int], int] = identity
    """Maps the number of calls to that of the grid's intervals."""
    adaptive: bool = False
    """Whether it chooses its own steps, so that the number of calls asked is the greatest allowed."""
    brownian: bool = False
    """Whether its noise is the increments of one Brownian path, whatever the grid."""

    @property
    def options(self) -> tuple[str, ...]:
        """The names of the options that `run` takes."""
        kinds = inspect.signature(self.run).parameters
        return tuple(name for name, p in kinds.items() if p.kind is p.KEYWORD_ONLY and name != "calls")

    def read_option(self, sampler: str, name: str, text: str) -> float | int | bool | str:
        """Return the value of option `name` that `text` stands for, of the type that `run` wants.

        Raises `UsageError` for an unknown option, one that no text stands for, or a text that is not of its type.
        """
        self.check_option(sampler, name)
        kind = inspect.signature(self.run).parameters[name].annotation
        if kind is bool and text.lower() in ("true", "false"):
            return text.lower() == "true"
        try:
            if kind in (int, float):
                number: float | int = kind(text)
                return number
        except ValueError:
            raise UsageError(f"{name} = {text!r} is no {'whole number' if kind is int else 'number'}.") from None
        if kind is str or get_origin(kind) is Literal:
            return text
        raise UsageError(f"the option {name} cannot be given as a word; give it from Python.")

    def check_option(self, sampler: str, name: str) -> None:
        """Raise `UsageError` for an option that `run` has not, naming those it has; `sampler` is its name."""
        if name not in self.options:
            if not self.options:
                raise UsageError(f"the sampler {sampler} has no options; got {name!r}.")
            raise unknown_name(f"option of the sampler {sampler}", name, self.options)

    @property
    def takes_calls(self) -> bool:
        """Whether `run` is told the number of calls, which its grid alone does not fix."""
        return "calls" in inspect.signature(self.run).parameters
