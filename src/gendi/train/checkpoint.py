"""Checkpoints: everything a run needs to go on bit for bit, written whole or not at all.

    runs/NAME/checkpoints/step_00001000/{model,ema,optimizer}.safetensors, state.json, MANIFEST.json
                                            (and losses.safetensors, where times are drawn by their losses, and
                                            power_{0,1}.safetensors, with `optim.posthoc_every`)
    runs/NAME/checkpoints/latest            the newest one's name, for people and scripts; loading does not rely on it

The protocol is `gendi.storage.files`'s: temporary folder, fsync, manifest last, rename, fsync; then `latest`; only then
older ones go. Loading takes the newest folder whose manifest holds, says what is wrong with each newer one, and deletes
none.

Tensors are named per parameter, never per process or position, so the number of processes may change.
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
from gendi.storage.files import (
    REPLACED,
    atomic_write,
    clean_folder,
    discard_folder,
    encode_json,
    looks_whole,
    read_json,
    replace_folder,
    verify_manifest,
)
from gendi.storage.formats import refuse_newer
from gendi.storage.safe_tensors import TensorSpec, read_tensors, tensor_bytes, tensor_chunks
from gendi.train.sharding import part_of

logger = logging.getLogger(__name__)

FORMAT = 1
"""Version of a checkpoint's files; a reader refuses a higher one."""
DAMAGED = "damaged-"
_NAME = re.compile(r"step_(\d{8,15})")
_GROUP = re.compile(r"[a-z][a-z0-9_]*")

Expected = Mapping[str, Mapping[str, TensorSpec]]
"""For each group of tensors that should be checked before it is read: shapes and dtypes by name."""


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


def list_checkpoints(run: Path) -> list[tuple[int, Path]]:
    """Return (step, folder) of every committed checkpoint, oldest first, without looking inside."""
    folder, found = checkpoints_folder(run), {}
    if folder.is_dir():
        for path in sorted(folder.iterdir()):  # `.old-step_...` sorts before the `step_...` that overrides it
            if (match := _NAME.fullmatch(path.name.removeprefix(REPLACED))) and path.is_dir():
                found[int(match[1])] = path
    return sorted(found.items())


def save_checkpoint(
    run: Path, step: int, tensors: Mapping[str, Mapping[str, Tensor]], state: Mapping[str, Any], keep: int = 2
) -> Path:
    """Write the checkpoint of `step`, then delete older ones but the newest `keep` - 1; return its folder.

    Args:
        run: the run's folder, held by a `RunLock`.
        step: optimiser steps done.
        tensors: groups of named tensors of any device and layout; each group becomes a file.
        state: what else the run needs, of plain JSON values, NaN and infinity included; tuples come back as lists.
        keep: checkpoints to keep, at least 1. A checkpoint that looks damaged is evidence: neither counted nor deleted.

    Raises:
        ResourceError: the disk is full or refuses; the partial folder is removed, older checkpoints are kept, and the
            bytes needed and free are said. Calling again later may succeed.
        UsageError: a negative step, `keep` below 1, or a group name that is no plain word.
    """
    if step < 0 or keep < 1:
        raise UsageError(f"step = {step} and keep = {keep}: a step is at least 0, and at least 1 checkpoint is kept.")
    if wrong := [name for name in tensors if not _GROUP.fullmatch(name)]:
        raise UsageError(
            f"{wrong[0]!r} cannot name a group of tensors: use lower-case letters, digits and underscores."
        )
    final = checkpoints_folder(run) / f"step_{step:08d}"
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
        _prune(run, step, keep)
    except (OSError, GendiError) as error:  # the checkpoint stands; what is left over does no harm
        logger.warning("checkpoint of step %d is saved, but tidying up after it failed: %s", step, error)
    return final


def _set_aside_if_damaged(folder: Path) -> None:
    """Rename a damaged checkpoint that is about to be written again: it may tell what went wrong."""
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


def _prune(run: Path, step: int, keep: int) -> None:
    older = [path for other, path in list_checkpoints(run) if other < step and looks_whole(path)]
    for path in older[: len(older) - (keep - 1)]:
        discard_folder(path)


def load_checkpoint(path: Path, expected: Expected | None = None) -> Checkpoint:
    """Read the checkpoint in the folder `path`, every byte checked against its manifest.

    `expected` gives, for some groups, the tensors to find there: checked from the header before anything is allocated.

    Raises:
        BundleError: a file (named) is missing, extra, truncated, changed or malformed; the format is newer (the version
            is named); a tensor is missing, unexpected, or of another shape or dtype.
    """
    step, groups, state = read_state(path)
    if not set(expected or ()) <= set(groups):
        raise BundleError(f"{path} lacks {', '.join(sorted(set(expected or ()) - set(groups)))}; it holds {groups}.")
    tensors = {name: read_tensors(path / f"{name}.safetensors", (expected or {}).get(name)) for name in groups}
    return Checkpoint(step, tensors, state, path)


def read_state(path: Path) -> tuple[int, list[str], dict[str, Any]]:
    """Return the step, the groups of tensors and the state of the checkpoint in `path`, every byte of which is checked
    against its manifest. Raises `BundleError` as `load_checkpoint` does.
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
        raise BundleError(f"{path} holds step {step}: the folder was renamed. Give it its name back: step_{step:08d}.")
    files = {file.name for file in path.iterdir() if file.name.endswith(".safetensors")}
    if files != {f"{name}.safetensors" for name in groups}:
        raise BundleError(f"{path} holds {', '.join(sorted(files)) or 'no tensors'}; {where.name} lists {groups}.")
    return step, groups, state


def load_latest(run: Path, expected: Expected | None = None) -> Checkpoint | None:
    """Read the newest checkpoint that is whole; None if the run has none at all.

    Newer ones that are damaged are left as they are, logged as warnings, and told in `Checkpoint.problems`.

    Raises:
        BundleError: there are checkpoints and none can be used (each one's fault is told), or the newest comes from a
            newer gendi.
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
    """Remove what killed saves left in the run's folder; return the names. Hold the lock; call it before loading."""
    cleaned = []
    for folder in (run, *sorted(path for path in run.iterdir() if path.is_dir() and not path.name.startswith("."))):
        cleaned += clean_folder(folder)
    return cleaned


def match_layout(saved: Tensor, like: Tensor) -> Tensor:
    """Return `saved` with the strides and device of `like`, of the same shape; of a sharded one, its part.

    Files hold tensors contiguously. torch's fused AdamW walks a parameter and its moments by position in memory, so
    moments that are contiguous beside a channels-last parameter are applied to the wrong entries, without a word.
    """
    return torch.empty_like(like, dtype=saved.dtype, requires_grad=False).copy_(part_of(saved, like))
