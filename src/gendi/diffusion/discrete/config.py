"""Options of processes of tokens, and their losses. This module imports neither torch nor NumPy."""

from dataclasses import dataclass
from typing import Literal

from gendi.diffusion.discrete.objectives.registry import TOKEN_OBJECTIVES
from gendi.diffusion.discrete.schedules import TOKEN_SCHEDULES
from gendi.errors import UsageError, unknown_name

MASKED_SAMPLERS = ("cached", "first-hitting", "confidence")
"""The samplers that lift masks, and so are for the absorbing process alone."""


@dataclass(frozen=True)
class TokensConfig:
    """The discrete process, for data that are tokens; the tables `process` and `objective` are then unused."""

    process: Literal["none", "absorbing", "uniform"] = "none"
    """What noise makes of a token: a mask (`absorbing`: Sahoo et al. 2024, Shi et al. 2024) or another token
    (`uniform`: Austin et al. 2021). `none` is for data that are numbers, under Gaussian noise.
    """
    schedule: Literal["linear", "cosine", "polynomial"] | str = "linear"
    """How the probability that a token is still unchanged falls with time. For masks the bound does not depend on it.
    """
    steps: int | None = None
    """T of a discrete chain; none means continuous time in training and in sampling."""
    loss: Literal["any-order", "bound", "cross-entropy"] | str = "any-order"
    """`bound` is the variational bound, in nats per token; `any-order` is the same bound for masks, written in the
    number of masks instead of the time, which varies less; `cross-entropy` counts every noisy token alike.
    """
    vocabulary: int = 0
    """How many different tokens there are; 0 takes the number from the data."""

    @property
    def used(self) -> bool:
        """Whether the data are tokens."""
        return self.process != "none"


def validate(options: TokensConfig) -> None:
    """Raise `UsageError` naming the first option that cannot work."""
    if not options.used:
        return
    if options.loss not in TOKEN_OBJECTIVES:
        raise unknown_name("loss of tokens", options.loss, TOKEN_OBJECTIVES)
    if options.schedule not in TOKEN_SCHEDULES:
        raise unknown_name("schedule of tokens", options.schedule, TOKEN_SCHEDULES)
    info = TOKEN_OBJECTIVES[options.loss]
    if options.process not in info.processes:
        raise UsageError(
            f"tokens.loss = {options.loss!r} is for tokens.process = {' or '.join(map(repr, info.processes))}, and "
            f"this is {options.process!r}: take tokens.loss = 'bound'."
        )
    if options.steps is not None and not info.chain:
        raise UsageError(
            f"tokens.loss = {options.loss!r} is for continuous time: leave tokens.steps out, or take tokens.loss "
            "= 'bound'."
        )
