"""Paths as users write them. This module imports only the standard library."""

from pathlib import Path

from gendi.errors import UsageError


def home(path: str | Path) -> Path:
    """Return a path with `~` and `~user` replaced. Raises `UsageError` if there is no such user or no home."""
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise UsageError(
            f"{path} cannot be found: {str(error).rstrip('.').lower()}. Write the whole path; GENDI_CACHE is the "
            "folder for downloads."
        ) from None


def resolved(path: Path) -> Path:
    """Return a path without links, `..` and `~`. Raises `OSError` if a name is too long, `UsageError` as `home`."""
    return home(path).resolve()


def home_folder() -> Path:
    """Return the home folder of the user. Raises `UsageError` if there is none."""
    return home("~")
