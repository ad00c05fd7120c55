"""Memory and time of training on many cells: 20,000 x 2,000 sparse counts, and ten times fewer cells beside them.

    python benchmarks/cells_scale.py [--cells 2000 20000] [--genes 2000] [--steps 500]

Counts are negative binomial behind eight factors, some 4% of them not 0. Each trains in a process of its own by preset
`cells`, told the class; kept are the peak of its resident memory, that of a process which only imports the same and
opens the data, the bytes of the data, and the seconds of opening, of fitting and encoding, and of training.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import record


def write(path: Path, n: int, genes: int) -> int:
    """Write an .h5ad of n cells; return the bytes of its matrix in memory."""
    import anndata
    import pandas
    import scipy.sparse as sp

    rng = np.random.default_rng(0)
    loadings, rate = rng.normal(0, 0.5, (8, genes)), rng.gamma(0.5, 0.5, genes)
    classes, parts = rng.integers(0, 8, n), []
    for rows in np.array_split(np.arange(n), max(1, n // 1000)):
        f = rng.normal(0, 0.5, (len(rows), 8))
        f[np.arange(len(rows)), classes[rows]] += 2
        mu = np.exp(f @ loadings) * rate * rng.lognormal(-2.5, 0.3, (len(rows), 1))
        parts.append(sp.csr_matrix(rng.poisson(rng.gamma(2, mu / 2)).astype(np.float32)))
    counts = sp.vstack(parts).tocsr()
    keep = np.asarray(counts.sum(1)).ravel() > 0
    obs = pandas.DataFrame(
        {"kind": pandas.Categorical(classes[keep].astype(str))}, index=np.arange(keep.sum()).astype(str)
    )
    anndata.AnnData(counts[keep], obs=obs).write_h5ad(path)
    return int(counts.data.nbytes + counts.indices.nbytes + counts.indptr.nbytes)


def child(path: str, steps: int) -> None:
    """Open the data, and with steps train on them; print what it took."""
    from dataclasses import replace

    from gendi.data import open_data
    from gendi.diffusion.config import ConditionConfig
    from gendi.train.presets import get_preset
    from gendi.train.step.probe import Choice
    from gendi.train.step.resolve import prepared, resolve
    from gendi.train.step.trainer import Trainer

    clock = [time.perf_counter()]
    data = open_data(f"cells:{path}")
    clock.append(time.perf_counter())
    opened = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    if steps:
        config = resolve(replace(get_preset("cells").config, conditions=(ConditionConfig("kind"),)), data)
        data = prepared(config, data)
        clock.append(time.perf_counter())
        trainer = Trainer(config, data, Choice("fp32", "contiguous", "given"))
        for step in range(steps):
            trainer.step(step / steps)
        clock.append(time.perf_counter())
    seconds = dict(zip(("open", "fit and encode", "train"), np.diff(clock).round(1).tolist(), strict=False))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(
        json.dumps({"cells": len(data.train) + len(data.heldout), "peak": peak, "opened": opened, "seconds": seconds})
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, nargs="+", default=[2000, 20_000])
    parser.add_argument("--genes", type=int, default=2000)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        warnings.simplefilter("ignore")
        child(args.child, args.steps)
        return
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        for n in args.cells:
            path = Path(folder) / f"{n}.h5ad"
            bytes_ = write(path, n, args.genes)
            words = [sys.executable, __file__, "--child", str(path), "--steps", str(args.steps)]
            done = subprocess.run(words, capture_output=True, text=True, check=True)
            row = json.loads(done.stdout.splitlines()[-1])
            rows.append({"genes": args.genes, "matrix": bytes_, "steps": args.steps, **row})
            print(rows[-1], flush=True)
    record.write("cells-scale", {"rows": rows})


if __name__ == "__main__":
    main()
