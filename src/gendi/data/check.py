"""`check_data`: look at a data set from every side before spending hours on it."""

from typing import Any

from gendi.data.kinds import find_kind
from gendi.errors import Mend, UsageError


def check_data(spec: str, *, size: int | tuple[int, int] | None = None, max_bad: int | None = None) -> Any:
    """Open a data set as training would, and return the report of its kind of data on all rows.

    For pictures, that is a `gendi.data.images.check.DataReport`; for sequences, a
    `gendi.data.sequences.check.SequenceReport`. Arguments and errors are those of `open_data`; kinds of data without a
    report raise `UsageError`.
    """
    kind = find_kind(spec)
    if kind.name == "cells":
        raise UsageError(f"{spec} holds cells, which gendi cells check looks at.").mended_by(
            Mend(command="cells check")
        )
    if size is not None and not kind.pictures:
        raise UsageError(f"--size is for pictures; {spec} has none.").mended_by(Mend(drop=("--size",)))
    return kind.check(spec, size=size, max_bad=max_bad) if kind.pictures else kind.check(spec, max_bad=max_bad)
