"""What a step of each sampler costs beyond the network call, at several batch sizes of preset `mnist`.

    python benchmarks/step_overhead.py RUN [--rounds 3]          and the same under the environment of AVX2

The overhead is everything in `gendi.diffusion.gaussian.samplers.sample` but the network: noise, the solver's
arithmetic, the denoiser's affine map, checks, and the division of a batch into shares. It is timed with a network that
returns zeros and reads as much memory as the true one writes, so that the solver finds its caches as a step leaves
them; the seconds in it are taken off, those of the slowest worker of each call. The network's own seconds are those of
a call on the same batch. Samplers take turns, and a figure is the median over rounds. Writes
results/step-overhead-KIND.json and a table of docs/speed.md.
"""

import argparse
import json
import statistics
import threading
import time
from typing import Any

import torch
from record import RESULTS, kind, write, write_table

from gendi.diffusion.conditions import requested_conditions, take
from gendi.diffusion.gaussian.samplers import SAMPLERS, sample
from gendi.train.kept.bundle import Bundle, load_bundle

USUAL = [name for name, info in SAMPLERS.items() if info.takes == "mean"]
CALLS, BATCHES = 20, (64, 250, 1000)
ACTIVATIONS = 200_000
"""Bytes per row that the stand-in reads, about the size of the largest activations of preset `mnist`."""


class StandIn(torch.nn.Module):
    """A network that returns zeros, and knows how long each thread was in it since the last `seconds_of_call`."""

    def __init__(self) -> None:
        super().__init__()
        self.memory = torch.zeros(32 << 20, dtype=torch.uint8)
        self.spent: dict[int, float] = {}

    def forward(self, x: torch.Tensor, value: torch.Tensor, /, **cond: Any) -> torch.Tensor:
        start = time.perf_counter()
        self.memory[: ACTIVATIONS * len(x)].max()
        out = torch.zeros_like(x)
        thread = threading.get_ident()
        self.spent[thread] = self.spent.get(thread, 0.0) + time.perf_counter() - start
        return out

    def seconds_of_call(self) -> float:
        longest = max(self.spent.values(), default=0.0)
        self.spent.clear()
        return longest


def network_seconds(bundle: Bundle, batch: int) -> float:
    """Return the seconds of one call of the denoiser on a batch, its network in shares as in sampling."""
    denoiser = bundle.denoiser()
    x, t = torch.randn(batch, *bundle.codec.shape), torch.tensor(0.5, dtype=torch.float64)
    cond = take(requested_conditions(bundle.config.conditions, None, batch), slice(0, batch))
    times = []
    with torch.inference_mode():
        for _ in range(5):
            denoiser(x, t, **cond)
        for _ in range(3 if batch > 500 else 15):
            start = time.perf_counter()
            denoiser(x, t, **cond)
            times.append(time.perf_counter() - start)
    return statistics.median(times)


def overhead_seconds(bundle: Bundle, batch: int, sampler: str) -> tuple[float, int]:
    """Return the seconds beside the network of drawing a batch, and how often the network was called."""
    denoiser = bundle.denoiser()
    stand_in = denoiser.network = StandIn()
    cond = requested_conditions(bundle.config.conditions, None, batch)
    inside, calls = 0.0, 0

    def poll() -> None:
        nonlocal inside, calls
        inside += stand_in.seconds_of_call()
        calls += 1

    start = time.perf_counter()
    how = {"steps": 500 if SAMPLERS[sampler].adaptive else CALLS, "sampler": sampler, "batch_size": batch, "poll": poll}
    sample(denoiser, bundle.codec.shape, batch, cond=cond, **how)
    return time.perf_counter() - start - inside, calls


def table() -> list[str]:
    found = [json.loads(path.read_text("utf-8")) for path in sorted(RESULTS.glob("step-overhead-*.json"))]
    kinds = [one["machine"]["kind"] for one in found]
    heads = [f"{name}, {batch}" for name in kinds for batch in found[0]["batches"]]
    lines = [f"| sampler | {' | '.join(heads)} |", "|---|" + "---:|" * len(heads)]
    for sampler in found[0]["overheads"]:
        cells = [f"{100 * one['overheads'][sampler][str(batch)]:.1f}%" for one in found for batch in one["batches"]]
        lines.append(f"| `{sampler}` | {' | '.join(cells)} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="*", default=USUAL, help="samplers to print, without writing")
    args = parser.parse_args()
    bundle = load_bundle(args.run)
    if not kind().endswith("BF16"):
        bundle.meta["precision"] = "fp32"  # which the probe would have chosen there
    network = {batch: network_seconds(bundle, batch) for batch in BATCHES}
    rounds: dict[str, dict[int, list[float]]] = {name: {batch: [] for batch in BATCHES} for name in args.only}
    for _ in range(args.rounds):
        for name, by_batch in rounds.items():
            for batch, found in by_batch.items():
                seconds, calls = overhead_seconds(bundle, batch, name)
                found.append(seconds / (calls * network[batch]))
    overheads = {
        name: {batch: statistics.median(found) for batch, found in by_batch.items()}
        for name, by_batch in rounds.items()
    }
    print({batch: f"{1000 * seconds:.1f} ms" for batch, seconds in network.items()})
    for name, by_batch in overheads.items():
        print(f"{name:24}", "  ".join(f"{100 * share:5.2f}%" for share in by_batch.values()))
    if args.only == USUAL:
        write(
            f"step-overhead-{kind().lower()}",
            {
                "preset": bundle.config.preset,
                "precision": bundle.meta.get("precision"),
                "calls": CALLS,
                "batches": BATCHES,
                "network_seconds": network,
                "overheads": overheads,
                "rounds": rounds,
            },
        )
        write_table("speed.md", "step overhead", table())


if __name__ == "__main__":
    main()
