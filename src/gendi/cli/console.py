"""Results go to stdout, progress to stderr; `--json` prints one object."""

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

from gendi.machine.streams import print_result, tell
from gendi.machine.tables import cell as cell
from gendi.machine.tables import table as table
from gendi.storage.plain import plain


def program() -> str:
    """Return how the user calls gendi, for commands to copy: `gendi`, or its path where it is not on PATH."""
    called = Path(sys.argv[0])
    if called.name != "gendi" or shutil.which("gendi") is not None:
        return "gendi"
    near = os.path.relpath(called)
    return near if len(near) < len(str(called)) else str(called)


def say(message: str) -> None:
    """Print a line of progress to stderr."""
    tell(message)


def show(text: str = "", *, needed: bool = True) -> None:
    """Print a line of the result to stdout. Raises `ResourceError` if it is lost, unless it is not `needed`."""
    print_result(text, needed=needed)


def show_json(value: Any) -> None:
    """Print one JSON object to stdout; NaN and infinity, which JSON lacks, become null, and paths become strings."""
    print_result(json.dumps(plain(value), indent=1, ensure_ascii=False, allow_nan=False))
