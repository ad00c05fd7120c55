"""FID on digit features against the number of calls and the temperature, for every sampler, on one trained run.

    python benchmarks/samplers.py RUN [--name samplers] [--n 1000] [--calls 5 10 20 50] [--samplers ddim heun ...]
                                      [--temperatures 1 0.8] [--seeds 0 1 2]

n samples of each seed against as many training images; `floor` is what as many held-out images score. `ink` is the
share of pixels above 128 (of the first 10,000 training images: `real_ink`). All rows take hours on a CPU, so each is
written as soon as it is measured, and a row that the results hold for the same weights is not measured again: stop it
and start it as you like. Data without a digit are measured on the digit classifier's features all the same: they are
fixed, and see strokes and edges. Draws `docs/samplers.png` and the table in docs/samplers.md from what there is for
`--name samplers`; `--calls` without numbers measures no more.

A figure stands with its 95% interval over the seeds of sampling, whose standard deviation is pooled over all rows that
have several seeds, as a share of the figure; a row of one seed has the interval of one.
"""

import argparse
import json
import math
import time
from itertools import product
from typing import Any

import matplotlib
import numpy as np
from record import DOCS, RESULTS, write, write_table

import gendi
from gendi.data import Data, open_data
from gendi.data.images.evaluation import evaluate
from gendi.diffusion.gaussian.samplers import SAMPLERS
from gendi.errors import UsageError
from gendi.evaluate.comparison import Z95
from gendi.train.kept.bundle import Bundle, load_bundle

matplotlib.use("Agg")
CALLS = (5, 10, 20, 50)
SHOWN = ("fid-digits", "precision-digits", "recall-digits", "confidence")


def measure(bundle: Bundle, data: Data, name: str, calls: int, n: int, temperature: float, seed: int) -> dict[str, Any]:
    start = time.perf_counter()
    images = gendi.sample(bundle, n=n, steps=calls, sampler=name, temperature=temperature, seed=seed)
    seconds = time.perf_counter() - start
    metrics = evaluate(images, data, extractor="digits", n=n).to_dict()["metrics"]
    return {
        "sampler": name,
        "calls": calls,
        "n": n,
        "temperature": temperature,
        "seed": seed,
        **{k: metrics[k]["value"] for k in SHOWN if k in metrics},
        "floor": metrics["fid-digits"]["floor"],
        "ink": float((images > 128).mean()),
        "seconds": seconds,
    }


class Figures:
    """FID by (sampler, temperature, calls): means over seeds, with 95% intervals."""

    def __init__(self, rows: list[dict[str, Any]], n: int) -> None:
        rows = [row for row in rows if row["n"] == n]
        keys = dict.fromkeys((row["sampler"], row["temperature"], row["calls"]) for row in rows)
        self.found = {
            key: [r["fid-digits"] for r in rows if (r["sampler"], r["temperature"], r["calls"]) == key] for key in keys
        }
        several = [values for values in self.found.values() if len(values) > 1]
        spread = sum(np.var(np.divide(v, np.mean(v)), ddof=1) * (len(v) - 1) for v in several)
        self.relative = math.sqrt(spread / sum(len(v) - 1 for v in several)) if several else math.nan
        self.calls = sorted({calls for *_, calls in keys})
        self.lines = sorted({key[:2] for key in keys}, key=self.rank)
        self.floor = float(np.mean([row["floor"] for row in rows]))

    def rank(self, line: tuple[str, float]) -> float:
        return self.mean(*line, 20) or math.inf

    def mean(self, name: str, temperature: float, calls: int) -> float | None:
        values = self.found.get((name, temperature, calls))
        return None if values is None else float(np.mean(values))

    def interval(self, name: str, temperature: float, calls: int) -> float:
        """Return half the width of the 95% interval."""
        values = self.found[name, temperature, calls]
        return Z95 * self.relative * float(np.mean(values)) / math.sqrt(len(values))

    def table(self) -> list[str]:
        """Return the lines of a table, a row per sampler and temperature, a column per number of calls."""
        out = ["| sampler | temperature | " + " | ".join(f"{k} calls" for k in self.calls) + " |"]
        out.append("|---" * (len(self.calls) + 2) + "|")
        for name, heat in self.lines:
            cells = [
                f"{self.mean(name, heat, k):.2f} ± {self.interval(name, heat, k):.2f}"
                if (name, heat, k) in self.found
                else ""
                for k in self.calls
            ]
            out.append(f"| `{name}` | {heat:g} | " + " | ".join(cells) + " |")
        return out


def draw(figures: Figures, n: int) -> None:
    """Draw FID against calls, one line per sampler and temperature, into docs/samplers.png."""
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(9, 5.5), layout="constrained")
    lines = [line for line in figures.lines if sum((*line, k) in figures.found for k in figures.calls) > 1]
    for k, (name, heat) in enumerate(lines):
        calls = [c for c in figures.calls if (name, heat, c) in figures.found]
        values = [figures.mean(name, heat, c) for c in calls]
        errors = [figures.interval(name, heat, c) for c in calls]
        label = name if heat == 1 else f"{name}, temperature {heat:g}"
        style = ("-", "--", ":")[k // 10 % 3]
        axes.errorbar(calls, values, errors, linestyle=style, color=f"C{k % 10}", marker="o", markersize=3, label=label)
    axes.axhline(figures.floor, color="0.5", linewidth=1, label="real held-out images")
    axes.set_ylim(figures.floor / 1.3, 20 * figures.floor)
    axes.set(xscale="log", yscale="log", xlabel="network calls per sample", ylabel=f"FID, digit features, n = {n:,}")
    axes.set_xticks(figures.calls, [str(tick) for tick in figures.calls], minor=False)
    axes.minorticks_off()
    axes.grid(alpha=0.25)
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, title="best at 20 calls first")
    figure.savefig(DOCS / "samplers.png", dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("run")
    parser.add_argument("--name", default="samplers")
    parser.add_argument("--n", type=int, default=1000)
    parser.add_argument("--calls", type=int, nargs="*", default=CALLS)
    usual = [name for name, info in SAMPLERS.items() if info.takes == "mean"]
    parser.add_argument("--samplers", nargs="*", default=usual, choices=usual)
    parser.add_argument("--temperatures", nargs="*", type=float, default=[1.0])
    parser.add_argument("--seeds", nargs="*", type=int, default=[0])
    args = parser.parse_args()
    bundle = load_bundle(args.run)
    weights = bundle.sha256
    data = open_data(bundle.meta["data_spec"])
    path = RESULTS / f"{args.name}.json"
    old = json.loads(path.read_text()) if path.exists() else {}
    rows = old["rows"] if old.get("weights") == weights else []
    real = float((data.train.rows[:10_000] > 128).mean())
    # seeds and calls outermost, so that a stop leaves every sampler at the same numbers
    for seed, calls, heat, name in product(args.seeds, args.calls, args.temperatures, args.samplers):
        wanted = (name, calls, args.n, heat, seed)
        if any((r["sampler"], r["calls"], r["n"], r["temperature"], r["seed"]) == wanted for r in rows):
            continue
        try:
            rows.append(measure(bundle, data, name, calls, args.n, heat, seed))
        except UsageError as error:  # a sampler that needs something this model does not have
            print(f"{name} at {calls}: {error}")
            continue
        print(rows[-1], flush=True)
        about = {"data": bundle.meta["data"], "preset": bundle.config.preset, "images": bundle.meta["images"]}
        write(args.name, {**about, "weights": weights, "real_ink": real, "rows": rows})
    figures = Figures(rows, args.n)
    print("\n".join(figures.table()))
    if args.name == "samplers":
        draw(figures, args.n)
        write_table("samplers.md", "measured quality", figures.table())


if __name__ == "__main__":
    main()
