"""What a step of each sampler costs beyond the network call: preset `mnist`, batch 64, 20 calls.

    python benchmarks/sampler_overhead.py RUN [--rounds 5]

The network's forward is timed from inside, in the same run as the whole of `gendi.diffusion.gaussian.samplers.sample`;
the rest (noise, the solver's arithmetic, the denoiser's affine map, checks) is the overhead, over the network's time.
Medians over rounds; the samplers take turns, so a busy minute of the machine hits all alike.
"""

import argparse
import statistics
import time
from typing import Any

import torch
from record import write

from gendi.diffusion.conditions import requested_conditions
from gendi.diffusion.gaussian.samplers import SAMPLERS, sample
from gendi.errors import UsageError
from gendi.train.kept.bundle import load_bundle

CALLS, BATCH = 20, 64


class Clocked(torch.nn.Module):
    """A network that adds up the seconds spent in it."""

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network, self.seconds, self.calls = network, 0.0, 0

    def forward(self, *args: Any, **cond: Any) -> Any:
        start = time.perf_counter()
        out = self.network(*args, **cond)
        self.seconds += time.perf_counter() - start
        self.calls += 1
        return out


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("run")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    bundle = load_bundle(args.run)
    denoiser = bundle.denoiser()
    clock = denoiser.network = Clocked(denoiser.network)
    cond = requested_conditions(bundle.config.conditions, None, BATCH)
    found: dict[str, list[float]] = {}
    calls: dict[str, int] = {}
    for _ in range(args.rounds):
        for name in SAMPLERS:
            clock.seconds, clock.calls = 0.0, 0
            start = time.perf_counter()
            try:
                sample(denoiser, bundle.codec.shape, BATCH, steps=CALLS, sampler=name, batch_size=BATCH, cond=cond)
            except UsageError as error:
                print(f"{name}: {error}")
                continue
            total = time.perf_counter() - start
            found.setdefault(name, []).append((total - clock.seconds) / clock.seconds)
            calls[name] = clock.calls
    rows = [{"sampler": k, "calls": calls[k], "overhead": statistics.median(v), "rounds": v} for k, v in found.items()]
    for row in rows:
        print(f"{row['sampler']:20} {row['calls']:4} calls  {100 * row['overhead']:.1f}%")
    write("sampler-overhead", {"preset": bundle.config.preset, "batch": BATCH, "rows": rows})


if __name__ == "__main__":
    main()
