"""The models that come with gendi, which a RUN argument may name. This module imports no torch.

    gendi/shipped/NAME/bundle/            the bundle of a model, its weights in float16
    gendi/shipped/NAME/evaluation.json    what `gendi evaluate` measured of it, as in the folder of a run

Results about such a model go to runs/shipped/NAME, as nothing is written into the package. `benchmarks/ship.py` makes
the folders.
"""

import importlib.resources
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gendi.errors import BundleError
from gendi.storage.files import Digest, read_json, read_manifest
from gendi.storage.record import RunRecord

RESULTS = Path("runs") / "shipped"
"""The folder below which results about shipped models go."""
META = "shipped"
"""The field of a bundle's meta with the facts that only shipped models have; `benchmarks/ship.py` writes them."""
FACTS: dict[str, type] = {
    "about": str,
    "parameters": int,
    "license": str,
    "command": str,
    "float32_sha256": str,
    "rounding": dict,
}
"""Those facts, and their types: what it is in a few words, parameters, the licence of the data, the command that
trained it, the SHA-256 that its weights had before they were rounded, and by how much rounding changed its answers."""


@dataclass(frozen=True)
class Shipped:
    """A shipped model, as the files beside its weights describe it."""

    name: str
    folder: Path
    meta: dict[str, Any]
    """The bundle's meta, with the facts of `FACTS` under "shipped"."""
    sampler: dict[str, Any]
    """The part `sample` of the bundle's configuration."""
    weights: Digest
    """Size and SHA-256 of the file of weights."""

    @property
    def facts(self) -> dict[str, Any]:
        """The facts that only shipped models have."""
        found = self.meta[META]
        assert isinstance(found, dict)
        return found


def home() -> Path:
    """Return the folder in the package that holds the shipped models."""
    return Path(str(importlib.resources.files("gendi"))) / "shipped"


def shipped_names() -> tuple[str, ...]:
    """Return the names of the shipped models."""
    return tuple(sorted(path.parent.name for path in home().glob("*/bundle")))


def shipped_folder(run: Path) -> Path | None:
    """Return the folder of the shipped model that `run` names; None for every other path. It may not be a folder."""
    name = run.name
    return home() / name if run == Path(name) and name in shipped_names() else None


def begin_results(folder: Path) -> None:
    """Make the folder of results about a shipped model, with the record of what gendi wrote there.

    Any other folder is left as it is. Raises `ResourceError` if the record cannot be written, `OSError` if the folder
    cannot be made.
    """
    if folder.parent == RESULTS:
        folder.mkdir(parents=True, exist_ok=True)
        RunRecord(folder).begin()


def read_shipped(name: str) -> Shipped:
    """Return what is known of the shipped model `name`, without reading its weights.

    Raises `BundleError` if its files are damaged.
    """
    folder = home() / name / "bundle"
    data, digests = read_json(folder / "config.json"), read_manifest(folder)
    try:
        meta, sampler, weights = data["meta"], data["config"]["sample"], digests["model.safetensors"]
        facts = meta[META]
        right = all(isinstance(facts[key], kind) for key, kind in FACTS.items())
    except (KeyError, TypeError):
        right = False
    if not right:
        raise BundleError(f"{folder} does not say what it is, as a model that comes with gendi does: install it anew.")
    return Shipped(name, folder, meta, sampler, weights)
