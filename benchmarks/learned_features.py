"""How long the feature network of a folder takes to learn (`gendi evaluate --extractor learned`).

    python benchmarks/learned_features.py                       writes benchmarks/results/learned_features.json
    python benchmarks/learned_features.py classes letters DATA  how often the classifier of the classes is right, into
                                                                benchmarks/results/class-classifier.json

The pictures are random ones, as only their number, size and colours count: 28 x 28 in grey and 32 x 32 in colour, with
ten classes. The cache is a new, empty folder, so every network is trained.
"""

import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from record import RESULTS, write

from gendi.data import open_data
from gendi.data.images.choose_extractors import LearnedExtractor
from gendi.data.images.class_classifier import steps_for
from gendi.data.images.class_metrics import Drawn, class_metrics, reader_of, seen_in_real
from gendi.data.images.learned_features import BATCH, STEPS, learned_network

SHAPES = {"28x28 grey": (28, 28), "32x32 colour": (32, 32, 3)}
SIZES = (1000, 20_000)
PICTURES = 1000
"""Pictures whose features are timed."""


def measure(folder: Path, shape: tuple[int, ...], n: int) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    path = folder / "pictures.npz"
    np.savez(path, images=rng.integers(0, 256, (n, *shape), dtype=np.uint8), labels=np.arange(n) % 10)
    data = open_data(str(path))
    start = time.perf_counter()
    learned = learned_network(data)
    middle = time.perf_counter()
    LearnedExtractor(learned)(data.train.rows[: min(PICTURES, len(data.train))])
    return {"images": n, "learning_seconds": middle - start, "features_seconds": time.perf_counter() - middle}


def classes(name: str, place: str) -> None:
    """Write how often the classifier of some data is right on held-out pictures."""
    data = open_data(place)
    reader = reader_of(data, ["learned"])
    assert reader is not None, "the data have classes"
    real = seen_in_real(reader, data, 0, None)
    assert real is not None, "the data hold out pictures"
    record, _ = class_metrics(reader, data.heldout.rows[:], data, real, Drawn(), 0, None)
    path = RESULTS / "class-classifier.json"
    found = json.loads(path.read_text("utf-8"))["data"] if path.exists() else {}
    found[name] = {
        "images": len(data.train),
        "heldout": len(real.labels),
        "classes": len(record.names),
        "shape": list(data.train.rows.shape[1:]),
        "steps": steps_for(len(data.train), len(record.names)),
        "right": record.right,
        "interval": record.right_interval,
    }
    print(name, found[name])
    write("class-classifier", {"data": found})


def learning() -> None:
    found: dict[str, Any] = {"steps": STEPS, "batch": BATCH, "pictures": PICTURES}
    for name, shape in SHAPES.items():
        found[name] = []
        for n in SIZES:
            with tempfile.TemporaryDirectory() as folder:
                os.environ["GENDI_CACHE"] = folder
                found[name].append(measure(Path(folder), shape, n))
            print(name, found[name][-1], flush=True)
    write("learned_features", found)


def main() -> None:
    if sys.argv[1:2] == ["classes"]:
        classes(*sys.argv[2:])
    else:
        learning()


if __name__ == "__main__":
    main()
