"""Checks that every checkpoint, bundle, snapshot of averages, classifier and codec in a folder is whole.

Each is checked by its manifest (names, sizes, SHA-256 of every byte), then by its content: the fields of its JSON, and
the shapes and types of its tensors against the network that its configuration describes. Nothing is changed, and no
lock is taken, so a run may go on writing meanwhile. A folder that is deleted or replaced while it is checked is left
out or checked again.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from gendi.data.codec_files import CODEC, read_codec
from gendi.errors import BundleError, GendiError, Mend, UsageError
from gendi.storage.files import MANIFEST, REPLACED, TEMPORARY, read_json, verify_manifest
from gendi.storage.safe_tensors import TensorSpec, check_tensors, compare_specs, read_header, specs
from gendi.train.config import RunConfig
from gendi.train.kept.bundle import load_bundle
from gendi.train.kept.checkpoint import DAMAGED, read_state
from gendi.train.kept.classifier_bundle import KIND, load_classifier
from gendi.train.kept.folders import BEST, BUNDLE, CONFIG, WEIGHTS, check_folders, near_models, version_of
from gendi.train.kept.identity import misfit
from gendi.train.kept.stored import stored_config, stored_tables
from gendi.train.weights.model import network_of
from gendi.train.weights.posthoc_ema import read_snapshot

SEALED = "perturbation"
"""The kind of a model of perturbations, as its config.json says it (`gendi.api.perturbation.stored`)."""
ATTEMPTS = 3
"""How often a folder is read at most, if it is replaced while it is read."""


@dataclass(frozen=True)
class Checked:
    """The result for one folder, or for a run's configuration."""

    kind: str
    path: Path
    bytes: int
    seconds: float
    fingerprint: str | None = None
    """The fingerprint of the training data, if it is recorded."""
    problem: str | None = None
    """What is wrong, with the name of the file; None if nothing is."""


def verify(folder: Path) -> Iterator[Checked]:
    """Yield the result for everything that gendi wrote below `folder`, or for `folder` itself, in the order of paths.

    Raises `UsageError` if there is no such folder, or if gendi wrote nothing in it.
    """
    if not folder.is_dir():
        error = UsageError(f"There is no folder {folder}. Give the folder of a run (runs/NAME) or of a bundle.")
        raise error.mended_by(*(Mend(put={str(folder): name}) for name in near_models(folder)))
    empty = True
    for path, kind in _find(folder):
        found = _check(path, kind)
        if found is not None:
            empty = False
            yield found
    if empty:
        raise UsageError(f"{folder} holds no run, bundle, checkpoint or classifier: there is nothing to check.")


def _find(folder: Path) -> Iterator[tuple[Path, str]]:
    """Yield (path, kind) of everything to check, except temporary folders and checkpoints set aside as damaged."""
    kind = _kind(folder)
    if kind is not None:
        yield folder, kind
        return
    if (folder / "config.toml").is_file():
        yield folder / "config.toml", "configuration"
    for path in sorted(folder.iterdir()):
        skipped = path.name.startswith((TEMPORARY, DAMAGED))
        superseded = path.name.startswith(REPLACED) and (folder / path.name.removeprefix(REPLACED)).exists()
        if path.is_dir() and not path.is_symlink() and not skipped and not superseded:
            yield from _find(path)


def _kind(folder: Path) -> str | None:
    """Return the kind of `folder` by its place or its files, even damaged ones; None if gendi did not write it."""
    name = folder.name.removeprefix(REPLACED)
    if (folder / "snapshot.json").exists() or (folder.parent.name == "ema" and name.startswith("images_")):
        return "snapshot"
    if (folder / "state.json").exists() or (folder.parent.name == "checkpoints" and name.startswith("step_")):
        return "checkpoint"
    if (folder / CODEC).exists():
        return "codec"
    there = {name for name in (CONFIG, WEIGHTS, MANIFEST) if (folder / name).exists()}
    if _is_classifier(folder / CONFIG):
        return "classifier"
    if _is_sealed(folder / CONFIG):
        return SEALED
    of_a_run = name in (BUNDLE, BEST) and (folder.parent / "config.toml").exists()
    return "bundle" if of_a_run or MANIFEST in there or {CONFIG, WEIGHTS} <= there else None


def _is_classifier(path: Path) -> bool:
    try:
        data = read_json(path)
    except BundleError:
        return False
    return isinstance(data, dict) and data.get("kind") == KIND


def _is_sealed(path: Path) -> bool:
    """Return whether a folder says that it holds a model of perturbations, which only the cells' own code can read."""
    try:
        data = read_json(path)
    except BundleError:
        return False
    return isinstance(data, dict) and data.get("kind") == SEALED


def _check(path: Path, kind: str) -> Checked | None:
    """Return the result for `path`; None if it was deleted meanwhile, as old checkpoints are."""
    start, problem, fingerprint, size = time.perf_counter(), None, None, 0
    for _ in range(ATTEMPTS):
        before = version_of(path)
        try:
            size = sum(p.stat().st_size for p in ([path] if path.is_file() else path.rglob("*")) if p.is_file())
            problem, fingerprint = None, CHECKS[kind](path)
        except FileNotFoundError:
            problem = f"{path} is missing."
        except GendiError as error:
            problem = " ".join(str(error).split())
        if (after := version_of(path)) is None:
            return None
        if problem is None or after == before:
            break
    return Checked(kind, path, size, time.perf_counter() - start, fingerprint, problem)


# -------------------------------------------------------- each check raises an error, or returns the data's fingerprint


def _check_checkpoint(path: Path) -> str | None:
    step, groups, state = read_state(path)
    if path.parent.name == "checkpoints" and (problem := misfit(path.parent.parent, step, path, state)):
        raise BundleError(problem)
    files = {name: path / f"{name}.safetensors" for name in groups}
    found = {name: read_header(file) for name, file in files.items()}
    shape = state.get("shape")
    network = _network(path / "state.json", state.get("config"), shape) if shape is not None else found.get("model", {})
    for name in ("model", "ema", *(group for group in groups if group.startswith("power_"))):
        compare_specs(str(files.get(name, path / f"{name}.safetensors")), found.get(name, {}), network)
    for name, (size, _) in found.get("optimizer", {}).items():
        owner = network.get(name.rsplit(":", 1)[0])
        if owner is None or size not in ((), owner[0]):
            raise BundleError(f"{files['optimizer']}: {name!r} of shape {size} belongs to no parameter of the network.")
    return _text(state.get("fingerprint"))


def _network(where: Path, config: object, shape: object) -> dict[str, TensorSpec]:
    """Return the shapes of the network that a configuration describes, for rows of `shape`, without its memory."""
    if not isinstance(shape, list) or not all(type(n) is int and 0 < n < 2**31 for n in shape):
        raise BundleError(f"{where}: shape = {shape!r}; it must be a list of positive whole numbers.")
    try:
        with torch.device("meta"):
            return specs(network_of(RunConfig.from_dict(config), tuple(shape)))
    except (ValueError, RuntimeError) as error:
        raise BundleError(f"{where} describes a network that cannot be built: {error}") from None


def _check_bundle(path: Path) -> str | None:
    if not path.joinpath(MANIFEST).is_file():
        verify_manifest(path)  # says that it is missing
    return _text(load_bundle(path).meta.get("fingerprint"))


def _check_classifier(path: Path) -> str | None:
    verify_manifest(path)
    return _text(load_classifier(path).meta.get("fingerprint"))


def _check_sealed(path: Path) -> str | None:
    verify_manifest(path)
    read_header(path / WEIGHTS)
    return None


def _check_snapshot(path: Path) -> str | None:
    known: dict[str, TensorSpec] | None = None
    for file in read_snapshot(path).values():
        known = read_header(file) if known is None else known
        check_tensors(file, known)
    return None


def _check_codec(path: Path) -> str | None:
    read_codec(path)
    return None


def _check_configuration(path: Path) -> str | None:
    stored_config(path.parent)
    check_folders(path.parent)
    return _text(stored_tables(path.parent)["data"].get("fingerprint"))


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


CHECKS: dict[str, Callable[[Path], str | None]] = {
    "configuration": _check_configuration,
    "checkpoint": _check_checkpoint,
    "bundle": _check_bundle,
    "classifier": _check_classifier,
    SEALED: _check_sealed,
    "snapshot": _check_snapshot,
    "codec": _check_codec,
}
