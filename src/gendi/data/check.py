"""`check_data`: look at a data set from every side before spending hours on it."""

from collections.abc import Sequence
from typing import Any

from gendi.data.kinds import find_kind
from gendi.errors import Mend, UsageError


def check_data(
    spec: str,
    *,
    size: int | tuple[int, int] | None = None,
    max_bad: int | None = None,
    rules: Sequence[str] = (),
) -> Any:
    """Open a data set as training would, and return the report of its kind of data on all rows.

    For pictures, that is a `gendi.data.images.check.DataReport`; for sequences, a
    `gendi.data.sequences.check.SequenceReport`; for tables, `gendi.data.tables.check.TableReport`. Arguments and errors
    are those of `open_data`, and `rules` of a table, whose broken rows are named; `UsageError` also for a kind whose
    check is another command, or that has none.
    """
    kind = find_kind(spec)
    if kind.check_command != "data check":
        error = UsageError(f"{spec} holds {kind.name}, which gendi {kind.check_command} looks at.")
        raise error.mended_by(Mend(command=kind.check_command))
    if size is not None and not kind.pictures:
        raise UsageError(f"--size is for pictures; {spec} has none.").mended_by(Mend(drop=("--size",)))
    if rules and kind.name != "table":
        raise UsageError(f"--rule is for tables (a .csv or .parquet), and {spec} is none.")
    options: dict[str, Any] = {"rules": rules} if rules else {"size": size} if kind.pictures else {}
    return kind.check(spec, max_bad=max_bad, **options)
