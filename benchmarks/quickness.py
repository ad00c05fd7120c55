"""How long a person waits: 1000 samples at 20 calls, and `gendi --help`.

    python benchmarks/quickness.py RUN [--rounds 3]             and the same under the environment of AVX2

Samples are drawn with the network called in shares that stay in the caches, and on whole batches, in turn. Writes
results/quickness-KIND.json and a table of docs/speed.md.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from typing import Any

import torch
from record import RESULTS, kind, write, write_table

from gendi.diffusion.conditions import requested_conditions
from gendi.diffusion.gaussian.samplers import sample
from gendi.train.kept.bundle import Bundle, load_bundle

N, CALLS = 1000, 20


def seconds_of(bundle: Bundle, seed: int, shares: bool) -> tuple[float, torch.Tensor]:
    """Return the seconds of drawing N samples, and the samples in model space."""
    denoiser, how = bundle.denoiser(clip=1.0), bundle.config.sample
    if not shares:
        denoiser.shares = None
    start = time.perf_counter()
    cond = requested_conditions(bundle.config.conditions, None, N)
    x = sample(denoiser, bundle.codec.shape, N, steps=CALLS, sampler=how.sampler, seed=seed, cond=cond)
    return time.perf_counter() - start, x


def table() -> list[str]:
    lines = [
        "| processor | precision | in shares, s | whole batches, s | ratio, by rounds |",
        "|---|---|---:|---:|---:|",
    ]
    for path in sorted(RESULTS.glob("quickness-*.json")):
        found: dict[str, Any] = json.loads(path.read_text("utf-8"))
        a, b = found["seconds_in_shares"], found["seconds_on_whole_batches"]
        ratios = [y / x for x, y in zip(a, b, strict=True)]
        lines.append(
            f"| {found['machine']['kind']} | {found['precision']} | {statistics.median(a):.1f} | "
            f"{statistics.median(b):.1f} | {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}) |"
        )
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    bundle = load_bundle(args.run)
    if not kind().endswith("BF16"):
        bundle.meta["precision"] = "fp32"  # which the probe would have chosen there
    shared, whole, far = [], [], []
    for seed in range(args.rounds):
        (a, x), (b, y) = seconds_of(bundle, seed, True), seconds_of(bundle, seed, False)
        shared.append(a)
        whole.append(b)
        far.append(float((x - y).abs().max()))
    start_up = {}
    for command in (["--help"], ["train", "--help"]):
        times = []
        for _ in range(7):
            start = time.perf_counter()
            subprocess.run([sys.executable, "-m", "gendi", *command], capture_output=True, check=True)
            times.append(time.perf_counter() - start)
        start_up["gendi " + " ".join(command)] = statistics.median(times)
    write(
        f"quickness-{kind().lower()}",
        {
            "preset": bundle.config.preset,
            "precision": bundle.meta.get("precision"),
            "samples": N,
            "calls": CALLS,
            "seconds_in_shares": shared,
            "seconds_on_whole_batches": whole,
            "largest_difference_between_them": max(far),
            "start_up_seconds": start_up,
        },
    )
    write_table("speed.md", "sampling", table())
    print(shared, whole, far, start_up)


if __name__ == "__main__":
    main()
