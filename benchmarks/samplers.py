"""FID on digit features against the number of calls, for every sampler, on one trained run.

    python benchmarks/samplers.py RUN [--n 5000] [--calls 4 5 6 8 10 15 20 30 50 100] [--samplers ddim heun ...]

n samples of seed 0 each against as many training images; `floor` is what as many held-out images score. `ink` is the
share of pixels above 128 (of the first 10,000 training images: `real_ink`). All rows take hours on a CPU, so each is
written as soon as it is measured, and a row that the results hold for the same weights and n is not measured again:
stop it and start it as you like. Draws
`docs/samplers.png` and the table in docs/samplers.md from what there is; `--calls` without numbers measures no more.
"""

import argparse
import json
import time
from typing import Any

import matplotlib
import numpy as np
from record import DOCS, RESULTS, write, write_table

import gendi
from gendi.api.models import weights_sha256
from gendi.data import Data, open_data
from gendi.data.images.evaluation import evaluate
from gendi.diffusion.gaussian.samplers import SAMPLERS
from gendi.errors import UsageError
from gendi.train.bundle import Bundle, load_bundle

matplotlib.use("Agg")
CALLS = (4, 5, 6, 8, 10, 15, 20, 30, 50, 100)
SHOWN = ("fid-digits", "precision-digits", "recall-digits", "confidence")


def measure(bundle: Bundle, data: Data, name: str, calls: int, n: int) -> dict[str, Any]:
    start = time.perf_counter()
    images = gendi.sample(bundle, n=n, steps=calls, sampler=name)
    seconds = time.perf_counter() - start
    metrics = evaluate(images, data, extractor="digits", n=n).to_dict()["metrics"]
    return {
        "sampler": name,
        "calls": calls,
        "n": n,
        **{k: metrics[k]["value"] for k in SHOWN},
        "floor": metrics["fid-digits"]["floor"],
        "ink": float((images > 128).mean()),
        "seconds": seconds,
    }


def draw(rows: list[dict[str, Any]], n: int) -> None:
    """Draw FID against calls, one line per sampler, into docs/samplers.png."""
    from matplotlib import pyplot as plt

    rows = [row for row in rows if row["n"] == n]
    names = [name for name in SAMPLERS if sum(row["sampler"] == name for row in rows) > 1]
    if not names:
        return
    best = {name: min(r["fid-digits"] for r in rows if r["sampler"] == name) for name in names}
    figure, axes = plt.subplots(figsize=(9, 5.5), layout="constrained")
    for k, name in enumerate(sorted(names, key=best.__getitem__)):
        points = sorted((row["calls"], row["fid-digits"]) for row in rows if row["sampler"] == name)
        style = ("-", "--", ":")[k // 10 % 3]
        axes.plot(*zip(*points, strict=True), style, color=f"C{k % 10}", marker="o", markersize=3, label=name)
    floor = float(np.mean([row["floor"] for row in rows]))
    axes.axhline(floor, color="0.5", linewidth=1, label="real held-out images")
    axes.set_ylim(floor / 1.3, 20 * floor)
    axes.set(xscale="log", yscale="log", xlabel="network calls per sample", ylabel=f"FID, digit features, n = {n:,}")
    ticks = sorted({row["calls"] for row in rows})
    axes.set_xticks(ticks, [str(tick) for tick in ticks], minor=False)
    axes.minorticks_off()
    axes.grid(alpha=0.25)
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, title="best first")
    figure.savefig(DOCS / "samplers.png", dpi=110)


def table(rows: list[dict[str, Any]], n: int) -> list[str]:
    """Return the lines of a table of FID, a row per sampler, a column per number of calls."""
    rows = [row for row in rows if row["n"] == n]
    calls = sorted({row["calls"] for row in rows})
    found = {(row["sampler"], row["calls"]): row["fid-digits"] for row in rows}
    lines = ["| sampler | " + " | ".join(f"{k} calls" for k in calls) + " |", "|---" * (len(calls) + 1) + "|"]
    for name in sorted({row["sampler"] for row in rows}, key=lambda name: found.get((name, 20), np.inf)):
        cells = [f"{found[name, k]:.3f}" if (name, k) in found else "" for k in calls]
        lines.append(f"| `{name}` | " + " | ".join(cells) + " |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("run")
    parser.add_argument("--n", type=int, default=5000)
    parser.add_argument("--calls", type=int, nargs="*", default=CALLS)
    parser.add_argument("--samplers", nargs="*", default=list(SAMPLERS), choices=list(SAMPLERS))
    args = parser.parse_args()
    bundle, weights = load_bundle(args.run), weights_sha256(args.run)
    data = open_data(bundle.meta["data_spec"])
    path = RESULTS / "samplers.json"
    old = json.loads(path.read_text()) if path.exists() else {}
    rows = old["rows"] if old.get("weights") == weights else []
    real = float((data.train.rows[:10_000] > 128).mean())
    for calls in args.calls:  # so that a stop leaves every sampler at the same numbers
        for name in args.samplers:
            if any((row["sampler"], row["calls"], row["n"]) == (name, calls, args.n) for row in rows):
                continue
            try:
                rows.append(measure(bundle, data, name, calls, args.n))
            except UsageError as error:  # a sampler that needs something this model does not have
                print(f"{name} at {calls}: {error}")
                continue
            print(rows[-1], flush=True)
            about = {"preset": bundle.config.preset, "images": bundle.meta["images"], "weights": weights}
            write("samplers", {**about, "real_ink": real, "rows": rows})
    draw(rows, args.n)
    write_table("samplers.md", "measured quality", table(rows, args.n))


if __name__ == "__main__":
    main()
