"""What was tried to train better digits in the same time, on one kind of processor and the other.

    python benchmarks/arms.py [--seconds 60] [--arms base soap ...]   one after the other; writes docs/speed.md's table
    python benchmarks/arms.py --avx2 ...                              trained as a processor without AVX-512 computes
    python benchmarks/arms.py --table                                 only writes the table

An arm is preset `mnist` with some fields or some code changed. It trains for so many seconds (the probe not counted)
with the choices that the probe makes for the preset; then the averaged weights are ranked by their held-out error, as
benchmarks/recipe.py does, and by the excess of the digit FID of 2500 samples, without guidance, over that of as many
test images. `base` runs with three seeds, which shows how much chance there is in one run.

What won is in the preset. What lost is here alone, in the few lines that it takes, so that anyone can try it again.
"""

import argparse
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from recipe import configure, heldout_error
from record import AVX2, DOCS, RESULTS, kind, machine, write_table
from torch import Tensor
from torch.optim import Optimizer

import gendi.diffusion.networks.blocks as blocks
import gendi.train.step.muon as muon
import gendi.train.step.optim as optim
from gendi.data import open_data
from gendi.data.images.evaluation import evaluate
from gendi.diffusion.conditions import requested_conditions
from gendi.diffusion.gaussian.samplers import sample
from gendi.train.step.trainer import Trainer

FILE, SAMPLES = RESULTS / "arms.json", 2500

POLAR_EXPRESS = (
    (8.28721201814563, -23.595886519098837, 17.300387312530933),
    (4.107059111542203, -2.9478499167379106, 0.5448431082926601),
    (3.9486908534822946, -2.908902115962949, 0.5518191394370137),
    (3.3184196573706015, -2.488488024314874, 0.51004894012372),
)
"""Amsel et al. 2025, algorithm 1: the coefficients of the first rounds, before their margin of 1.01."""


class Soap(Optimizer):
    """Adam in the eigenbasis of the gradient's second moments, one-sided where a side is wide.  [Vyas et al. 2024]"""

    every, beta, widest = 10, 0.95, 300

    def __init__(self, params: Any, lr: float, weight_decay: float = 0.0, **others: Any) -> None:
        super().__init__(list(params), {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    self._one(p, p.grad.flatten(1), group["lr"], group["weight_decay"])

    def _one(self, p: Tensor, gradient: Tensor, lr: float, weight_decay: float) -> None:
        state, sides = self.state[p], [k for k in (0, 1) if gradient.shape[k] <= self.widest]
        if not state:
            state |= {"n": 0, "m": torch.zeros_like(gradient), "v": torch.zeros_like(gradient)}
            state["second"] = {k: gradient.new_zeros(gradient.shape[k], gradient.shape[k]) for k in sides}
        for k, moment in state["second"].items():
            moment.lerp_(gradient @ gradient.T if k == 0 else gradient.T @ gradient, 1 - self.beta)
        state["n"] += 1
        n = state["n"] - 1
        if not n:
            state["basis"] = {k: torch.linalg.eigh(moment)[1].flip(1) for k, moment in state["second"].items()}
            return
        state["m"].lerp_(gradient, 0.05)
        state["v"].lerp_(self._turned(gradient, state["basis"]).square(), 1 - self.beta)
        mean = self._turned(state["m"], state["basis"]) / (1 - 0.95**n)
        update = mean / ((state["v"] / (1 - self.beta**n)).sqrt() + 1e-8)
        back = {k: basis.T for k, basis in state["basis"].items()}
        p.mul_(1 - lr * weight_decay).add_(self._turned(update, back).reshape(p.shape), alpha=-lr)
        if n % self.every == 0:
            for k, moment in state["second"].items():
                state["basis"][k] = torch.linalg.qr(moment @ state["basis"][k])[0]

    @staticmethod
    def _turned(x: Tensor, basis: dict[int, Tensor]) -> Tensor:
        x = basis[0].T @ x if 0 in basis else x
        return x @ basis[1] if 1 in basis else x


def soap() -> None:
    optim.Muon = Soap  # type: ignore[assignment, misc]


def rounds(coefficients: Sequence[tuple[float, float, float]]) -> None:
    """Let Muon orthogonalise by these polynomials, in the precision of the matrices it is given."""

    def orthogonalise(matrices: Tensor, iterations: int = 5) -> Tensor:
        tall = matrices.shape[-2] > matrices.shape[-1]
        x = matrices.bfloat16() if kind().endswith("BF16") else matrices.float()
        x = x.mT if tall else x
        x = x / (1.01 * x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
        for a, b, c in coefficients:
            gram = x @ x.mT
            x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
        return (x.mT if tall else x).to(matrices.dtype)

    def each(matrices: Sequence[Tensor], iterations: int = 5) -> list[Tensor]:
        return [orthogonalise(matrix[None])[0] for matrix in matrices]

    muon.orthogonalise, muon.orthogonalise_by_gram = orthogonalise, each


def every_second() -> None:
    """Let Muon's directions stand for two steps."""
    fresh, kept = muon.Muon._orthogonal, {}

    def orthogonal(self: muon.Muon, matrices: Sequence[Tensor]) -> list[Tensor]:
        last = kept.get(id(self))
        if last is not None and last[0] % 2:
            kept[id(self)] = (last[0] + 1, last[1])
            return list(last[1])
        found = fresh(self, matrices)
        kept[id(self)] = (1 if last is None else last[0] + 1, found)
        return found

    muon.Muon._orthogonal = orthogonal  # type: ignore[method-assign]


def half_resolution() -> None:
    """Let every second batch be of 14 x 14 pixels, means over squares of four."""
    whole = Trainer.batch

    def batch(self: Trainer, step: int, part: slice = slice(None)) -> tuple[Tensor, dict[str, Tensor]]:
        x_0, cond = whole(self, step, part)
        return (F.avg_pool2d(x_0, 2) if step % 2 else x_0), cond

    Trainer.batch = batch  # type: ignore[method-assign]


def magnitude() -> None:
    """Keep magnitudes by the weights: filters of norm 1, SiLU and sums divided by what they do to a variance, no group
    norms; pixels are normalised where a block begins.  [Karras et al. 2024, "EDM2"]"""

    def conv(layer: torch.nn.Conv2d, x: Tensor) -> Tensor:
        weight = F.normalize(layer.weight.flatten(1), dim=1).view_as(layer.weight)
        return F.conv2d(x, weight, padding=layer.padding)  # type: ignore[arg-type]

    def forward(self: blocks.ResidualBlock, x: Tensor, embedding: Tensor) -> Tensor:
        x = blocks.resize(x, self.scale)
        plain = conv(self.skip, x) if isinstance(self.skip, torch.nn.Conv2d) else x
        plain = plain / (plain.square().mean(1, keepdim=True) + 1e-4).sqrt()
        h = conv(self.conv1, F.silu(x) / 0.596)
        h = h * (1 + self.film(embedding)[:, : h.shape[1], None, None])
        h = conv(self.conv2, F.silu(h) / 0.596)
        return torch.lerp(plain, h, 0.3) / math.hypot(0.7, 0.3)

    blocks.zero = lambda layer: layer  # type: ignore[assignment]
    blocks.ResidualBlock.forward = forward  # type: ignore[method-assign]


ARMS: dict[str, tuple[str, list[str], Callable[[], None] | None]] = {
    "base": ("preset `mnist`", [], None),
    "middle": ("levels of 48 and 64 channels", ["network.channels=[48,64]"], None),
    "as-before": ("levels of 48 and 96 channels", ["network.channels=[48,96]"], None),
    "narrow": ("levels of 32 and 64 channels", ["network.channels=[32,64]"], None),
    "wide-first": ("levels of 64 and 64 channels", ["network.channels=[64,64]"], None),
    "batch-32": ("batches of 32, learning rate 2e-3", ["train.batch_size=32", "optim.lr=2e-3"], None),
    "lr": ("learning rate 5e-3", ["optim.lr=5e-3"], None),
    "decay": ("learning rate falls over 60% of the time", ["optim.decay=0.6"], None),
    "noise": ("noise levels around exp(-0.8)", ["objective.log_sigma_mean=-0.8"], None),
    "three-rounds": ("Newton-Schulz of 3 rounds", [], lambda: rounds([muon.NEWTON_SCHULZ] * 3)),
    "polar-express": (
        "Polar Express, 4 rounds",
        [],
        lambda: rounds([(a / 1.01, b / 1.01**3, c / 1.01**5) for a, b, c in POLAR_EXPRESS]),
    ),
    "every-second": ("Newton-Schulz every second step", [], every_second),
    "soap": ("SOAP in Muon's place", [], soap),
    "magnitude": ("layers that keep magnitudes (EDM2), no group norms", [], magnitude),
    "half-resolution": ("every second batch at 14 x 14 pixels", [], half_resolution),
    "seven": (
        "one level of 7 x 7, 160 channels, 3 blocks",
        ["network.patch=4", "network.channels=[160]", "network.blocks=3"],
        None,
    ),
    "compile": ("kernels made by torch.compile", ["train.compile=true"], None),
    "adamw": ("AdamW at 1e-3 in Muon's place", ["optim.name=adamw", "optim.lr=1e-3"], None),
}


def run(name: str, seed: int, seconds: float) -> dict[str, Any]:
    """Train an arm and measure it."""
    about, changes, patch = ARMS[name]
    if patch is not None:
        patch()
    config, data = configure("mnist", [*changes, f"train.seed={seed}"]), open_data("mnist")
    trainer, size = Trainer(config, data), config.train.batch_size
    start = time.perf_counter()
    while (passed := time.perf_counter() - start) < seconds:
        trainer.step(passed / seconds)
    images, passed = trainer.images_seen, time.perf_counter() - start
    score, _ = heldout_error(trainer)
    x = sample(
        trainer.ema_denoiser(clip=1.0),
        data.codec.shape,
        SAMPLES,
        steps=config.sample.steps,
        sampler=config.sample.sampler,
        cond=requested_conditions(trainer.config.conditions, None, SAMPLES),
    )
    found = evaluate(data.codec.decode(x).numpy(), data, extractor="digits", n=SAMPLES).to_dict()["metrics"]
    fid = found["fid-digits"]
    return {
        "arm": name,
        "about": about,
        "kind": kind(),
        "seed": seed,
        "seconds": seconds,
        "images": images,
        "images_per_second": images / passed,
        "batch_size": size,
        "choice": trainer.choice.reason,
        "heldout_score": score,
        "excess": fid["value"] - fid["floor"],
        "standard_error": fid["standard_error"],
        "confidence": found["confidence"]["value"],
        "machine": machine(),
    }


def known() -> list[dict[str, Any]]:
    return json.loads(FILE.read_text("utf-8"))["runs"] if FILE.exists() else []


def table() -> list[str]:
    lines = [
        "| processor, seconds | what was tried | images | held-out error | excess | confidence |",
        "|---" * 6 + "|",
    ]
    order = {name: k for k, name in enumerate(ARMS)}
    for found in sorted(known(), key=lambda r: (r["kind"], r["seconds"], order[r["arm"]], r["seed"])):
        several = f", seed {found['seed']}" if found["arm"] == "base" else ""
        lines.append(
            f"| {found['kind']}, {found['seconds']:g} | {found['about']}{several} | {found['images']:,} | "
            f"{found['heldout_score']:.4f} | {found['excess']:.2f} ± {1.96 * found['standard_error']:.2f} | "
            f"{found['confidence']:.1%} |"
        )
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--arms", nargs="+", default=list(ARMS), choices=list(ARMS))
    parser.add_argument("--avx2", action="store_true", help="train as a processor without AVX-512 does")
    parser.add_argument("--table", action="store_true", help="write the table, and nothing else")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one is not None:
        print(json.dumps(run(args.arms[0], args.one, args.seconds)))
        return
    environment = {**os.environ, **(AVX2 if args.avx2 else {})}
    for arm in [] if args.table else args.arms:
        for seed in (0, 1, 2) if arm == "base" else (0,):
            command = [sys.executable, __file__, "--arms", arm, "--one", str(seed), "--seconds", f"{args.seconds:g}"]
            done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
            found = json.loads(done.stdout.splitlines()[-1])
            kept = [r for r in known() if (r["arm"], r["kind"], r["seed"], r["seconds"]) != _key(found)]
            FILE.write_text(json.dumps({"runs": [*kept, found]}, indent=1) + "\n", encoding="utf-8")
            print(f"{arm}, seed {seed}: {found['images']:,} images, excess {found['excess']:.3f}", flush=True)
    if "<!-- arms -->" in (DOCS / "speed.md").read_text("utf-8"):
        write_table("speed.md", "arms", table())


def _key(found: dict[str, Any]) -> tuple[str, str, int, float]:
    return found["arm"], found["kind"], found["seed"], found["seconds"]


if __name__ == "__main__":
    main()
