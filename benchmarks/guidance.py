"""Guidance by classes on MNIST: how often the asked class is drawn, and FID, against the scale; and what it costs.

    python benchmarks/guidance.py RUN [--n 2000] [--interval 0.3 5] [--scales 0 0.5 1 ...] [--rounds 5] [--pair 250]

n samples of seed 0 for each scale, classes in turn, by classifier-free guidance everywhere and in an interval of sigma
/ alpha (outside it the plain conditional model, so the null branch is skipped). `accuracy` is the share of samples that
the digit classifier takes for the class that was asked for; of a scale of 0, which asks for none, it is chance. Costs
are timed in turn, unguided, guided, guided in the interval, and the ratios taken round by round. A row that the results
hold for the same weights, sampler, n and interval is not measured again. Draws `docs/guidance.png`.
"""

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from record import RESULTS, share, write, write_table

import gendi
from gendi import Guidance
from gendi.data import Data, open_data
from gendi.data.images.digit_classifier import class_probabilities, load_classifier
from gendi.data.images.evaluation import evaluate
from gendi.train.kept.bundle import Bundle, load_bundle

matplotlib.use("Agg")
SCALES = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0)
SHOWN = ("fid-digits", "precision-digits", "recall-digits", "confidence")
EVERYWHERE, INSIDE = "everywhere", "in the interval"


def measure(bundle: Bundle, data: Data, guidance: Guidance, n: int) -> dict[str, Any]:
    start = time.perf_counter()
    images = gendi.sample(bundle, n, guidance=guidance)
    seconds = time.perf_counter() - start
    asked = np.arange(n) % len(bundle.class_names)
    metrics = evaluate(images, data, extractor="digits", n=n).to_dict()["metrics"]
    return {
        "accuracy": float((class_probabilities(load_classifier(), images).argmax(1) == asked).mean()),
        **{name: metrics[name]["value"] for name in SHOWN},
        "floor": metrics["fid-digits"]["floor"],
        "seconds": seconds,
    }


def cost(bundle: Bundle, interval: tuple[float, float], n: int, rounds: int) -> dict[str, Any]:
    """Return the medians over rounds of the time of guided sampling over that of unguided."""
    ways = {"unguided": None, EVERYWHERE: Guidance(2.0), INSIDE: Guidance(2.0, interval=interval)}
    gendi.sample(bundle, n)
    ratios: dict[str, list[float]] = {EVERYWHERE: [], INSIDE: []}
    for _ in range(rounds):
        seconds = {}
        for name, guidance in ways.items():
            start = time.perf_counter()
            gendi.sample(bundle, n, guidance=guidance)
            seconds[name] = time.perf_counter() - start
        for name, found in ratios.items():
            found.append(seconds[name] / seconds["unguided"])
    return {name: {"ratio": statistics.median(found), "rounds": found} for name, found in ratios.items()}


def draw(rows: list[dict[str, Any]], n: int, interval: tuple[float, float]) -> None:
    """Draw accuracy and FID against the scale into docs/guidance.png."""
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    for k, where in enumerate((EVERYWHERE, INSIDE)):
        points = sorted((row for row in rows if row["where"] == where), key=lambda row: row["scale"])
        label = where if where == EVERYWHERE else f"{interval[0]:g} < σ/α ≤ {interval[1]:g}"
        known = [row for row in points if row["scale"] > 0]  # nothing is asked for at 0
        w = [row["scale"] for row in known]
        axes[0].plot(w, [100 * (1 - row["accuracy"]) for row in known], color=f"C{k}", marker="o", label=label)
        axes[1].plot([r["scale"] for r in points], [r["fid-digits"] for r in points], color=f"C{k}", marker="o")
    axes[1].axhline(float(np.mean([row["floor"] for row in rows])), color="0.5", linewidth=1)
    axes[1].annotate("real held-out images", (0.02, rows[0]["floor"]), xycoords=("axes fraction", "data"), fontsize=8)
    axes[0].set(xlabel="scale w", ylabel="another digit than asked for, %", ylim=(0, None))
    axes[1].set(xlabel="scale w", ylabel=f"FID, digit features, n = {n:,}", yscale="log")
    axes[0].legend(frameon=False)
    for ax in axes:
        ax.grid(alpha=0.25)
    figure.savefig(Path(__file__).parents[1] / "docs" / "guidance.png", dpi=110)


def table(rows: list[dict[str, Any]], n: int) -> list[str]:
    """Return how often the digit asked for is drawn and the FID, for each scale, as lines of Markdown."""
    lines = [
        "| w | the digit asked for, everywhere | in the interval "
        f"| FID on digit features (floor {rows[0]['floor']:.3f}), everywhere | in the interval |",
        "|---|---|---|---|---|",
    ]
    at = {(row["scale"], row["where"]): row for row in rows}
    for scale in sorted({row["scale"] for row in rows}):
        pair = [at[scale, where] for where in (EVERYWHERE, INSIDE)]
        asked = [share(row["accuracy"], n) if scale > 0 else "" for row in pair]
        distances = [f"{row['fid-digits']:.2f}" for row in pair]
        lines.append(f"| {scale:g} | {' | '.join([*asked, *distances])} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("run")
    parser.add_argument("--n", type=int, default=2000)
    parser.add_argument("--interval", type=float, nargs=2, default=(0.3, 5.0))
    parser.add_argument("--scales", type=float, nargs="*", default=SCALES)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--pair", type=int, default=250, help="samples of each timing")
    args = parser.parse_args()
    bundle, interval = load_bundle(args.run), (args.interval[0], args.interval[1])
    data = open_data(bundle.meta["data_spec"])
    own = bundle.config.sample
    about = {
        "preset": bundle.config.preset,
        "images": bundle.meta["images"],
        "weights": bundle.sha256,
        "sampler": own.sampler,
        "calls": own.steps,
        "n": args.n,
        "interval": list(interval),
    }
    path = RESULTS / "guidance.json"
    old = json.loads(path.read_text()) if path.exists() else {}
    rows = old.get("rows", []) if all(old.get(key) == value for key, value in about.items()) else []
    for scale in args.scales:
        for where in (EVERYWHERE, INSIDE):
            if any((row["scale"], row["where"]) == (scale, where) for row in rows):
                continue
            guidance = Guidance(scale, interval=interval if where == INSIDE else None)
            rows.append({"scale": scale, "where": where, **measure(bundle, data, guidance, args.n)})
            print(rows[-1], flush=True)
            write("guidance", {**about, "rows": rows, "cost": old.get("cost")})
    write("guidance", {**about, "rows": rows, "cost": cost(bundle, interval, args.pair, args.rounds)})
    draw(rows, args.n, interval)
    write_table("guidance.md", "measured guidance", table(rows, args.n))


if __name__ == "__main__":
    main()
