"""Durations, counts, sizes and scales as people write them: 90s, 8m, 1h30m; 500k, 2M; 28, 96x64; 2, class=2,dose=1."""

import re
from decimal import Decimal
from typing import Any

from gendi.errors import UsageError

_UNITS = {"d": 86_400, "h": 3600, "m": 60, "s": 1}
_DURATION = re.compile(
    r"(?:(\d+(?:\.\d+)?)d)?(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s)?", re.ASCII
)
_SPELT_OUT = re.compile(
    r"(\d+(?:\.\d+)?)\s*(|d|days?|h|hrs?|hours?|m|mins?|minutes?|s|secs?|seconds?)",
    re.ASCII,
)
_COUNT = re.compile(r"(\d+(?:\.\d+)?)([kMG]?)", re.ASCII)
_FACTORS = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9}
LONGEST = 365 * 86_400
MOST = 10**15


def parse_duration(text: str) -> float:
    """Return the seconds of a duration such as 90s, 8m, 1h30m or 2d. Raises `ValueError` saying how to write one."""
    match = _DURATION.fullmatch(text)
    if not text or match is None:
        if re.fullmatch(r"[0-9]+(\.[0-9]+)?", text):
            raise ValueError(f"{text!r} has no unit: write {text}s for seconds or {text}m for minutes.")
        raise ValueError(f"{text!r} is no duration: write it like 90s, 8m or 1h30m.")
    parts = zip(match.groups(), _UNITS.values(), strict=True)
    seconds = float(sum(Decimal(part) * unit for part, unit in parts if part is not None))
    if not 0 < seconds <= LONGEST:
        raise ValueError(f"{text!r} is out of range: a duration must be more than 0s and at most 365d.")
    return seconds


def nearest_duration(text: str) -> str | None:
    """Return the duration that is likely meant by what `parse_duration` refuses; None if nothing is.

    A bare number is minutes below 60 and seconds from there on; a unit may be spelt out: 8 min, 90sec, 2 hours.
    """
    match = _SPELT_OUT.fullmatch(text.lower())
    if match is None:
        return None
    unit = match[2][:1] or ("m" if float(match[1]) < 60 else "s")
    try:
        parse_duration(f"{match[1]}{unit}")
    except ValueError:
        return None
    return f"{match[1]}{unit}"


def format_duration(seconds: float) -> str:
    """Return `seconds` as `parse_duration` reads it, to the second (to a hundredth below ten seconds)."""
    if seconds < 10 and seconds != int(seconds):
        return f"{seconds:.2f}".rstrip("0").rstrip(".") + "s"
    rest, text = round(seconds), ""
    for letter, unit in _UNITS.items():
        count, rest = divmod(rest, unit)
        text += f"{count}{letter}" if count else ""
    return text or "0s"


def parse_count(text: str, most: int = MOST) -> int:
    """Return the whole number, 1 to `most`, of 128, 60_000, 500k, 1.5M or 2G.

    Raises `ValueError` saying how to write one, or the range.
    """
    match = _COUNT.fullmatch(text.replace("_", ""))
    value = Decimal(match[1]) * _FACTORS[match[2]] if match else None
    if value is None or value != int(value):
        raise ValueError(f"{text!r} is no whole number above 0: write it like 128, 500k or 2M.")
    if not 1 <= value <= most:
        raise ValueError(f"{text!r} is out of range: it must lie between 1 and {most}.")
    return int(value)


def format_count(count: int) -> str:
    """Return `count` as `parse_count` reads it, exactly: 2M, 500k, 1234."""
    for letter, factor in (("G", 10**9), ("M", 10**6), ("k", 10**3)):
        if count and count % factor == 0:
            return f"{count // factor}{letter}"
    return str(count)


def parse_size(text: str) -> tuple[int, int]:
    """Return (height, width) of 28 or 96x64. Raises `ValueError` saying how to write one."""
    match = re.fullmatch(r"([0-9]{1,5})(?:x([0-9]{1,5}))?", text)
    if match is None:
        raise ValueError(f"{text!r} is no size: write 28, or 96x64 for height 96 and width 64.")
    return int(match[1]), int(match[2] or match[1])


def parse_seed(text: str) -> int:
    """Return a seed. Raises `ValueError` unless it is a whole number from 0 to 2^63 - 1."""
    if not re.fullmatch(r"[0-9]{1,19}", text) or int(text) >= 2**63:
        raise ValueError(f"{text!r} is out of range: a seed is a whole number from 0 to {2**63 - 1}.")
    return int(text)


def read_scale(text: str) -> dict[str, Any]:
    """Return the settings that a number or NAME=NUMBER,... stands for. Raises `UsageError` for anything else."""
    try:
        if "=" not in text:
            return {"scale": float(text)}
        pairs = [read_pair("--guidance", part) for part in text.split(",")]
        return {"scales": {name: float(value) for name, value in pairs}}
    except ValueError:
        raise UsageError(f"--guidance {text} is neither a number nor NAME=NUMBER,NAME=NUMBER.") from None


def read_pair(flag: str, word: str) -> tuple[str, str]:
    """Return name and value of NAME=VALUE. Raises `UsageError` for anything else."""
    name, equals, value = word.partition("=")
    if not (name and equals and value):
        raise UsageError(f"{flag} {word}: write NAME=VALUE, for instance class=3.")
    return name, value
