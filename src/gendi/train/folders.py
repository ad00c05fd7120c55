"""Where a bundle is. This module imports no torch."""

from pathlib import Path

from gendi.errors import UsageError
from gendi.storage.files import current_folder

CONFIG, WEIGHTS = "config.json", "model.safetensors"
"""Files of a bundle."""
BUNDLE, BEST = "bundle", "bundle-best"
"""The folders of a run with its last model, and with the best of those that were evaluated while it trained."""


def bundle_folder(path: Path) -> Path:
    """Return the bundle's folder for `path`, a run's folder or a bundle. Raises `UsageError` if it is neither."""
    inside = current_folder(path / BUNDLE)
    if inside.is_dir():
        return inside
    path = current_folder(path)
    if not path.is_dir():
        raise UsageError(f"There is no folder {path}. Give the folder of a run (runs/NAME) or of a bundle.")
    if (path / CONFIG).exists() or (path / WEIGHTS).exists():
        return path
    if (path / "checkpoints").is_dir():
        raise UsageError(f"{path} is a run without a bundle yet: it is written when training stops. Train it first.")
    raise UsageError(f"{path} is neither a run nor a bundle: it has no {CONFIG}. Give runs/NAME or runs/NAME/bundle.")
