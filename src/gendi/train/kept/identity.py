"""Which run a checkpoint belongs to: an id that config.toml and the state of every checkpoint have in common.

Runs that gendi 0.1.0 began have no id until they go on. config.toml then gets one, together with the step of the last
checkpoint without: `[run] id = "6f1c...", without_id_up_to = 5`.
"""

import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gendi.errors import BundleError
from gendi.storage.files import read_json
from gendi.storage.toml import read_toml
from gendi.train.kept.checkpoint import list_checkpoints, run_of


@dataclass(frozen=True)
class Identity:
    """The id of a run. Checkpoints up to the step `without_id_up_to` were saved by gendi 0.1.0 and have none."""

    id: str
    without_id_up_to: int = -1

    def record(self) -> dict[str, str | int]:
        """Return the table `run` of config.toml."""
        older = {} if self.without_id_up_to < 0 else {"without_id_up_to": self.without_id_up_to}
        return {"id": self.id, **older}


def read_identity(run: Path) -> Identity | None:
    """Return the id that config.toml names; None if there is no such file, or it is of gendi 0.1.0.

    Raises the errors of `read_toml` if the file is damaged.
    """
    path = run / "config.toml"
    table = read_toml(path).get("run") if path.is_file() else None
    if not isinstance(table, dict) or not isinstance(table.get("id"), str):
        return None
    older = table.get("without_id_up_to", -1)
    return Identity(table["id"], older if type(older) is int else -1)


def identity_of(run: Path) -> Identity:
    """Return the id of a run, or a new one if it has none. Raises the errors of `read_toml`."""
    known = read_identity(run)
    if known is not None:
        return known
    steps = [step for step, _ in list_checkpoints(run)]
    return Identity(secrets.token_hex(8), max(steps, default=-1))


def misfit(run: Path, step: int, checkpoint: Path, state: Any) -> str | None:
    """Return a sentence if a checkpoint of the state `state` in the folder of `run` belongs to another run, else None.

    A folder without config.toml is no misfit: others report it. Raises the errors of `read_toml`.
    """
    if not (run / "config.toml").is_file():
        return None
    return _misfit(read_identity(run), step, checkpoint, state)


def refuse_strangers(run: Path) -> None:
    """Raise `BundleError` naming the first checkpoint in the folder of `run` that belongs to another run.

    Checkpoints that cannot be read, and a folder without config.toml, are left to others to report. Raises the errors
    of `read_toml`.
    """
    if not (run / "config.toml").is_file():
        return
    known = read_identity(run)
    for step, path in list_checkpoints(run):
        try:
            state = read_json(path / "state.json").get("state")
        except (BundleError, AttributeError):
            continue
        if problem := _misfit(known, step, path, state):
            raise BundleError(problem)


def _misfit(known: Identity | None, step: int, checkpoint: Path, state: Any) -> str | None:
    """Return a sentence if a checkpoint does not belong to the run with the identity `known`, else None."""
    theirs = run_of(state)
    if theirs == (None if known is None else known.id):
        return None
    if theirs is None and known is not None and step <= known.without_id_up_to:
        return None
    ours = "has no id in config.toml" if known is None else f"has the id {known.id} in config.toml"
    whose = "has none" if theirs is None else f"has the id {theirs}"
    return (
        f"{checkpoint} is a checkpoint of another run: this run {ours}, and the checkpoint {whose}. It was copied "
        "there or left behind. Move it out of the folder; nothing was changed."
    )
