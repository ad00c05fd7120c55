"""Shards: memory and images/s as the data grow tenfold, against the same pictures in memory.

    OMP_NUM_THREADS=1 python benchmarks/streaming.py

Each measurement is a process of its own: it opens the data (made before, indexed before), then reads batches of 128 in
the order of training. `grown_mb` is how much the resident memory grows from after the imports to the end.
"""

import argparse
import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
import record
from PIL import Image

EACH = 250
SIDE = 64
BATCH = 128
SECONDS = 8.0


def write(folder: Path, shards: int) -> None:
    """Write shards of 250 smooth JPEGs of 64 x 64."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    files = []
    for _ in range(EACH):
        file = io.BytesIO()
        coarse = Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8))
        coarse.resize((SIDE, SIDE), Image.Resampling.BICUBIC).save(file, "JPEG", quality=90)
        files.append(file.getvalue())
    for shard in range(shards):
        with tarfile.open(folder / f"{shard:05}.tar", "w") as tar:
            for i, content in enumerate(files):
                for name, held in ((f"{i:05}.jpg", content), (f"{i:05}.cls", b"%d" % (i % 10))):
                    info = tarfile.TarInfo(name)
                    info.size = len(held)
                    tar.addfile(info, io.BytesIO(held))


def measure(spec: str, in_memory: bool) -> dict[str, float]:
    """Return what reading the data takes, in this process."""
    from gendi.data import open_data
    from gendi.data.order import batch_indices

    process = psutil.Process()
    before, start = process.memory_info().rss, time.perf_counter()
    data = open_data(spec)
    opened = time.perf_counter() - start
    train = data.train
    if in_memory:
        held, blocks = train.batch(range(len(train))), None
    step, start = 0, time.perf_counter()
    while time.perf_counter() - start < SECONDS:
        if in_memory:
            held[batch_indices(len(train), BATCH, 0, step, blocks)]
        else:
            train.batch(batch_indices(len(train), BATCH, 0, step, train.blocks))
        step += 1
    seconds = time.perf_counter() - start
    return {
        "images": len(train),
        "open_seconds": round(opened, 2),
        "images_per_second": round(step * BATCH / seconds),
        "grown_mb": round((process.memory_info().rss - before) / 2**20, 1),
        "as_one_array_mb": round(train.rows.nbytes / 2**20, 1),
    }


def child(spec: Path, in_memory: bool, cache: Path) -> dict[str, float]:
    command = [sys.executable, __file__, "--measure", str(spec), *(["--in-memory"] if in_memory else [])]
    out = subprocess.run(command, env=os.environ | {"GENDI_CACHE": str(cache)}, capture_output=True, check=True)
    return dict(json.loads(out.stdout))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--measure")
    parser.add_argument("--in-memory", action="store_true")
    asked = parser.parse_args()
    if asked.measure:
        print(json.dumps(measure(asked.measure, asked.in_memory)))
        return
    with tempfile.TemporaryDirectory() as folder:
        figures = {}
        for name, shards in (("small", 20), ("ten times", 200)):
            place, cache = Path(folder) / name.replace(" ", "-"), Path(folder) / "cache"
            write(place, shards)
            indexing = child(place, False, cache)["open_seconds"]
            figures[name] = child(place, False, cache) | {"shards": shards, "first_open_seconds": indexing}
            print(name, figures[name])
            figures[f"{name}, in memory"] = child(place, True, cache)
            print(f"{name}, in memory", figures[f"{name}, in memory"])
    record.write("streaming", figures)


if __name__ == "__main__":
    main()
