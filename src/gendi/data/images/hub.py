"""Finds data sets of the Hugging Face hub by name. They are read from the parquet files that the hub makes of them.

    hf:ylecun/mnist        hf:OWNER/NAME?config=plain&split=train

The files are on the branch refs/convert/parquet of the data set, in CONFIGURATION/SPLIT/. They are read as shards over
the network (`gendi.data.images.shards`).
"""

import re
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from gendi.data.images.shard_files import reaching
from gendi.data.images.sources import HUB
from gendi.data.sources import options_of
from gendi.errors import DataError, UsageError, unknown_name

_NAME = re.compile(r"[\w.-]+/[\w.-]+")
_PARTIAL = "partial-"
ELSEWHERE = "Download its parquet files on a machine with network access, and give the folder that holds them."


class OnHub(NamedTuple):
    """Where the shards of a data set are, what it is called, and notes for the user."""

    place: str
    name: str
    notes: tuple[str, ...]


def find_on_hub(spec: str) -> OnHub:
    """Return where the shards of `hf:OWNER/NAME?config=...&split=...` are; the split is `train` by default.

    Raises:
        UsageError: the name is malformed; an option, configuration or split is unknown; there are several
            configurations and none is chosen; or huggingface_hub is not installed.
        DataError: there is no such data set, no parquet of it, or no network.
    """
    name, question, text = spec.removeprefix(HUB).partition("?")
    options = options_of(spec, text) if question else {}
    if not _NAME.fullmatch(name):
        raise UsageError(f"{spec}: a data set of the hub is written hf:OWNER/NAME, such as hf:ylecun/mnist.")
    if unknown := sorted(options.keys() - {"config", "split"}):
        raise unknown_name(f"option of {HUB}{name}", unknown[0], ("config", "split"))
    root = f"datasets/{name}@refs/convert/parquet"
    system = _hub()
    try:
        configs = _folders(system, f"{HUB}{name}", root)
        config = _choose("configuration", options.get("config"), configs, f"{HUB}{name}", "config")
        splits = {each.removeprefix(_PARTIAL): each for each in _folders(system, f"{HUB}{name}", f"{root}/{config}")}
    except DataError as error:
        raise DataError(f"{error} {ELSEWHERE}") from error
    split = _choose("split", options.get("split", "train"), sorted(splits), f"{HUB}{name}", "split")
    notes: tuple[str, ...] = ()
    if splits[split].startswith(_PARTIAL):
        notes = (f"the hub holds only a part of {name} as parquet: the first gigabytes of its {split} split",)
    return OnHub(f"hf://{root}/{config}/{splits[split]}", name.partition("/")[2], notes)


def _hub() -> Any:
    try:
        import fsspec

        return fsspec.filesystem("hf")
    except ImportError:
        raise UsageError('data sets of the hub need huggingface_hub: pip install "gendi[data]"') from None


def _folders(system: Any, what: str, path: str) -> list[str]:
    """Return the names of the folders at `path`. Raises `DataError` with `what` as the name of the data set."""
    try:
        with reaching(what):
            found = [PurePosixPath(e["name"]).name for e in system.ls(path, detail=True) if e["type"] == "directory"]
    except DataError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            raise DataError(f"The hub has no data set {what}, or has made no parquet of it.") from error
        raise
    if not found:
        raise DataError(f"The hub has made no parquet of {what}.")
    return sorted(found)


def _choose(kind: str, requested: str | None, known: list[str], what: str, option: str) -> str:
    if requested is None and len(known) > 1:
        raise UsageError(f"{what} has several {kind}s: {', '.join(known)}. Choose one: {what}?{option}={known[0]}.")
    chosen = known[0] if requested is None else requested
    if chosen not in known:
        raise unknown_name(f"{kind} of {what}", chosen, known)
    return chosen
