"""The U-Net or the transformer, for equal minutes: presets `mnist` and `mnist-dit` trained side by side.

    python benchmarks/unet_or_dit.py [--minutes 8] [--n 5000] [--presets mnist mnist-dit] [--slice 10]

They take turns of a few seconds in one process, so that whatever else the machine does costs both the same; each
spends `minutes` of its own, and its learning rate follows its own share of them. Kept of each: images seen, images/s,
the loss, FID on digit features and the share of digits that are the ones asked for.
"""

import argparse
import time
from typing import Any

import numpy as np
from record import share, write, write_table
from trained import measured

from gendi.data import open_data
from gendi.train.presets import get_preset
from gendi.train.step.trainer import Trainer
from gendi.train.weights.model import run_cost


class Turns:
    """A trainer with a purse of seconds."""

    def __init__(self, preset: str, seconds: float) -> None:
        self.trainer = Trainer(get_preset(preset).config, open_data("mnist"))
        self.seconds, self.spent = seconds, 0.0
        self.losses: list[float] = []

    def go(self, turn: float) -> None:
        """Train for `turn` seconds, or until the purse is empty."""
        end = min(self.spent + turn, self.seconds)
        while self.spent < end:
            start = time.perf_counter()
            self.losses.append(self.trainer.step(self.spent / self.seconds).loss)
            self.spent += time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--minutes", type=float, default=8)
    parser.add_argument("--n", type=int, default=5000)
    parser.add_argument("--presets", nargs="*", default=["mnist", "mnist-dit"])
    parser.add_argument("--slice", type=float, default=10, help="seconds of a turn")
    args = parser.parse_args()
    turns = {preset: Turns(preset, 60 * args.minutes) for preset in args.presets}
    while any(t.spent < t.seconds for t in turns.values()):
        for t in turns.values():
            t.go(args.slice)
        print({preset: (round(t.spent), t.trainer.images_seen) for preset, t in turns.items()}, flush=True)
    rows = {}
    for preset, t in turns.items():
        cost = run_cost(t.trainer.config, t.trainer.data.codec.shape)
        rate = t.trainer.images_seen / t.spent
        rows[preset] = {
            "parameters": cost.parameters,
            "forward_mflop": cost.flops / 1e6,
            "choice": t.trainer.choice.reason,
            "images": t.trainer.images_seen,
            "images_per_second": rate,
            "gflops": 3 * cost.flops * rate / 1e9,
            "loss": float(np.mean(t.losses[-max(1, len(t.losses) // 10) :])),
            **measured(t.trainer, args.n),
        }
        print(preset, rows[preset], flush=True)
    write("unet-or-dit", {"minutes": args.minutes, "rows": rows})
    write_table("networks.md", "unet or dit", table(rows))


def table(rows: dict[str, Any]) -> list[str]:
    """Return the presets side by side, as lines of Markdown."""
    head = ["preset", "parameters", "images seen", "GFLOP/s", "FID, digits", "asked digit drawn", "precision", "recall"]
    lines = [head, ["---", *["---:"] * (len(head) - 1)]]
    for preset, row in rows.items():
        shares = [share(row[name], row["n"]) for name in ("accuracy", "precision-digits", "recall-digits")]
        counts = [f"{row['parameters']:,}", f"{row['images']:,}", f"{row['gflops']:.0f}"]
        lines.append([f"`{preset}`", *counts, f"{row['fid-digits']:.2f}", *shares])
    return [f"| {' | '.join(cells)} |" for cells in lines]


if __name__ == "__main__":
    main()
