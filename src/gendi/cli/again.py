"""What the file with an edit's results records: the command line that made it, and the files that were read."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from gendi.api.edit_settings import EDIT_TEXT, edited_by
from gendi.data.images.sample_files import png_text
from gendi.errors import DataError, Mend, UsageError


@dataclass(frozen=True)
class Made:
    """How results were made."""

    words: tuple[str, ...]
    """Words of the command line, after the name of the command."""
    sha256: Mapping[str, str]
    """SHA-256 of each picture that was read, and of the weights in each model's folder, by path."""
    settings: Mapping[str, object]
    """All settings that the file keeps, by name."""


def read_made(path: Path, command: str) -> Made:
    """Return how `path`, a picture or a folder that `gendi COMMAND` wrote, was made.

    Raises:
        DataError: the file does not exist, or does not say how it was made.
        UsageError: another command made the file; the message names that command.
    """
    if not path.exists():
        raise DataError(f"There is no file {path} to make again.")
    if path.is_dir():
        pictures = sorted(path.glob("*.png"))
        if not pictures:
            raise DataError(f"{path} holds no PNG. Give the picture or folder that gendi {command} wrote.")
        return read_made(pictures[0], command)
    text = png_text(path)
    other = "sample" if "gendi" in text else edited_by(text)
    if other is None:
        raise DataError(f"{path} does not say how it was made: no edit of gendi wrote it, or it was changed since.")
    if other != command:
        error = UsageError(f"{path} was made by gendi {other}: run gendi {other} --again {path}.")
        raise error.mended_by(Mend(command=other))
    data = json.loads(text[EDIT_TEXT])
    words, sha256 = data.get("words"), data.get("sha256")
    if not (_are_texts(words, list) and _are_texts(sha256, dict) and _are_texts(list(sha256.values()), list)):
        raise DataError(
            f"{path} was made by gendi {data.get('version')}, which did not record its command line, or the file was "
            "changed since. Give the flags yourself instead of --again."
        )
    return Made(tuple(words), sha256, data)


def _are_texts(value: object, kind: type) -> bool:
    return isinstance(value, kind) and all(isinstance(inside, str) for inside in value)  # type: ignore[attr-defined]
