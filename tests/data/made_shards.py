"""Shards of pictures, written for tests."""

import io
import json
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image

from gendi.data.images.shards import ShardRows, load_shards

Member = tuple[str, bytes]


def pictures(n: int, height: int = 6, width: int = 5, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (n, height, width, 3), np.uint8)


def png(picture: NDArray[np.uint8]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG")
    return file.getvalue()


def write_tar(path: Path, members: Sequence[Member]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(tar_bytes(members))
    return path


def tar_bytes(members: Sequence[Member]) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return file.getvalue()


def members_of(images: NDArray[np.uint8], first: int = 0) -> list[Member]:
    """Pictures, a class i % 3 and JSON of the number i."""
    found: list[Member] = []
    for i, image in enumerate(images, first):
        told = {"age": i / 2, "wears": ["hat", "scarf"][: i % 3], "at": [i, -i], "caption": f"picture {i} " * 40}
        found += [
            (f"{i:04}.png", png(image)),
            (f"{i:04}.cls", b"%d" % (i % 3)),
            (f"{i:04}.json", json.dumps(told).encode()),
        ]
    return found


def write_shards(folder: Path, images: NDArray[np.uint8], each: int) -> str:
    for shard, start in enumerate(range(0, len(images), each)):
        write_tar(folder / f"{shard:03}.tar", members_of(images[start : start + each], start))
    return str(folder)


def write_parquet(path: Path, images: NDArray[np.uint8], group: int = 4, **columns: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    files = [{"bytes": png(image), "path": None} for image in images]
    pq.write_table(pa.table({"image": files, **columns}), path, row_group_size=group)


def rows_of(spec: str, **options: Any) -> ShardRows:
    rows = load_shards(spec, **options).rows
    assert isinstance(rows, ShardRows)
    return rows
