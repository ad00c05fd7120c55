"""The one budget that the flags of a command give."""

from typing import Any

from gendi.errors import Mend, UsageError


def one_budget(seconds: float | None, images: int | None, steps: int | None) -> dict[str, Any]:
    """Return the budget of --max-time, --images and --steps, by its name in `Budget`; empty if none is given.

    Raises `UsageError` if several are given.
    """
    flags = {"--max-time": ("seconds", seconds), "--images": ("images", images), "--steps": ("steps", steps)}
    given = [flag for flag, (_, value) in flags.items() if value is not None]
    if len(given) > 1:
        error = UsageError(f"{' and '.join(given)} cannot be given together: a run has one budget.")
        raise error.mended_by(*(Mend(drop=tuple(other for other in given if other != flag)) for flag in given))
    return dict(flags[flag] for flag in given)
