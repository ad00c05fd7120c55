"""How long a person waits: 1000 samples at 20 calls, and `gendi --help`.

python benchmarks/quickness.py RUN [--rounds 3]
"""

import argparse
import statistics
import subprocess
import sys
import time

import torch
from record import write

import gendi
from gendi.diffusion.gaussian.samplers import sample
from gendi.train.bundle import load_bundle


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("run")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    bundle = load_bundle(args.run)
    seconds, network = [], []
    for seed in range(args.rounds):
        start = time.perf_counter()
        gendi.sample(bundle, n=1000, steps=20, seed=seed)
        seconds.append(time.perf_counter() - start)
        denoiser = bundle.denoiser(clip=1.0)
        x, t = torch.zeros(250, *bundle.codec.shape), torch.full((250,), 0.5)
        start = time.perf_counter()
        with torch.inference_mode():
            for _ in range(20):
                denoiser(x, t)
        network.append(4 * (time.perf_counter() - start))
    one = sample(bundle.denoiser(clip=1.0), bundle.codec.shape, 8, batch_size=8)
    many = sample(bundle.denoiser(clip=1.0), bundle.codec.shape, 8, batch_size=3)
    start_up = {}
    for command in (["--help"], ["train", "--help"]):
        times = []
        for _ in range(7):
            start = time.perf_counter()
            subprocess.run([sys.executable, "-m", "gendi", *command], capture_output=True, check=True)
            times.append(time.perf_counter() - start)
        start_up["gendi " + " ".join(command)] = statistics.median(times)
    write(
        "quickness",
        {
            "preset": bundle.config.preset,
            "precision": bundle.meta.get("precision"),
            "seconds_for_1000_samples_at_20_calls": seconds,
            "of_which_network": network,
            "largest_difference_between_batch_sizes_8_and_3": float((one - many).abs().max()),
            "start_up_seconds": start_up,
        },
    )
    print(seconds, start_up)


if __name__ == "__main__":
    main()
