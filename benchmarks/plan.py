"""`gendi plan` against trainings of this machine: parameters, FLOPs, memory, images/s.

    python benchmarks/plan.py [--seconds 20] [--only mnist ...] [--try]

Each network trains on random data in a process of its own. What is compared with the plan:

    parameters     those of the trained network
    FLOPs          of one real step, backward pass and optimiser included (torch.utils.flop_counter; attention as the
                   two products it consists of)
    state          bytes of weights, average and moments in the training's own tensors
    kept           bytes that autograd keeps for the backward pass of a real step
    peak           growth of the process's largest resident memory from before the network is built to after the steps,
                   less a first training's of the smallest network, which brings the libraries and their scratch in
    images/s       measured, and the share of the machine's peak that it is

The share is what a plan must be told (`--utilisation`). How far it may be carried from one batch to another is seen
from a second batch of twice the rows: its images/s by the share of the first.
"""

import argparse
import dataclasses
import gc
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from record import write, write_table

from gendi.train.config import RunConfig
from gendi.train.presets import get_preset

CASES = {"mnist": (28, 28), "mnist-dit": (28, 28), "cifar10": (32, 32, 3), "table": (32,)}
BATCHES = {"mnist": 64, "mnist-dit": 64, "cifar10": 8, "table": 512}


def configured(name: str, batch: int) -> RunConfig:
    config = get_preset(name).config
    train = dataclasses.replace(config.train, batch_size=batch, precision="bf16", layout="contiguous", flip=False)
    network = dataclasses.replace(config.network, dropout=0.0)
    return dataclasses.replace(config, train=train, network=network)


def resident() -> tuple[int, int]:
    """Return the bytes of resident memory now and at its largest since the last call of `forget`."""
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    now, peak = (int(fields[key].split()[0]) * 1024 for key in ("VmRSS", "VmHWM"))
    return now, peak


def forget() -> None:
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")


def opened(name: str, folder: Path) -> Any:
    from gendi.data import open_data

    rng, path = np.random.default_rng(0), folder / f"{name}.npz"
    if len(CASES[name]) == 1:
        columns = ",".join(f"x{k}" for k in range(*CASES[name]))
        table, rows = path.with_suffix(".csv"), rng.normal(size=(4096, *CASES[name]))
        np.savetxt(table, rows, fmt="%.5f", delimiter=",", header=columns, comments="")
        return open_data(str(table))
    images = rng.integers(0, 256, (2048, *CASES[name]), dtype=np.uint8)
    np.savez(path, images=images, labels=np.arange(2048) % 10)
    return open_data(str(path))


def step_counted(trainer: Any) -> tuple[int, int]:
    """Return the FLOPs of one training step, and the bytes that autograd keeps in it (weights excepted)."""
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    own = {p.untyped_storage().data_ptr() for p in trainer.network.parameters()}
    kept: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        trainer.step(0.5)
    held = sum(storage.nbytes() for storage in kept.values())
    kept.clear()
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        trainer.step(0.5)
    return int(counter.get_total_flops()), held


def images_per_second(trainer: Any, seconds: float) -> float:
    rates, start = [], time.perf_counter()
    while time.perf_counter() - start < seconds or len(rates) < 3:
        before = time.perf_counter()
        trainer.step(0.5)
        rates.append(trainer.config.train.batch_size / (time.perf_counter() - before))
    return statistics.median(rates)


def measure(name: str, batch: int, seconds: float) -> dict[str, Any]:
    """Train and compare; run in a process of its own."""
    from gendi.machine.hardware import this_cpu
    from gendi.train.run.scaling import plan
    from gendi.train.step.trainer import Trainer

    with tempfile.TemporaryDirectory() as folder:
        data = opened(name, Path(folder))
        warm = Trainer(configured("table", 8), opened("table", Path(folder)))
        warm.step(0.5), warm.step(0.5)
        del warm
        forget()
        before, _ = resident()
        trainer = Trainer(configured(name, batch), data)
        for _ in range(3):
            trainer.step(0.5)
        growth = resident()[1] - before
        groups = trainer.tensors()
        rate = images_per_second(trainer, seconds)
        flops, kept = step_counted(trainer)
        double = Trainer(configured(name, 2 * batch), data)
        double.step(0.5)
        rate_of_double = images_per_second(double, seconds)
    device = this_cpu()
    shape = tuple(trainer.data.codec.shape)
    planned = {
        rows: plan(trainer.config, shape, device, images=1, batch=rows, utilisation=1.0) for rows in (batch, 2 * batch)
    }
    memory, share = planned[batch]["memory"], rate / planned[batch]["images_per_second"]
    moments = {k: v for k, v in groups["optimizer"].items() if not k.endswith(":step")}
    state = sum(v.nbytes for group in (groups["model"], groups["ema"], moments) for v in group.values())
    step = 3 * planned[batch]["flops_per_image"] * batch + planned[batch]["optimiser_flops"]
    buffers = sum(2 * v.nbytes for v in trainer.network.buffers())
    return {
        "batch_size": batch,
        "peak_flops_per_second": device.peak("bf16"),
        "share_of_peak": share,
        "parameters": _pair(planned[batch]["parameters"], sum(p.numel() for p in trainer.network.parameters())),
        "flops_of_a_step": _pair(step, flops),
        "state_bytes": _pair(memory["weights"] + memory["ema"] + memory["optimiser"], state - buffers),
        "kept_bytes": _pair(memory["activations"], kept),
        "peak_bytes": _pair(memory["total"], growth),
        "images_per_second": _pair(share * planned[batch]["images_per_second"], rate),
        "images_per_second_of_twice_the_batch": _pair(share * planned[2 * batch]["images_per_second"], rate_of_double),
    }


def _pair(planned: float, measured: float) -> dict[str, float]:
    return {"planned": planned, "measured": measured, "ratio": measured / planned}


def table(found: dict[str, dict[str, Any]]) -> list[str]:
    lines = [
        "| network, rows of a batch | parameters | FLOPs of a step | weights, average, moments | kept for backward | "
        "growth of memory | images/s | share of peak | images/s of twice the batch |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, row in found.items():
        cells = [f"{row[key]['ratio']:.2f}" for key in ("flops_of_a_step", "state_bytes", "kept_bytes", "peak_bytes")]
        rate, twice = row["images_per_second"]["measured"], row["images_per_second_of_twice_the_batch"]["ratio"]
        exact = "equal" if row["parameters"]["ratio"] == 1 else f"{row['parameters']['ratio']:.4f}"
        lines.append(
            f"| {name}, {row['batch_size']} | {exact} | {' | '.join(cells)} | {rate:,.0f} | {row['share_of_peak']:.0%} "
            f"| {twice:.2f} |"
        )
    return lines


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--only", nargs="*", default=list(CASES), choices=CASES)
    parser.add_argument("--one", choices=CASES, help=argparse.SUPPRESS)
    parser.add_argument("--try", action="store_true", dest="trial", help="print, and write nothing")
    args = parser.parse_args()
    if args.one:
        print(json.dumps(measure(args.one, BATCHES[args.one], args.seconds)))
        return
    found = {}
    for name in args.only:
        command = [sys.executable, __file__, "--one", name, "--seconds", str(args.seconds)]
        found[name] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    print("\n".join(table(found)))
    if not args.trial:
        write("plan", {"networks": found})
        write_table("scaling.md", "plan", table(found))


if __name__ == "__main__":
    main()
