"""The registry of objectives of tokens. This module does not import torch.

Your own is added by `register`, or by the entry points `gendi.token_objectives` of an installed package.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from gendi.machine.registry import Registry, at_address

if TYPE_CHECKING:
    from gendi.diffusion.discrete.objectives.base import TokenObjective
    from gendi.diffusion.discrete.process import TokenProcess

_HERE = "gendi.diffusion.discrete.objectives"


@dataclass(frozen=True)
class TokenObjectiveInfo:
    """An objective of tokens in the registry.

    Args:
        make: a class or a function that makes the objective from a process; or its address.
        about: one line that says what it is.
        processes: the processes that it is for.
        chain: whether it can train a chain of T steps; all can train continuous time.
    """

    make: "str | Callable[[TokenProcess], TokenObjective]"
    about: str
    processes: tuple[str, ...] = ("absorbing", "uniform")
    chain: bool = False

    def build(self, process: "TokenProcess") -> "TokenObjective":
        """Return the objective under `process`."""
        make = self.make
        if isinstance(make, str):
            make = cast("Callable[[TokenProcess], TokenObjective]", at_address(make))
        return make(process)


TOKEN_OBJECTIVES: Registry[TokenObjectiveInfo] = Registry(
    "loss of tokens",
    "gendi.token_objectives",
    {
        "bound": TokenObjectiveInfo(
            f"{_HERE}.bound:TokenBoundLoss", "the variational bound, at one drawn time", chain=True
        ),
        "any-order": TokenObjectiveInfo(
            f"{_HERE}.any_order:AnyOrder", "the bound for masks, by the number of masks", ("absorbing",)
        ),
        "cross-entropy": TokenObjectiveInfo(
            f"{_HERE}.cross_entropy:CrossEntropy", "the cross-entropy of noisy tokens, without weights"
        ),
    },
)
"""The objectives of tokens by the names that `tokens.loss` may have."""
