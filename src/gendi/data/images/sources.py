"""How a text names pictures. This module imports only the standard library.

mnist                a known data set, by its name; a folder of the same name is ./mnist
photos/, x.npz       a folder of images, of idx files or of shards, or an array in a file
shards:PLACE         shards, whatever the ending of PLACE is
hf:OWNER/NAME        a data set of the Hugging Face hub
mix:ONE,TWO          several sources as one
"""

from pathlib import Path

SHARDS, HUB, MIX = "shards:", "hf:", "mix:"
NAMES = ("mnist", "fashion-mnist")
ARRAYS = (".npy", ".npz")


def names_pictures(spec: str) -> bool:
    """Return whether a text without a prefix names a known data set, or a folder or an array that is there."""
    if spec in NAMES:
        return True
    try:
        path = Path(spec).expanduser()
        return path.is_dir() or path.suffix.lower() in ARRAYS
    except (OSError, RuntimeError):  # the reader reports the error later
        return True


def is_there(spec: str) -> bool:
    """Return whether a text is the path of a file or a folder that is there, and not the name of a data set."""
    try:
        return spec != "" and spec not in NAMES and Path(spec).expanduser().exists()
    except (OSError, RuntimeError):
        return False


def files_of(spec: str) -> tuple[Path, ...]:
    """Return the files and folders on this machine that a spec names, whether or not they exist."""
    if spec in NAMES or spec.startswith(HUB) or "://" in spec:
        return ()
    if spec.startswith(MIX):
        return tuple(path for place in spec.removeprefix(MIX).split(",") for path in files_of(place))
    return (Path(spec.removeprefix(SHARDS)),)
