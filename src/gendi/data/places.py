"""Where data lie: found again from another folder, and kept apart from results.

No folder or file of results may hold the data, or lie in them.
"""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

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


ABOVE = 4
"""How many folders above a run are searched for its data."""


def from_here(spec: Any, run: Path) -> Any:
    """Return how the data that a run calls `spec` are called from the current folder.

    A run calls them as its user did, from the folder in which it was begun; see `begun_in`.
    """
    if not isinstance(spec, str) or not (above := begun_in(spec, run)).parts:
        return spec
    return _moved(spec, above)


def begun_in(spec: str, run: Path) -> Path:
    """Return the folder from which `spec` leads to the data of a run; `Path()` for the current one.

    If a path leads nowhere from the current folder, the folders above the run's are searched, the nearest first. If it
    leads nowhere from there either, that is `Path()` too. A run is nobody's data.
    """
    _, place, _ = _parts(spec)
    try:
        kind = find_kind(spec)
        places = tuple(kind.files(spec))
        known = len(places) == 1 or (kind.separator and places)
        if not place or Path(place).is_absolute() or not known or all(each.expanduser().exists() for each in places):
            return Path()
        for above in resolved(run).parents[:ABOVE]:
            found = tuple(kind.files(_moved(spec, above)))
            there = bool(found) and all(each.exists() and not _is_run(each, run) for each in found)
            if above != above.parent and there:
                return above
    except (OSError, RuntimeError, UsageError, DataError):  # whoever opens the data says what is wrong with the name
        pass
    return Path()


def _moved(spec: str, above: Path) -> str:
    """Return a spec whose places are looked for in the folder `above`."""
    head, place, options = _parts(spec)
    separator = find_kind(spec).separator
    places = place.split(separator) if separator else [place]
    return f"{head}{separator.join(str(above / each) for each in places)}{options}"


def _is_run(place: Path, run: Path) -> bool:
    """Return whether a place is a run, or holds this one."""
    return (place / "config.toml").is_file() or resolved(place) in (here := resolved(run), *here.parents)


def _parts(spec: str) -> tuple[str, str, str]:
    """Return the name of a kind with its colon, the place, and the options of a spec."""
    parts = re.fullmatch(r"([a-z]\w*:)?([^?]*)(\?.*)?", spec, re.DOTALL)
    assert parts is not None, "every text has such parts"
    return parts[1] or "", parts[2], parts[3] or ""
