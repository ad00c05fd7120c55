"""How time and class should enter: FiLM, addition or concatenation, on MNIST's classes, for equally many images.

    python benchmarks/conditioning.py [--images 500000] [--n 5000] [--preset mnist] [--seeds 0 1]
        [--precision bf16]

Each trial trains the preset with another `network.inject` and nothing else changed; the same seed is the same data in
the same order. Kept of each: the share of samples whose digit, by the classifier, is the one asked for; FID on digit
features; parameters; the time it took. A trial that benchmarks/results/conditioning.json holds is not run again.
"""

import argparse
import json
import time
from dataclasses import replace
from typing import Any

import numpy as np
from record import RESULTS, share, write, write_table
from trained import measured

from gendi.data import open_data
from gendi.train.presets import get_preset
from gendi.train.step.trainer import Trainer

INJECTS = ("film", "add", "concat")


def trial(preset: str, inject: str, seed: int, images: int, n: int, precision: str) -> dict[str, Any]:
    config = get_preset(preset).config
    config = replace(
        config,
        network=replace(config.network, inject=inject),
        train=replace(config.train, seed=seed, precision=precision),
    )
    trainer, losses = Trainer(config, open_data("mnist")), []
    steps, start = images // config.train.batch_size, time.perf_counter()
    for step in range(steps):
        losses.append(trainer.step(step / steps).loss)
    return {
        "preset": preset,
        "inject": inject,
        "seed": seed,
        "images": trainer.images_seen,
        "seconds": time.perf_counter() - start,
        "parameters": sum(p.numel() for p in trainer.network.parameters()),
        "choice": trainer.choice.reason,
        "loss": float(np.mean(losses[-max(1, steps // 10) :])),
        **measured(trainer, n),
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--preset", default="mnist")
    parser.add_argument("--images", type=int, default=500_000)
    parser.add_argument("--n", type=int, default=5000)
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="bf16")
    parser.add_argument("--seeds", type=int, nargs="*", default=[0])
    args = parser.parse_args()
    path = RESULTS / "conditioning.json"
    rows = json.loads(path.read_text())["rows"] if path.exists() else []
    batch = get_preset(args.preset).config.train.batch_size
    for seed in args.seeds:
        for inject in INJECTS:
            key = (args.preset, inject, seed, args.images // batch * batch, args.n)
            if any((r["preset"], r["inject"], r["seed"], r["images"], r["n"]) == key for r in rows):
                continue
            rows.append(trial(args.preset, inject, seed, args.images, args.n, args.precision))
            print({name: value for name, value in rows[-1].items() if name != "choice"}, flush=True)
            write("conditioning", {"rows": rows})
    write_table("networks.md", "conditioning", table(rows))


def table(rows: list[dict[str, Any]]) -> list[str]:
    """Return the trials as lines of Markdown."""
    head = ["`network.inject`", "parameters", "FID, digits", "asked digit drawn", "precision", "recall", "loss"]
    lines = [head, ["---", *["---:"] * (len(head) - 1)]]
    for row in rows:
        shares = [share(row[name], row["n"]) for name in ("accuracy", "precision-digits", "recall-digits")]
        lines.append(
            [f"`{row['inject']}`", f"{row['parameters']:,}", f"{row['fid-digits']:.2f}", *shares, f"{row['loss']:.4f}"]
        )
    return [f"| {' | '.join(cells)} |" for cells in lines]


if __name__ == "__main__":
    main()
