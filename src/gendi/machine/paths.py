"""Paths as users write them. This module imports only the standard library."""

from pathlib import Path

from gendi.errors import UsageError


def home(path: str | Path) -> Path:
    """Return a path with `~` and `~user` replaced. Raises `UsageError` if there is no such user or no home."""
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise UsageError(f"{path} cannot be found: {str(error).rstrip('.').lower()}. Write the whole path.") from None


def resolved(path: Path) -> Path:
    """Return a path without links, `..` and `~`. Raises `OSError` if a name is too long, `UsageError` as `home`."""
    return home(path).resolve()
