"""Keeps results out of the data: no folder or file of results may hold the data, or lie in them."""

from collections.abc import Iterable
from pathlib import Path

from gendi.data.kinds import find_kind
from gendi.errors import DataError, UsageError
from gendi.machine.paths import resolved


def refuse_among_data(out: Path, *specs: object, flag: str = "--out") -> None:
    """Raise `UsageError` if `out` is, holds or lies in the data that one of `specs` names; objects name no place."""
    for spec in specs:
        if isinstance(spec, str) and spec:
            try:
                places = find_kind(spec).files(spec)
            except (UsageError, DataError):  # whoever opens the data says what is wrong with them
                continue
            refuse_among(out, places, flag=flag)


def refuse_among(out: Path, places: Iterable[Path], *, flag: str = "--out") -> None:
    """Raise `UsageError` if `out` is, holds or lies in one of `places`, as far as they exist."""
    for place in places:
        try:
            if not place.expanduser().exists():
                continue
            here, there = resolved(out), resolved(place)
        except (OSError, RuntimeError):  # whoever opens the data says what is wrong with the name
            continue
        related = {"is": here == there, "holds": here in there.parents, "lies in": there in here.parents}
        for how in (how for how, true in related.items() if true):
            raise UsageError(
                f"{flag} {out} {how} {place}, which is read: results and data are kept apart, so that neither changes "
                "the other. Choose another place."
            )
