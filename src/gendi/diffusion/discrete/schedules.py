"""The registry of schedules of tokens. This module does not import torch.

Your own is added by `register`, or by the entry points `gendi.token_schedules` of an installed package.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from gendi.machine.registry import Registry, at_address

if TYPE_CHECKING:
    from gendi.diffusion.discrete.schedule import TokenSchedule

_HERE = "gendi.diffusion.discrete.schedule"


@dataclass(frozen=True)
class TokenScheduleInfo:
    """A schedule in the registry; `make` is a class or a function that makes it, or its address."""

    make: "str | Callable[[], TokenSchedule]"

    def build(self) -> "TokenSchedule":
        """Return the schedule."""
        return cast("Callable[[], TokenSchedule]", at_address(self.make) if isinstance(self.make, str) else self.make)()


TOKEN_SCHEDULES: Registry[TokenScheduleInfo] = Registry(
    "schedule of tokens",
    "gendi.token_schedules",
    {
        "linear": TokenScheduleInfo(f"{_HERE}:Linear"),
        "cosine": TokenScheduleInfo(f"{_HERE}:Cosine"),
        "polynomial": TokenScheduleInfo(f"{_HERE}:Polynomial"),
    },
)
"""The schedules by the names that `tokens.schedule` may have."""


def make_token_schedule(name: str) -> "TokenSchedule":
    """Return the schedule of this name. Raises `UsageError` for an unknown one."""
    return TOKEN_SCHEDULES.find(name).build()
