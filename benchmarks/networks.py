"""What the networks of the presets cost: parameters, operations, and how fast they train, in fp32 and bf16.

    python benchmarks/networks.py [--rounds 3] [--counts]

Parameters and operations are exact. A timed step is forward and backward at the preset's batch size (at most 64, and
fewer where a forward pass of 64 would be more than a TFLOP), on random data, in the faster of the two memory layouts;
networks and precisions are timed in turn, and the median over the rounds counts. GFLOP/s takes the way back for two
forward passes. `--counts` times nothing, and keeps what was timed before. The table of docs/networks.md is written from
benchmarks/results/networks.json.
"""

import argparse
import json
import statistics
import time
from dataclasses import replace
from typing import Any

import torch
from record import RESULTS, write, write_table

from gendi.diffusion.networks.config import NetworkConfig
from gendi.train.config import RunConfig
from gendi.train.presets import get_preset
from gendi.train.step.probe import LAYOUTS, place
from gendi.train.weights.model import network_of, run_cost

SHAPES: dict[str, tuple[int, ...]] = {
    "mnist": (1, 28, 28),
    "mnist-dit": (1, 28, 28),
    "mnist-long": (1, 28, 28),
    "gendi-report": (1, 28, 28),
    "mnist-likelihood": (1, 28, 28),
    "icons": (3, 32, 32),
    "icons-64": (3, 64, 64),
    "cifar10": (3, 32, 32),
    "adm": (3, 64, 64),
}
CLASSES = {"adm": 1000}
OTHER_SIZES = {"`icons` on 64 x 64": ("icons", (3, 64, 64))}
"""Presets on pictures of another size than theirs, beside the one that is for it."""
MLPS = {
    "an MLP, 50 numbers": (RunConfig(network=NetworkConfig("mlp", channels=(256,), blocks=4)), (50,)),
    "an MLP, 2000 numbers": (RunConfig(network=NetworkConfig("mlp", channels=(512,), blocks=4)), (2000,)),
}
CPU = torch.device("cpu")


def networks() -> dict[str, tuple[RunConfig, tuple[int, ...]]]:
    """Return configuration and shape of a sample by name, conditions of the size they have on the data meant."""
    found = {}
    presets = {name: (name, shape) for name, shape in SHAPES.items()} | OTHER_SIZES
    for name, (preset, shape) in presets.items():
        config = get_preset(preset).config
        told = tuple(replace(c, size=CLASSES.get(name, 10)) for c in config.conditions)
        found[name] = replace(config, conditions=told), shape
    return found | MLPS


def step(network: torch.nn.Module, x: torch.Tensor, precision: str) -> float:
    start = time.perf_counter()
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        out = network(x, torch.zeros(len(x)))
    out.float().square().mean().backward()
    network.zero_grad(set_to_none=True)
    return time.perf_counter() - start


def rates(name: str, config: RunConfig, shape: tuple[int, ...], flops: int, rounds: int) -> dict[str, Any]:
    """Return batch size, images/s and GFLOP/s in each precision."""
    batch = max(1, min(64, config.train.batch_size, 10**12 // flops))
    x, times = torch.randn(batch, *shape), {}
    for layout in LAYOUTS if len(shape) == 3 else ["contiguous"]:
        network = place(network_of(config, shape), CPU, layout)
        for precision in ("fp32", "bf16"):
            step(network, x, precision)
            times[precision, layout] = [step(network, x, precision) for _ in range(rounds)]
    out: dict[str, Any] = {"batch": batch}
    for precision in ("fp32", "bf16"):
        layout = min((key[1] for key in times if key[0] == precision), key=lambda k: min(times[precision, k]))
        rate = batch / statistics.median(times[precision, layout])
        out[precision] = {"layout": layout, "images_per_second": rate, "gflops": 3 * flops * rate / 1e9}
    print(name, out, flush=True)
    return out


def table(rows: dict[str, Any]) -> str:
    """Return the rows as Markdown, with rates where they were measured."""
    timed = any("bf16" in row for row in rows.values())
    head = ["network", "a sample", "parameters", "forward pass, MFLOP"]
    head += ["images/s fp32", "images/s bf16", "GFLOP/s bf16"] if timed else []
    lines = [head, ["---", "---", *["---:"] * (len(head) - 2)]]
    for name, row in rows.items():
        cells = [f"`{name}`" if name in SHAPES else name, " x ".join(map(str, row["shape"]))]
        cells += [f"{row['parameters']:,}", f"{row['forward_mflop']:,.1f}"]
        if timed and "bf16" in row:
            rates = [row[p]["images_per_second"] for p in ("fp32", "bf16")]
            cells += [f"{rate:,.0f}" if rate >= 10 else f"{rate:.2g}" for rate in rates]
            cells += [f"{row['bf16']['gflops']:,.0f}"]
        lines.append(cells + [""] * (len(head) - len(cells)))
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--counts", action="store_true")
    args = parser.parse_args()
    path = RESULTS / "networks.json"
    old = json.loads(path.read_text())["rows"] if path.exists() else {}
    rows: dict[str, Any] = {}
    for name, (config, shape) in networks().items():
        cost = run_cost(config, shape)
        rows[name] = {"shape": list(shape), "parameters": cost.parameters, "forward_mflop": cost.flops / 1e6}
        if args.counts:
            rows[name] |= {key: value for key, value in old.get(name, {}).items() if key not in rows[name]}
        else:
            rows[name] |= rates(name, config, shape, cost.flops, args.rounds)
    write("networks", {"rows": rows})
    write_table("networks.md", "networks", table(rows).splitlines())


if __name__ == "__main__":
    main()
