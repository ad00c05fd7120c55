"""How a text names data: `PREFIX:PLACE?NAME=VALUE&NAME=VALUE`. This module imports only the standard library."""

from pathlib import PurePath
from urllib.parse import unquote

from gendi.errors import UsageError

SPLIT_BY = "split-by"
"""The option that names the column whose groups are held out whole (`gendi.data.groups`)."""


def prefix_of(spec: str) -> str:
    """Return the text before the first colon of a spec; empty if there is no colon."""
    head, colon, _ = spec.partition("?")[0].partition(":")
    return head if colon else ""


def ending_of(spec: str) -> str:
    """Return the ending of the place that a spec names, in small letters, such as `.csv`; empty if it has none."""
    return PurePath(spec.partition("?")[0]).suffix.lower()


def split_spec(spec: str, prefixes: tuple[str, ...]) -> tuple[str, dict[str, str]]:
    """Return the place that a spec names, with one of `prefixes` removed, and the options by name.

    Raises `UsageError` if an option is not written NAME=VALUE.
    """
    place, question, text = spec.partition("?")
    if (head := prefix_of(spec)) in prefixes and head:
        place = place.partition(":")[2]
    return place, options_of(spec, text) if question else {}


def options_of(spec: str, text: str) -> dict[str, str]:
    """Return the options by name in `text`, the part of `spec` after its question mark.

    Raises `UsageError` if one is not written NAME=VALUE.
    """
    options = {}
    for word in text.split("&"):
        name, equals, value = word.partition("=")
        if not (name and equals and value):
            raise UsageError(f"{spec}: options of data are written ?NAME=VALUE, with & between them; got {word!r}.")
        options[name] = value
    return options


def split_column(spec: object) -> str | None:
    """Return the column that a spec of data names with `?split-by=`, or None. Raises `UsageError` as `split_spec`."""
    if not isinstance(spec, str) or f"{SPLIT_BY}=" not in spec.partition("?")[2]:
        return None
    found = split_spec(spec, ())[1].get(SPLIT_BY)
    return None if found is None else unquote(found)


def with_split(spec: str, column: str) -> str:
    """Return a spec with the option `split-by`. Raises `UsageError` if it names another column."""
    given = split_column(spec)
    if given not in (None, column):
        raise UsageError(f"{spec} is split by {given!r} already, and by {column!r} now: give one of them.")
    if given is not None:
        return spec
    quoted = column.replace("%", "%25").replace("&", "%26")
    return f"{spec}{'&' if '?' in spec else '?'}{SPLIT_BY}={quoted}"
