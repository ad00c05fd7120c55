"""Samplers and temperatures on single cells: what they do to a model that trained for a minute.

    OMP_NUM_THREADS=1 python benchmarks/cells_samplers.py [--samplers deis ...] [--calls 5 10 20 50]

The data, the halves and the training are those of cells.py, with labels; each model draws as many cells as it was
trained on, once per seed of sampling, and is measured against the cells held out. Figures are means over the splits
with 95% intervals of Student's t; `floor` is what the training cells themselves score. Writes
results/cells-samplers.json and a table of docs/samplers.md.
"""

import argparse
import json
import time
from itertools import product
from typing import Any

import numpy as np
import record
import torch
from scipy.stats import t as student

from cells import conditions, dealt, fitted_to, pbmc, trained
from gendi.diffusion.gaussian.samplers import SAMPLERS, sample
from gendi.evaluate.vectors import RowSet
from gendi.evaluate.vectors.rows import compute_row_metrics

SHOWN = {"energy": "energy distance", "auc-forest": "forest AUC", "variance-r": "r of variances", "tstr": "TSTR"}
SHOWN_CALLS = 20
SAMPLERS_TRIED = ("dpmpp-2m-sde", "dpmpp-2m-sde-log-snr", "deis", "unipc", "dpmpp-2m", "heun", "ddim", "sa-solver",
                  "ancestral", "ancestral-karras")  # fmt: skip


def with_interval(values: list[float]) -> tuple[float, float]:
    k = len(values)
    return float(np.mean(values)), float(student.ppf(0.975, k - 1) * np.std(values, ddof=1) / np.sqrt(k))


def table(rows: list[dict[str, Any]], floor: dict[str, list[float]]) -> list[str]:
    lines = ["| sampler, calls | temperature | " + " | ".join(SHOWN.values()) + " |", "|---" * (len(SHOWN) + 2) + "|"]

    def text(found: dict[str, list[float]]) -> str:
        return " | ".join("{:.3f} ± {:.3f}".format(*with_interval(found[name])) for name in SHOWN)

    lines.append(f"| real cells | | {text(floor)} |")
    shown = [row for row in rows if row["calls"] == SHOWN_CALLS or row["temperature"] != 1]
    for row in sorted(shown, key=lambda row: np.mean(row["metrics"]["energy"])):
        lines.append(f"| `{row['sampler']}`, {row['calls']} | {row['temperature']:g} | {text(row['metrics'])} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samplers", nargs="+", default=list(SAMPLERS_TRIED), choices=list(SAMPLERS))
    parser.add_argument("--calls", nargs="+", type=int, default=[10, 30])
    parser.add_argument("--temperatures", nargs="+", type=float, default=[1.0])
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--table", action="store_true", help="write the table from the results, and nothing else")
    parser.add_argument("--splits", type=int, nargs="+", default=[0, 1, 2])
    args = parser.parse_args()
    if args.table:
        found = json.loads((record.RESULTS / "cells-samplers.json").read_text("utf-8"))
        record.write_table("samplers.md", "cells by sampler", table(found["rows"], found["floor"]))
        return
    torch.set_num_threads(1)
    counts, labels, names = pbmc()
    ways = [*product(args.samplers, args.calls, args.temperatures)]
    ways += [(name, args.calls[-1], T) for name in ("dpmpp-2m-sde", "deis") for T in (0.8, 0.9)]
    rows = [{"sampler": s, "calls": c, "temperature": T, "metrics": {name: [] for name in SHOWN}} for s, c, T in ways]
    floor: dict[str, list[float]] = {name: [] for name in SHOWN}
    for split in args.splits:
        data = dealt(counts, labels, names, split, labelled=True)
        config, fitted = fitted_to("copula", data, split)
        denoiser = trained(config, fitted, time.process_time() + args.seconds)[0].ema_denoiser()
        real, heldout = (RowSet(part.rows, part.conditions["class"]) for part in (data.train, data.heldout))
        cond, n = conditions(data), len(data.train)

        def measured(cells: np.ndarray, seed: int = split, sets: tuple[RowSet, RowSet] = (real, heldout)) -> Any:
            return compute_row_metrics(RowSet(cells, sets[0].labels), *sets, seed=seed)

        for name, value in measured(data.train.rows).items():
            if name in floor:
                floor[name].append(value)
        for row in rows:
            how = {"steps": row["calls"], "sampler": row["sampler"], "temperature": row["temperature"]}
            x = sample(denoiser, fitted.codec.shape, n, seed=split, cond=cond, **how)
            found = measured(fitted.codec.decode(x, cond, split, 0).numpy())
            for name in SHOWN:
                row["metrics"][name].append(found[name])
            print(split, how, {name: round(found[name], 3) for name in SHOWN}, flush=True)
    record.write("cells-samplers", {"seconds": args.seconds, "splits": args.splits, "floor": floor, "rows": rows})
    record.write_table("samplers.md", "cells by sampler", table(rows, floor))


if __name__ == "__main__":
    main()
