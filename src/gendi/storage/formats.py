"""The format number of a folder, which its JSON holds beside the version of gendi that wrote it."""

from pathlib import Path
from typing import Any

from gendi.errors import NewerFormatError
from gendi.machine.version import __version__


def refuse_newer(folder: Path, data: dict[str, Any], reads: int) -> None:
    """Raise `NewerFormatError` if the format in `data`, the JSON of `folder`, is above `reads`.

    The message names the version of gendi that can read it.
    """
    if type(data.get("format")) is int and data["format"] > reads:
        raise NewerFormatError(
            f"{folder} was written by gendi {data.get('gendi')} in format {data['format']}; this is gendi "
            f"{__version__}, which reads format {reads}. Use gendi {data.get('gendi')} or newer."
        )
