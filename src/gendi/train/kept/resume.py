"""The checks before a run is resumed: what may differ between two sittings."""

import dataclasses
import platform
from pathlib import Path
from typing import Any

import torch

from gendi.diffusion.gaussian.config import SampleConfig
from gendi.errors import BundleError, DataError, Mend, UsageError
from gendi.machine.version import __version__
from gendi.train.config import RunConfig
from gendi.train.kept.checkpoint import list_checkpoints
from gendi.train.kept.folders import elsewhere
from gendi.train.kept.stored import stored_config, stored_tables

HARMLESS = frozenset(
    {
        "preset",
        "train.accumulate",
        "train.recompute",
        "train.shard",
        "train.timeout",
        "train.checkpoint_every",
        "train.preview_every",
        "train.evaluate_every",
        "train.stop_when_level",
        "train.keep",
        "train.log_every",
    }
    | {f"sample.{f.name}" for f in dataclasses.fields(SampleConfig)}
)


def refuse_changes(
    run: Path,
    config: RunConfig,
    fingerprint: str,
    allow_data_change: bool,
    size: tuple[int, int] | None = None,
    split_by: str = "",
) -> None:
    """Compare config.toml with the requested configuration and data.

    Args:
        run: the folder of the run.
        config: the configuration that is requested.
        fingerprint: that of the data.
        allow_data_change: whether other data are accepted.
        size: what pictures are brought to, if asked.
        split_by: the column whose groups are held out whole; empty for none.

    Raises:
        UsageError: fields differ that would change the run; the error names them all.
        DataError: the data changed, and `allow_data_change` is false.
        BundleError: config.toml is missing.
    """
    path = run / "config.toml"
    if not path.exists():
        if list_checkpoints(run):
            raise BundleError(
                f"{path} is missing, but there are checkpoints beside it. Restore it, or start over with --fresh."
            )
        return
    if not list_checkpoints(run):
        return  # nothing was trained yet
    begun = stored_config(run)
    changed = differing(config.to_dict(), begun.to_dict())
    harmful = [line for name, line in changed.items() if name not in HARMLESS]
    if harmful:
        raise UsageError(
            f"{run} holds a run with another configuration: {'; '.join(harmful)}. Give it the same flags to go on, "
            "another folder (--out) to begin a second run, or --fresh to start this one over."
        ).mended_by(elsewhere(run))
    data = stored_tables(run)["data"]
    before = data.get("fingerprint")
    if before != fingerprint and not allow_data_change and (then := str(data.get("split_by", ""))) != split_by:
        said = [f"--split-by {column}" if column else "no --split-by" for column in (then, split_by)]
        raise DataError(
            f"{run} was begun with {said[0]}, and now there is {said[1]}, so other rows are held out. Give the same to "
            "go on, another folder (--out) to begin a second run, or --fresh to start this one over."
        ).mended_by(Mend(add=("--split-by", then)) if then else Mend(drop=("--split-by",)), elsewhere(run))
    if before != fingerprint and not allow_data_change and (words := _other_size(data.get("size"), size)):
        raise DataError(
            f"{run} was begun with {words}, so these are other pictures. Give the same size to go on, another folder "
            "(--out) to begin a second run, or --fresh to start this one over."
        ).mended_by(_same_size(data.get("size")), elsewhere(run))
    if before != fingerprint and not allow_data_change:
        raise DataError(
            f"The data changed since {run} was begun: their fingerprint was {before}, and is "
            f"{fingerprint} now. Restore the data, or give --allow-data-change to go on with the new ones."
        ).mended_by(Mend(add=("--allow-data-change",)))


def smoothed_as_before(config: RunConfig, run: Path, going_on: bool) -> RunConfig:
    """Return the configuration with the smoothing of the run that goes on, if it leaves that to the number of rows.

    So a run that began without any, in an earlier version or with other rows, goes on as it began.
    """
    if not going_on or config.train.smoothing >= 0 or not (run / "config.toml").exists():
        return config
    return dataclasses.replace(
        config, train=dataclasses.replace(config.train, smoothing=stored_config(run).train.smoothing)
    )


def _same_size(before: object) -> Mend:
    """Return the mend of a command line that asks for the size of a run, or for none if it has none."""
    if not isinstance(before, list):
        return Mend(drop=("--size",))
    return Mend(add=("--size", "x".join(map(str, before))))


def _other_size(before: object, now: tuple[int, int] | None) -> str:
    """Return in words which sizes were requested, then and now; empty if they are the same."""
    then = tuple(before * 2 if len(before) == 1 else before) if isinstance(before, list) else None
    if then == now:
        return ""
    said = ["no --size" if size is None else f"--size {'x'.join(map(str, size))}" for size in (then, now)]
    return f"{said[0]}, and now there is {said[1]}"


def differing(new: Any, old: Any, path: str = "") -> dict[str, str]:
    """Return {dotted field: sentence with the old and the new value} for every leaf that differs between two tables."""
    if isinstance(new, dict) and isinstance(old, dict):
        out: dict[str, str] = {}
        for key in (*new, *(k for k in old if k not in new)):
            out |= differing(new.get(key), old.get(key), f"{path}.{key}" if path else str(key))
        return out
    plain = [list(v) if isinstance(v, tuple) else v for v in (old, new)]
    return {} if plain[0] == plain[1] else {path: f"{path} was {plain[0]!r}, is {plain[1]!r}"}


def versions() -> dict[str, str]:
    """Return the versions on which a bit-for-bit repetition depends."""
    return {"gendi": __version__, "torch": torch.__version__, "python": platform.python_version()}
