"""Recognises the files that gendi wrote by what they hold, wherever they are, so that no other file is overwritten.

    .png        a text chunk that says how the picture was made      .npz   the array "settings", a text in JSON
    .json       the fields of an evaluation                          .h5ad  an entry "gendi" among the unstructured data
    .html       the title of a report                                .parquet  an entry "gendi" among the attributes

A `.csv` has no place for a mark: it is recognised only by the record of a run (`gendi.storage.record`).
"""

import contextlib
import json
import struct
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

TEXT_CHUNKS = (b"tEXt", b"zTXt", b"iTXt")
PICTURE_TEXTS = (b"gendi", b"gendi-grid", b"gendi-edit")
LARGEST_TEXT = 1 << 20
LARGEST_PAGE = 1 << 28


def bears_mark(path: Path) -> bool:
    """Return whether the file at `path` says that gendi wrote it. A file that cannot be read does not."""
    known = _MARKS.get(path.suffix.lower())
    if known is None or not path.is_file():
        return False
    try:
        return known(path)
    except Exception:  # a stranger's file may be damaged in any way
        return False


def picture_texts(path: Path) -> Iterator[tuple[bytes, bytes]]:
    """Yield (keyword, rest of the chunk) of every text in a PNG file. Raises `ValueError` if it is no PNG."""
    with path.open("rb") as file:
        if file.read(8) != b"\x89PNG\r\n\x1a\n":
            raise ValueError(f"{path} is no PNG")
        while len(head := file.read(8)) == 8:
            length, kind = struct.unpack(">I4s", head)
            if kind in TEXT_CHUNKS:
                keyword, _, text = file.read(min(length, LARGEST_TEXT)).partition(b"\0")
                yield keyword, text
                file.seek(max(0, length - LARGEST_TEXT) + 4, 1)
            else:
                file.seek(length + 4, 1)


def _picture(path: Path) -> bool:
    return any(
        keyword in PICTURE_TEXTS or (keyword == b"Software" and text.startswith(b"gendi "))
        for keyword, text in picture_texts(path)
    )


def _archive(path: Path) -> bool:
    import numpy as np

    with zipfile.ZipFile(path) as archive:
        if archive.getinfo("settings.npy").file_size > LARGEST_TEXT:
            return False
    with np.load(path, allow_pickle=False) as arrays:
        settings = json.loads(str(arrays["settings"]))
    return isinstance(settings, dict) and {"seed", "sampler"} <= settings.keys()


def _evaluation(path: Path) -> bool:
    if path.stat().st_size > LARGEST_PAGE:
        return False
    found = json.loads(path.read_bytes())
    return isinstance(found, dict) and {"metrics", "extractors", "fingerprint", "floor_n"} <= found.keys()


def _page(path: Path) -> bool:
    with path.open("rb") as file:
        head = file.read(4096).partition(b"</title>")[0]
    return head.startswith(b"<!doctype html>") and head.endswith(" · gendi".encode())


def _cells(path: Path) -> bool:
    import h5py  # type: ignore[import-untyped]

    with h5py.File(path, "r") as file:
        return "gendi" in file["uns"]


def _table(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-8, 2)
        length = struct.unpack("<I4s", file.read(8))[0]
        file.seek(-8 - min(length, LARGEST_TEXT), 2)
        footer = file.read(min(length, LARGEST_TEXT))
    return b"PANDAS_ATTRS" in footer and b'"gendi"' in footer.replace(b"\\", b"")


_MARKS: dict[str, Callable[[Path], bool]] = {
    ".png": _picture,
    ".npz": _archive,
    ".json": _evaluation,
    ".html": _page,
    ".h5ad": _cells,
    ".parquet": _table,
}


def drawn_by_matplotlib(path: Path) -> bool:
    """Return whether a PNG says that Matplotlib drew it, as figures of gendi 0.1.0 do."""
    with contextlib.suppress(OSError, ValueError):
        return any(k == b"Software" and text.startswith(b"Matplotlib") for k, text in picture_texts(path))
    return False
