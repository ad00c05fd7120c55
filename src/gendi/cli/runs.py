"""What the commands know of a run's folder before anything heavy is imported."""

from pathlib import Path
from typing import Any

from gendi.errors import BundleError, UsageError
from gendi.files import atomic_write, encode_json, read_json
from gendi.toml import read_toml


def require_run(path: Path) -> Path:
    """Return `path` if it is a run's folder. Raises `UsageError` naming the runs beside it otherwise."""
    if (path / "config.toml").is_file():
        return path
    beside = path.parent if path.parent.is_dir() else Path("runs")
    runs = sorted(str(found.parent) for found in beside.glob("*/config.toml"))
    known = f" Runs there are: {', '.join(runs[:8])}." if runs else " `gendi train DATA` makes one."
    what = "is no run: it has no config.toml" if path.exists() else "is not there"
    raise UsageError(f"{path} {what}.{known}")


def read_config(run: Path) -> dict[str, Any]:
    """Return the content of a run's config.toml. Raises `UsageError`."""
    return read_toml(require_run(run) / "config.toml")


def read_json_if_there(path: Path) -> Any:
    """Return the content of a JSON file, None if there is none. Raises `BundleError` if it is damaged."""
    return read_json(path) if path.is_file() else None


def update_timings(run: Path, **fields: Any) -> None:
    """Set fields of a run's timings.json: how long training, sampling and measuring took, in seconds."""
    path = run / "timings.json"
    try:
        old = read_json(path) if path.is_file() else {}
    except BundleError:
        old = {}
    atomic_write(path, encode_json({**(old if isinstance(old, dict) else {}), **fields}))
