"""What --train.recompute saves and costs: peak memory and time of steps of preset `cifar10` on batches of 8.

    python benchmarks/recompute.py [--rounds 3] [--preset cifar10] [--batch 8]

Each way trains in a process of its own, in turn, on random pictures in fp32; its peak is the largest resident size of
that process, its growth what steps add to the process with weights, gradients and moments in place. Writes
results/recompute.json and a table of docs/speed.md.
"""

import argparse
import dataclasses
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from record import write, write_table

from gendi.data import open_data
from gendi.train.presets import get_preset
from gendi.train.step.probe import Choice
from gendi.train.step.trainer import Trainer

STEPS = 4


def child(preset: str, batch: int, recompute: bool) -> None:
    """Print the peak before and after some steps, in bytes, and the least seconds of a step."""
    config = get_preset(preset).config
    train = dataclasses.replace(config.train, batch_size=batch, recompute=recompute)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "images.npy"
        np.save(path, np.random.default_rng(0).integers(0, 256, (64, 32, 32, 3), dtype=np.uint8))
        trainer = Trainer(
            dataclasses.replace(config, train=train), open_data(str(path)), Choice("fp32", "channels-last", "")
        )
    for p in trainer.network.parameters():
        p.grad = p.detach().clone() * 0
    for optimizer in trainer.optimizers:
        optimizer.step()  # makes the moments
        optimizer.zero_grad()
    before, times = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, []
    for _ in range(STEPS):
        start = time.perf_counter()
        trainer.step(0.0)
        times.append(time.perf_counter() - start)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"before": before, "peak": after, "seconds": min(times[1:])}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--preset", default="cifar10")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--child", choices=["plain", "recompute"], help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        child(args.preset, args.batch, args.child == "recompute")
        return
    found: dict[str, list[dict[str, float]]] = {"plain": [], "recompute": []}
    for _ in range(args.rounds):
        for way, rows in found.items():
            command = [sys.executable, __file__, "--child", way, "--preset", args.preset, "--batch", str(args.batch)]
            rows.append(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
    both = [
        {
            "peak": b["peak"] / a["peak"],
            "growth": (b["peak"] - b["before"]) / (a["peak"] - a["before"]),
            "time": b["seconds"] / a["seconds"],
        }
        for a, b in zip(found["plain"], found["recompute"], strict=True)
    ]
    ratios = {name: statistics.median(pair[name] for pair in both) for name in both[0]}
    write("recompute", {"preset": args.preset, "batch": args.batch, "rounds": found, "ratios": ratios})
    lines = ["| preset, batch | way | peak | seconds a step |", "|---|---|---:|---:|"]
    for way, rows in found.items():
        peak, seconds = (statistics.median(row[name] for row in rows) for name in ("peak", "seconds"))
        lines.append(f"| `{args.preset}`, {args.batch} | {way} | {peak / 1e6:,.0f} MB | {seconds:.2f} |")
    lines.append(
        f"| | ratio | {ratios['peak']:.2f} (of what steps add: {ratios['growth']:.2f}) | {ratios['time']:.2f} |"
    )
    write_table("speed.md", "memory", lines)


if __name__ == "__main__":
    main()
