"""Checkpoints: everything that a run needs to continue bit for bit, written whole or not at all.

    runs/NAME/checkpoints/step_00001000/{model,ema,optimizer}.safetensors, state.json, MANIFEST.json
                                            (and losses.safetensors, where times are drawn by their losses, and
                                            power_{0,1}.safetensors, with `optim.posthoc_every`)
    runs/NAME/checkpoints/latest            the name of the newest one, for people and scripts; loading does not use it

The protocol is that of `gendi.storage.files`: temporary folder, fsync, manifest last, rename, fsync. Then `latest` is
written, and only then are older checkpoints deleted. Loading takes the newest folder that agrees with its manifest. It
says what is wrong with each newer one, and deletes none.

Tensors are named by parameter, never by process or position, so the number of processes may change.
"""

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gendi.errors import BundleError, GendiError, NewerFormatError, UsageError
from gendi.machine.version import __version__
from gendi.storage.files import REPLACED, atomic_write, encode_json, looks_whole, read_json, verify_manifest
from gendi.storage.folders import clean_folder, discard_folder, replace_folder
from gendi.storage.formats import refuse_newer
from gendi.storage.safe_tensors import TensorSpec, read_tensors, tensor_bytes, tensor_chunks
from gendi.train.weights.sharding import part_of

logger = logging.getLogger(__name__)

FORMAT = 1
"""Version of a checkpoint's files; a reader refuses a higher one."""
DAMAGED = "damaged-"
SERIES = ("checkpoints", "ema", "pictures", "previews")
"""The folders of a run into which gendi writes one file, or one folder, after the other."""
_NAME = re.compile(r"step_(\d{8,15})")
_GROUP = re.compile(r"[a-z][a-z0-9_]*")

Expected = Mapping[str, Mapping[str, TensorSpec]]
"""The shapes and dtypes, by name, of each group of tensors that is checked before it is read."""


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint as read: tensors by group ("model", "ema", "optimizer", ...) and name, on the CPU."""

    step: int
    tensors: dict[str, dict[str, Tensor]]
    state: dict[str, Any]
    path: Path
    problems: tuple[str, ...] = field(default=())
    """One line for each newer checkpoint that could not be used; print them."""


def checkpoints_folder(run: Path) -> Path:
    """Return the folder of a run's checkpoints."""
    return run / "checkpoints"


def checkpoint_folder(run: Path, step: int) -> Path:
    """Return the folder of the checkpoint of `step`."""
    return checkpoints_folder(run) / f"step_{step:08d}"


def list_checkpoints(run: Path) -> list[tuple[int, Path]]:
    """Return (step, folder) of every complete checkpoint, oldest first, without reading any."""
    folder, found = checkpoints_folder(run), {}
    if folder.is_dir():
        for path in sorted(folder.iterdir()):  # `.old-step_...` sorts before the `step_...` that overrides it
            if (match := _NAME.fullmatch(path.name.removeprefix(REPLACED))) and path.is_dir():
                found[int(match[1])] = path
    return sorted(found.items())


def save_checkpoint(
    run: Path, step: int, tensors: Mapping[str, Mapping[str, Tensor]], state: Mapping[str, Any], keep: int = 2
) -> Path:
    """Write the checkpoint of `step`, then delete older ones except the newest `keep` - 1; return its folder.

    Args:
        run: the run's folder, held by a `RunLock`.
        step: optimiser steps done.
        tensors: groups of named tensors on any device and in any layout; each group becomes a file.
        state: everything else that the run needs, in JSON values, NaN and infinity included; tuples return as lists.
        keep: number of checkpoints to keep, at least 1. A checkpoint that looks damaged is evidence, so it is neither
            counted nor deleted.

    Raises:
        ResourceError: the disk is full, or the files cannot be written. The partial folder is removed, older
            checkpoints are kept, and the error gives the bytes needed and free. Calling again later may succeed.
        UsageError: a negative step, `keep` below 1, or a group name that is not a plain word.
    """
    if step < 0 or keep < 1:
        raise UsageError(f"step = {step} and keep = {keep}: a step is at least 0, and at least 1 checkpoint is kept.")
    if wrong := [name for name in tensors if not _GROUP.fullmatch(name)]:
        raise UsageError(
            f"{wrong[0]!r} cannot name a group of tensors: use lower-case letters, digits and underscores."
        )
    final = checkpoint_folder(run, step)
    text = encode_json(
        {"format": FORMAT, "gendi": __version__, "step": step, "tensors": sorted(tensors), "state": dict(state)},
        allow_nan=True,
    )
    needed = sum(tensor_bytes(group) for group in tensors.values()) + 4 * len(text) + 4096
    with replace_folder(final, needed) as writer:
        _set_aside_if_damaged(final)
        for name, group in tensors.items():
            writer.write(f"{name}.safetensors", tensor_chunks(group))
        writer.write_text("state.json", text)
    try:
        atomic_write(final.parent / "latest", final.name + "\n")
        _prune(run, step, keep, run_of(dict(state)))
    except (OSError, GendiError) as error:  # the checkpoint is complete; leftovers do no harm
        logger.warning("checkpoint of step %d is saved, but tidying up after it failed: %s", step, error)
    return final


def _set_aside_if_damaged(folder: Path) -> None:
    """Rename a damaged checkpoint that is about to be written again: it may show what went wrong."""
    if not folder.exists():
        return
    try:
        verify_manifest(folder)
    except BundleError as error:
        aside, count = folder.with_name(DAMAGED + folder.name), 1
        while aside.exists():
            aside, count = folder.with_name(f"{DAMAGED}{folder.name}-{count}"), count + 1
        folder.rename(aside)
        logger.warning("a damaged checkpoint is kept as %s: %s", aside, error)


def run_of(state: object) -> str | None:
    """Return the id of the run in the state of a checkpoint; None for one of gendi 0.1.0, which has none."""
    found = state.get("run") if isinstance(state, dict) else None
    return found if isinstance(found, str) else None


def _prune(run: Path, step: int, keep: int, own: str | None) -> None:
    """Delete older checkpoints, but not those of another run than `own`."""
    older = []
    for other, path in list_checkpoints(run):
        if other < step and looks_whole(path):
            data = read_json(path / "state.json")
            if not isinstance(data, dict) or run_of(data.get("state")) in (None, own):
                older.append(path)
    for path in older[: len(older) - (keep - 1)]:
        discard_folder(path)


def load_checkpoint(path: Path, expected: Expected | None = None) -> Checkpoint:
    """Read the checkpoint in the folder `path`, and check every byte against its manifest.

    `expected` gives the tensors that some groups must have; headers are checked before anything is allocated.

    Raises:
        BundleError: a file, which the error names, is missing, extra, truncated, changed or malformed; the format is
            newer; a tensor is missing, unexpected, or has another shape or dtype.
    """
    step, groups, state = read_state(path)
    if not set(expected or ()) <= set(groups):
        raise BundleError(f"{path} lacks {', '.join(sorted(set(expected or ()) - set(groups)))}; it holds {groups}.")
    tensors = {name: read_tensors(path / f"{name}.safetensors", (expected or {}).get(name)) for name in groups}
    return Checkpoint(step, tensors, state, path)


def read_state(path: Path) -> tuple[int, list[str], dict[str, Any]]:
    """Return the step, the names of the groups of tensors, and the state of the checkpoint in `path`.

    Every byte is checked against the manifest. Raises `BundleError` as `load_checkpoint` does.
    """
    verify_manifest(path)
    data = read_json(path / "state.json")
    where = path / "state.json"
    if not isinstance(data, dict):
        raise BundleError(f"{where} is no table of fields: it was not written by gendi.")
    refuse_newer(path, data, FORMAT)
    if data.keys() != {"format", "gendi", "step", "tensors", "state"} or data["format"] != FORMAT:
        raise BundleError(f"{where} has fields {', '.join(sorted(data))}: it is no checkpoint of format {FORMAT}.")
    step, groups, state = data["step"], data["tensors"], data["state"]
    if type(step) is not int or not isinstance(groups, list) or not isinstance(state, dict):
        raise BundleError(f"{where} has a field of the wrong type: it was not written by gendi.")
    if (match := _NAME.fullmatch(path.name.removeprefix(REPLACED))) and int(match[1]) != step:
        raise BundleError(f"{path} holds step {step}: the folder was renamed. Rename it back: step_{step:08d}.")
    files = {file.name for file in path.iterdir() if file.name.endswith(".safetensors")}
    if files != {f"{name}.safetensors" for name in groups}:
        raise BundleError(f"{path} holds {', '.join(sorted(files)) or 'no tensors'}; {where.name} lists {groups}.")
    return step, groups, state


def load_latest(run: Path, expected: Expected | None = None) -> Checkpoint | None:
    """Return the newest checkpoint that is whole; None if the run has no checkpoint.

    Newer ones that are damaged are left as they are, logged as warnings, and listed in `Checkpoint.problems`.

    Raises:
        BundleError: none of the checkpoints can be used (the error says why for each), or the newest comes from a newer
            version of gendi.
    """
    problems: list[str] = []
    for _, path in reversed(list_checkpoints(run)):
        try:
            found = load_checkpoint(path, expected)
        except NewerFormatError:
            raise
        except BundleError as error:
            problems.append(str(error))
            continue
        for problem in problems:
            logger.warning("%s Going back to step %d.", problem, found.step)
        return Checkpoint(found.step, found.tensors, found.state, found.path, tuple(problems))
    if problems:
        raise BundleError(
            f"No checkpoint of {run} can be used. {' '.join(problems)} Nothing was deleted; restore a whole copy of "
            "one of them, or start over with --fresh."
        )
    return None


def clean_stale(run: Path) -> list[str]:
    """Remove the files that killed processes left in the folders of a run; return their names.

    The caller holds the run's lock, and calls this before loading.
    """
    cleaned = []
    for name in ("", *sorted(SERIES)):
        if (run / name).is_dir() and not (run / name).is_symlink():
            cleaned += clean_folder(run / name)
    return cleaned


def match_layout(saved: Tensor, like: Tensor) -> Tensor:
    """Return `saved` with the strides and the device of `like`, which has the same shape; of a sharded one, its part.

    Files hold contiguous tensors. torch's fused AdamW reads a parameter and its moments by position in memory, so
    contiguous moments beside a channels-last parameter would silently be applied to the wrong entries.
    """
    return torch.empty_like(like, dtype=saved.dtype, requires_grad=False).copy_(part_of(saved, like))
