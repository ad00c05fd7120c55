"""Errors a person can act on: one clear paragraph each, and the exit code the command line ends with.

The text of an error says what happened, where, why, and how to mend it. Anything that is not a `GendiError` is a bug
(exit code 1) and keeps its traceback.
"""

import difflib
from collections.abc import Iterable
from typing import ClassVar


class GendiError(Exception):
    """Base of every error gendi raises on purpose. `exit_code` is what the command line returns."""

    exit_code: ClassVar[int] = 1
    relayed: bool = False
    """Whether another of several processes raised it first and says it."""


class UsageError(GendiError, ValueError):
    """A flag, an argument or a configuration that cannot mean anything (exit code 2)."""

    exit_code = 2


class DataError(GendiError):
    """Bad, missing or unreachable data (exit code 3)."""

    exit_code = 3


class BundleError(GendiError):
    """A checkpoint or a bundle that is damaged, foreign or too new (exit code 4)."""

    exit_code = 4


class NewerFormatError(BundleError):
    """Written by a newer gendi: an older checkpoint in its place would throw work away, so nothing falls back."""


class ResourceError(GendiError):
    """Out of memory, disk or permission (exit code 5)."""

    exit_code = 5


class DivergedError(GendiError):
    """Training produced NaN or infinity three times in a row (exit code 6)."""

    exit_code = 6


class PreemptedError(GendiError):
    """Stopped by SIGTERM or SIGUSR1 after saving: run the same command again (exit code 75)."""

    exit_code = 75


class InterruptedRunError(GendiError):
    """Stopped by Ctrl-C after saving (exit code 130)."""

    exit_code = 130


def unknown_name(kind: str, name: str, known: Iterable[str]) -> UsageError:
    """Return the error for a `name` that is no entry of a closed registry, with the nearest entry suggested."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1)
    hint = f" Perhaps you meant {near[0]!r}." if near else ""
    return UsageError(f"There is no {kind} named {name!r}.{hint} Known: {', '.join(names)}.")


def is_out_of_memory(error: BaseException) -> bool:
    """Say whether `error` is a failed allocation, be it Python's, NumPy's or torch's (on any device)."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    text = str(error)
    return isinstance(error, RuntimeError) and ("DefaultCPUAllocator" in text or "out of memory" in text)
