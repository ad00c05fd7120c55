"""The rate that a step of training could reach on this machine, layer by layer, and the share of it that it reaches.

    python benchmarks/roofline.py [--preset mnist] [--rounds 5]            and the same under the environment of AVX2

For each convolution and matrix product of the network, at its own shapes, batch and precision, the best time of the
forward pass and of the backward pass (gradients of weights and of the input) is measured, alone and in either memory
layout, with as many threads as training uses. Their sum is what a step would take if nothing else cost anything. Then
whole steps of a trainer are timed in turn with the layers, and the share is the one over the other. Muon's products of
matrices are work too, but no part of the network: they are given apart. Writes results/roofline-KIND.json.
"""

import argparse
import functools
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from record import RESULTS, kind, write, write_table
from torch import Tensor, nn

from gendi.data import open_data
from gendi.diffusion.networks.blocks import Up
from gendi.train.presets import get_preset
from gendi.train.step.muon import Muon
from gendi.train.step.trainer import Trainer


def best(work: Callable[[], Any], rounds: int) -> float:
    """Return the least of the times of some calls, after two that are not timed."""
    times = []
    for k in range(rounds + 2):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start if k > 1 else float("inf"))
    return min(times)


def layers(trainer: Trainer) -> dict[str, tuple[nn.Module, tuple[int, ...], tuple[int, ...]]]:
    """Return by name each layer with weights that multiply, and the shapes of its input and output in a step."""
    found: dict[str, tuple[nn.Module, tuple[int, ...], tuple[int, ...]]] = {}
    hooks = []
    for name, module in trainer.network.named_modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):

            def note(layer: nn.Module, inputs: tuple[Tensor, ...], out: Tensor, name: str = name) -> None:
                shape = tuple(inputs[0].shape)
                if isinstance(layer, Up):  # which doubles height and width before it multiplies
                    shape = (*shape[:2], *out.shape[2:])
                found[name] = (layer, shape, tuple(out.shape))

            hooks.append(module.register_forward_hook(note))
    workers = trainer.choice.workers
    object.__setattr__(trainer.choice, "workers", 1)
    trainer.step(0.0)
    object.__setattr__(trainer.choice, "workers", workers)
    for hook in hooks:
        hook.remove()
    return found


def timed(layer: nn.Module, shape: tuple[int, ...], dtype: torch.dtype, rounds: int) -> tuple[float, float]:
    """Return the best seconds of the forward and of the backward pass of a layer, over both memory layouts."""
    memories = (torch.contiguous_format, torch.channels_last) if len(shape) == 4 else (torch.contiguous_format,)
    found = [in_layout(layer, shape, dtype, memory, rounds) for memory in memories]
    return min(forward for forward, _ in found), min(backward for _, backward in found)


def in_layout(
    layer: nn.Module, shape: tuple[int, ...], dtype: torch.dtype, memory: torch.memory_format, rounds: int
) -> tuple[float, float]:
    x = torch.randn(shape, dtype=dtype)
    if isinstance(layer, nn.Conv2d):
        weight = layer.weight.detach().to(dtype).to(memory_format=memory)
        stride, padding = layer.stride[0], "same" if layer.stride[0] == 1 else 1
        run = functools.partial(F.conv2d, stride=stride, padding=padding)
        x = x.to(memory_format=memory)
    else:
        weight, run = layer.weight.detach().to(dtype), F.linear
    bias = layer.bias.detach().to(dtype)
    inputs = [each.requires_grad_() for each in (x, weight, bias)]

    def forward() -> Tensor:
        return run(*inputs)

    with torch.no_grad():
        first = best(forward, rounds)
    y = forward()
    gradient = torch.randn_like(y)
    return first, best(lambda: torch.autograd.grad(y, inputs, gradient, retain_graph=True), rounds)


def flops_of(layer: nn.Module, out: tuple[int, ...]) -> float:
    """Return the FLOPs of a forward pass with this output."""
    each = layer.weight[0].numel() if isinstance(layer, (nn.Conv2d, nn.Linear)) else 0
    total = 2.0 * each
    for side in out:
        total *= side
    return total


def table() -> list[str]:
    """Return the lines of a table, a row for each kind of processor that was measured."""
    lines = [
        "| processor | chosen by the probe | layers, ms | Muon, ms | step, ms | images/s | layers / step | with Muon |",
        "|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    for path in sorted(RESULTS.glob("roofline-*.json")):
        found = json.loads(path.read_text("utf-8"))
        step, muon = statistics.median(found["step_ms"]), statistics.median(found["muon_ms"])
        lines.append(
            f"| {found['machine']['kind']} | {found['choice'].partition(':')[0]} | {found['layers_ms']:.0f} | "
            f"{muon:.0f} | {step:.0f} | {64e3 / step:.0f} | {found['share']:.0%} | {found['share_with_muon']:.0%} |"
        )
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="mnist")
    parser.add_argument("--data", default="mnist")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    trainer = Trainer(get_preset(args.preset).config, open_data(args.data))
    dtype = torch.bfloat16 if trainer.choice.precision == "bf16" else torch.float32
    print(trainer.choice.reason)
    measured, steps, optimiser = {}, [], []
    for name, (layer, shape, out) in layers(trainer).items():
        forward, backward = timed(layer, shape, dtype, args.rounds)
        flops = flops_of(layer, out)
        measured[name] = {
            "input": shape,
            "output": out,
            "mflop": flops / 1e6,
            "forward_ms": 1e3 * forward,
            "backward_ms": 1e3 * backward,
            "forward_gflops": flops / forward / 1e9,
            "backward_gflops": 2 * flops / backward / 1e9,
        }
        steps.append(best(lambda: trainer.step(0.0), 1))
    muon = next((o for o in trainer.optimizers if isinstance(o, Muon)), None)
    for _ in range(args.rounds):
        if muon is not None:
            for group in muon.param_groups:
                for p in group["params"]:
                    p.grad = torch.randn_like(p)
            optimiser.append(best(muon.step, 1))
    trainer.network.zero_grad()
    ideal = sum(row["forward_ms"] + row["backward_ms"] for row in measured.values())
    step, products = 1e3 * statistics.median(steps), 1e3 * statistics.median(optimiser) if optimiser else 0.0
    rows = [["layer", "input", "MFLOP", "forward ms", "GFLOP/s", "backward ms", "GFLOP/s"]]
    for name, row in measured.items():
        texts = [f"{row[k]:.{d}f}" for k, d in (("mflop", 0), ("forward_ms", 2), ("forward_gflops", 0),
                                               ("backward_ms", 2), ("backward_gflops", 0))]  # fmt: skip
        rows.append([name, "x".join(map(str, row["input"])), *texts])
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    for row in rows:
        print("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)))
    print(f"layers alone {ideal:.1f} ms; a step {step:.1f} ms, of which Muon {products:.1f} ms")
    print(f"share of the machine's own rate {ideal / step:.0%}; with Muon's products {(ideal + products) / step:.0%}")
    write(
        f"roofline-{kind().lower()}",
        {
            "preset": args.preset,
            "choice": trainer.choice.reason,
            "layers": measured,
            "layers_ms": ideal,
            "step_ms": [1e3 * seconds for seconds in steps],
            "muon_ms": [1e3 * seconds for seconds in optimiser],
            "share": ideal / step,
            "share_with_muon": (ideal + products) / step,
        },
    )
    write_table("speed.md", "steps", table())


if __name__ == "__main__":
    main()
