"""How a text names data: `PREFIX:PLACE?NAME=VALUE&NAME=VALUE`. This module imports only the standard library."""

from pathlib import PurePath

from gendi.errors import UsageError


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
