"""What the command line says when something went wrong, and the exit code it ends with."""

import contextlib
import errno
import os
import sys
import traceback
from collections.abc import Sequence

from gendi.errors import GendiError, ResourceError, UsageError, is_out_of_memory
from gendi.machine.streams import tell

_NO_ROOM = ("cannot allocate memory", "failed to map segment", "cannot create thread", "out of memory")
BUG, INTERRUPTED, BROKEN_PIPE = 1, 130, 141
_REFUSED = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC), errno.EACCES, errno.EPERM, errno.EROFS, errno.EFBIG}


def explain(error: BaseException, debug: bool = False, words: Sequence[str] = ()) -> int:
    """Print one paragraph about `error` to stderr (its traceback too with `debug`) and return the exit code.

    Below it stands the command line `words` with the mend that the error names, if it names one.
    """
    if isinstance(error, BrokenPipeError):  # the reader, `head` for instance, has had enough
        with contextlib.suppress(OSError, ValueError):  # what is left to flush at exit must go nowhere
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    if debug:
        traceback.print_exception(error)
    code, text = _paragraph(error)
    text = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)  # a stranger's names move no cursor
    if isinstance(error, GendiError) and error.relayed:
        return code
    rank = os.environ.get("RANK", "0") if os.environ.get("WORLD_SIZE", "1") != "1" else "0"
    who = "gendi" if rank == "0" else f"gendi (process {rank})"
    tell(f"{who}: {text}")
    for line in _mended(error, words):
        tell(f"  {line}")
    return code


def _mended(error: BaseException, words: Sequence[str]) -> list[str]:
    """Return the command lines that would do; none for several processes, whose launcher is not among the words."""
    if not isinstance(error, GendiError) or not error.mends or os.environ.get("WORLD_SIZE", "1") != "1":
        return []
    from gendi.cli.console import program
    from gendi.cli.mending import mended_lines

    return mended_lines(words, error, program())


def _paragraph(error: BaseException) -> tuple[int, str]:
    if isinstance(error, GendiError):
        return error.exit_code, " ".join(str(error).split())
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED, "Stopped by Ctrl-C. What was saved before is intact; run the same command again to go on."
    if is_out_of_memory(error):
        return ResourceError.exit_code, (
            f"Out of memory: {_first_line(error)} Take smaller batches (--batch-size), smaller images (--size) or a "
            "narrower network (--network.channels), or close other programs."
        )
    if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
        return UsageError.exit_code, f"{error.filename or 'A path'} is too long for this disk: choose a shorter name."
    if isinstance(error, RuntimeError) and str(error).startswith("Could not determine home"):
        return UsageError.exit_code, (
            "A path begins with ~, and there is no such user, or no home folder. Write the whole path; GENDI_CACHE "
            "says where downloads are kept."
        )
    if isinstance(error, ImportError) and _lacks_memory(error):
        return ResourceError.exit_code, (
            f"There is too little memory to load a library: {_first_line(error)} Raise the limit (ulimit -v) or close "
            "other programs."
        )
    if isinstance(error, OSError) and error.errno in _REFUSED:
        return ResourceError.exit_code, (
            f"{error.filename or 'A file'} cannot be used: {(error.strerror or str(error)).lower()}. Free some space, "
            "see to the permissions, or choose another folder with --out."
        )
    return BUG, (
        f"This is a bug in gendi: {type(error).__name__}: {_first_line(error)} Run the same command with --debug for "
        "the traceback, and please report it with that."
    )


def _lacks_memory(error: BaseException | None) -> bool:
    """Return whether a library could not be loaded for lack of memory: one of the errors in a chain says so."""
    while error is not None:
        text = str(error).lower()
        if isinstance(error, MemoryError) or any(words in text for words in _NO_ROOM):
            return True
        error = error.__cause__ or error.__context__
    return False


def _first_line(error: BaseException) -> str:
    text = str(error).strip().split("\n")[0]
    return text if not text or text[-1] in ".!?" else f"{text}."
