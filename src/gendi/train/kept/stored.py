"""Reading config.toml, in which a run keeps its configuration, its data, its budget and where its weights came from.

A person may have edited it, so every table that is used is checked. Errors are `BundleError` (exit code 4) and name the
file. This module imports no torch.
"""

from pathlib import Path
from typing import Any

from gendi.errors import BundleError, UsageError
from gendi.storage.toml import read_toml
from gendi.train.config import RunConfig

TABLES = ("config", "data", "budget", "start")


def stored_tables(run: Path) -> dict[str, dict[str, Any]]:
    """Return the tables of config.toml in the folder of a run, by name; empty ones for those that are missing.

    Raises `BundleError` if the file is damaged, or has something else in the place of a table.
    """
    path = run / "config.toml"
    found = read_toml(path)
    tables = {name: found.get(name) or {} for name in TABLES}
    for name, table in tables.items():
        if not isinstance(table, dict):
            raise BundleError(f"{path}: {name} must be a table of fields, not {type(table).__name__}: it was edited.")
    return tables


def stored_config(run: Path) -> RunConfig:
    """Return the configuration in config.toml; fields that are newer than the run have their defaults.

    Raises `BundleError` naming the file, and the field that is wrong.
    """
    try:
        return RunConfig.from_dict(stored_tables(run)["config"])
    except UsageError as error:
        raise BundleError(f"{run / 'config.toml'}: {error}") from None


def stored_start(run: Path) -> dict[str, Any] | None:
    """Return the fields from, sha256 and sigma_data of the weights with which a run began.

    None if it began with new weights, or if there is no run. Raises `BundleError` if the file is damaged.
    """
    path = run / "config.toml"
    found = stored_tables(run)["start"] if path.is_file() else {}
    if not isinstance(found.get("from"), str):
        return None
    sigma = found.get("sigma_data")
    if not isinstance(sigma, int | float) or isinstance(sigma, bool) or not 0 < sigma < 1e30:
        raise BundleError(f"{path}: start.sigma_data = {sigma!r} must be a positive number: it was edited.")
    return found
