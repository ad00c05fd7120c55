"""Errors that a person can act on. Each is one clear paragraph, and sets the exit code of the command line.

The text of an error says what happened, where, why, and what to do about it. Anything that is not a `GendiError` is a
bug (exit code 1) and keeps its traceback.
"""

import difflib
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import ClassVar, NamedTuple, Self

MOST_NAMES = 30
"""Names that a message lists at most."""


class Mend(NamedTuple):
    """How the words of a command line are changed so that it is not refused for the same reason again."""

    put: Mapping[str, str] = MappingProxyType({})
    """Words, or values after "=", and what comes in their place."""
    drop: tuple[str, ...] = ()
    """Flags that are left out with their values."""
    add: tuple[str, ...] = ()
    """Words that come last; the value of a flag that was given before is replaced."""
    command: str | None = None
    """Another command, which takes the words instead."""
    args: tuple[str, ...] | None = None
    """All words after the command, as they should be; they are changed no further."""


class GendiError(Exception):
    """Base of every error that gendi raises on purpose. `exit_code` is what the command line returns."""

    exit_code: ClassVar[int] = 1
    relayed: bool = False
    """Whether the error came from another process of the run, which prints it."""
    mends: tuple[Mend, ...] = ()
    """Ways to mend the command line, if it was the command line that caused the error; each would do."""

    def mended_by(self, *mends: Mend) -> Self:
        """Return this error with ways to mend the command line; `gendi.cli.mending` writes them out."""
        self.mends = mends
        return self


class UsageError(GendiError, ValueError):
    """A flag, an argument or a configuration that makes no sense (exit code 2)."""

    exit_code = 2


class DataError(GendiError):
    """Bad, missing or unreachable data (exit code 3)."""

    exit_code = 3


class BundleError(GendiError):
    """A checkpoint or a bundle that is damaged, foreign or too new (exit code 4)."""

    exit_code = 4


class NewerFormatError(BundleError):
    """A file was written by a newer gendi. Falling back to an older checkpoint would lose work, so nothing does."""


class ResourceError(GendiError):
    """There is not enough memory or disk space, or a permission is missing (exit code 5)."""

    exit_code = 5


class DivergedError(GendiError):
    """Training produced NaN or infinity three times in a row, or a model gives them (exit code 6)."""

    exit_code = 6


class PreemptedError(GendiError):
    """The run was saved and stopped by SIGTERM or SIGUSR1; the same command goes on with it (exit code 75)."""

    exit_code = 75


class InterruptedRunError(GendiError):
    """The run was saved and stopped by Ctrl-C (exit code 130)."""

    exit_code = 130


def diverged(what: str) -> DivergedError:
    """Return the error for a model that gives NaN or infinity; `what` is the sentence that says where."""
    return DivergedError(
        f"{what} The training of the model diverged, or its weights are damaged: train anew with a smaller learning "
        "rate (--fresh --optim.lr), or use an earlier checkpoint."
    )


def unknown_name(kind: str, name: str, known: Iterable[str]) -> UsageError:
    """Return the error for an unknown `name`, which lists the known ones and suggests the nearest."""
    names = sorted(known)
    near = [each for each in names if each.casefold() == name.casefold()][:1] or difflib.get_close_matches(
        name, names, n=1
    )
    hint = f" Perhaps you meant {near[0]!r}." if near else ""
    listed = ", ".join(names) if len(names) <= MOST_NAMES else f"{', '.join(names[:MOST_NAMES])} and others"
    error = UsageError(f"There is no {kind} named {name!r}.{hint} Known: {listed}.")
    return error.mended_by(*(Mend(put={name: other}) for other in near))


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether `error` is a failed allocation of Python, NumPy or torch, on any device."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    text = str(error)
    return isinstance(error, RuntimeError) and ("DefaultCPUAllocator" in text or "out of memory" in text)
