"""Memory and time from a command to the first samples: 20,000 x 5,000 cells in one file, 100,000 x 10,000 in four.

    python benchmarks/cells_scale.py --sizes 30000x3000x1 --flags --max-time 30s --name cells-scale-unlabelled
    python benchmarks/cells_scale.py [--sizes 20000x5000x1 100000x10000x4] [--max-time 60s] [--n 1000] [--data FOLDER]

Counts are negative binomial behind eight factors and eight classes, some 6% of them not 0. Several files have their
genes in orders of their own, and each lacks 25 genes that the others have. A size is measured by two commands, each a
process of its own: `gendi train cells:FOLDER --condition kind --max-time 60s`, and `gendi sample --n 1000`. Kept are
their seconds, those of the processor, and the peak of their resident memory. Without `--condition kind` (an empty
`--flags`), training divides the cells into clusters first.
"""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import record

FACTORS, CLASSES, LACKING = 8, 8, 25


def write(folder: Path, cells: int, genes: int, files: int) -> int:
    """Write `cells` cells in some files that have `genes` genes in common; return how many counts are not 0."""
    import anndata
    import pandas
    import scipy.sparse as sp

    rng = np.random.default_rng(0)
    every = genes + (LACKING * files if files > 1 else 0)
    names = np.array([f"gene{i}" for i in range(every)])
    loadings, rate = rng.normal(0, 0.5, (FACTORS, every)).astype(np.float32), rng.gamma(0.5, 0.5, every)
    found = 0
    for file, size in enumerate(len(part) for part in np.array_split(np.arange(cells), files)):
        classes, parts = rng.integers(0, CLASSES, size), []
        for rows in np.array_split(np.arange(size), max(1, size // 1000)):
            f = rng.normal(0, 0.5, (len(rows), FACTORS)).astype(np.float32)
            f[np.arange(len(rows)), classes[rows]] += 2
            mu = np.exp(f @ loadings) * rate.astype(np.float32)
            mu *= rng.lognormal(-1.9, 0.3, (len(rows), 1)).astype(np.float32)
            counts = rng.poisson(rng.standard_gamma(2, mu.shape, np.float32) * mu / 2)
            counts[:, 0] += 1  # no cell is empty
            parts.append(sp.csr_matrix(counts.astype(np.float32)))
        kept = np.arange(every)
        if files > 1:
            kept = rng.permutation(np.r_[:genes, np.delete(np.arange(genes, every), np.s_[file::files])])
        obs = pandas.DataFrame({"kind": pandas.Categorical(classes.astype(str))}, index=np.arange(size).astype(str))
        counts = sp.vstack(parts).tocsr()[:, kept]
        found += counts.nnz
        anndata.AnnData(counts, obs=obs, var=pandas.DataFrame(index=names[kept])).write_h5ad(folder / f"{file}.h5ad")
    return found


def measured(*words: str) -> dict[str, float]:
    """Run `gendi` with these words; return its seconds, its seconds of the processor and its peak memory in bytes."""
    began = time.perf_counter()
    pid = os.posix_spawn(sys.executable, [sys.executable, "-m", "gendi", *words], os.environ)
    _, status, used = os.wait4(pid, 0)
    if os.waitstatus_to_exitcode(status):
        raise SystemExit(f"gendi {' '.join(words)} ended with {os.waitstatus_to_exitcode(status)}")
    return {
        "seconds": round(time.perf_counter() - began, 1),
        "processor_seconds": round(used.ru_utime + used.ru_stime, 1),
        "peak": used.ru_maxrss * 1024,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", default=["20000x5000x1", "100000x10000x4"], help="CELLSxGENESxFILES")
    parser.add_argument("--max-time", default="60s")
    parser.add_argument("--n", default="1000")
    parser.add_argument("--data", help="where the files are written, and found again; a temporary folder by default")
    parser.add_argument("--name", default="cells-scale", help="of the results")
    parser.add_argument("--flags", nargs="*", default=["--condition", "kind"], help="of gendi train")
    args = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for size in args.sizes:
        cells, genes, files = map(int, size.split("x"))
        with tempfile.TemporaryDirectory() as folder:
            data, run = Path(args.data or folder) / size, str(Path(folder) / "run")
            count = data / "nonzero.json"
            if not count.exists():
                data.mkdir(parents=True, exist_ok=True)
                count.write_text(str(write(data, cells, genes, files)))
            nonzero = int(count.read_text())
            train = measured("train", f"cells:{data}", *args.flags, "--max-time", args.max_time, "--out", run)
            sample = measured("sample", run, "--n", args.n, "--out", str(Path(folder) / "fake.h5ad"))
        row = {"cells": cells, "genes": genes, "files": files, "nonzero": nonzero, "train": train, "sample": sample}
        rows.append(row)
        print(rows[-1], flush=True)
        record.write(args.name, {"flags": args.flags, "max_time": args.max_time, "n": args.n, "rows": rows})


if __name__ == "__main__":
    main()
