"""`check_data`: look at a data set from every side before spending hours on it."""

from typing import Any

from gendi.data.kinds import find_kind
from gendi.errors import Mend, UsageError


def check_data(spec: str, *, size: int | tuple[int, int] | None = None, max_bad: int | None = None) -> Any:
    """Open a data set as training would, and return the report of its kind of data on all rows.

    For pictures, that is a `gendi.data.images.check.DataReport`. Arguments and errors are those of `open_data`.
    """
    kind = find_kind(spec)
    if not kind.pictures:
        error = UsageError(
            f"gendi data check is for pictures, and {spec} holds {kind.name}; gendi cells check is for cells."
        )
        raise error.mended_by(Mend(command="cells check")) if kind.name == "cells" else error
    return kind.check(spec, size=size, max_bad=max_bad)
