"""Temperature or correction: what every sampler draws where the denoiser is a formula, right or wrong in a known way.

    python benchmarks/temperature.py [--seeds 3] [--samplers deis ...]

Two questions are kept apart. With the exact denoiser: which law does a sampler draw in few calls? For Gaussians on the
line no sample is drawn: every sampler is affine in its start and its noises there, so its standard deviation is
computed from its responses to unit vectors (`gaussian`, the ratio to the right one, by the width of the data in model
space; Monte Carlo with 50,000 samples for the few samplers that are not affine). For a ring of eight narrow Gaussians
the energy distance to the truth is estimated (`ring`).

With a wrong denoiser: does fresh noise correct its errors? The exact denoiser of the ring gets an error of a known
kind, and the energy distance to the truth shows what is left of it at the end:

    bias      a constant vector of length 0.1 is added to x0_hat, less where there is little noise
    noise     a fixed smooth random function of (x, t), of root mean square 0.3, is added in the same way
    blur      the denoiser of a ring whose components are 1.5 times as wide: what a network that has not finished
              learning knows
    timid     x0_hat is drawn 5% towards the mean of the data

`temperature` repeats some samplers at other temperatures. Writes results/temperature.json and a table of
docs/samplers.md.
"""

import argparse
import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from record import RESULTS, write, write_table
from torch import Tensor

from gendi.diffusion.gaussian.exact import GaussianDenoiser, MixtureDenoiser
from gendi.diffusion.gaussian.process import like
from gendi.diffusion.gaussian.samplers import SAMPLERS, get_sampler, sample
from gendi.diffusion.gaussian.samplers.draw import calls_to_times
from gendi.diffusion.gaussian.samplers.grid import BOUNDS, bounds_for
from gendi.diffusion.gaussian.schedule import make_schedule
from gendi.evaluate.vectors.distances import energy_distance

CALLS = (5, 10, 20, 50)
WIDTHS = (0.03, 0.05, 0.1, 0.3, 1.0, 2.0)
TEMPERATURES = (0.7, 0.8, 0.9)
SCHEDULE = make_schedule("linear", None)
N = 2000
NOT_AFFINE = {"angular"}
"""Samplers whose steps are not affine in x even where the denoiser is."""

ANGLES = torch.arange(8) * (2 * math.pi / 8)
MEANS = torch.stack([ANGLES.cos(), ANGLES.sin()], 1).double()
SPREAD = 0.15


def ring(spread: float = SPREAD) -> MixtureDenoiser:
    """Return the world of eight Gaussians around the unit circle."""
    return MixtureDenoiser(SCHEDULE, torch.full((8,), 1 / 8), MEANS, (spread**2 * torch.eye(2)).expand(8, 2, 2))


class Wrong:
    """The exact denoiser of the ring with an error of a known kind."""

    def __init__(self, kind: str) -> None:
        self.kind, self.schedule = kind, SCHEDULE
        self.world = ring(1.5 * SPREAD if kind == "blur" else SPREAD)
        rng = np.random.default_rng(1)
        self.waves, self.phases = torch.from_numpy(rng.normal(0, 2, (3, 64))), torch.from_numpy(rng.uniform(0, 7, 64))
        self.weights = torch.from_numpy(rng.normal(0, 0.3 * math.sqrt(2 / 64), (64, 2)))

    def __call__(self, x_t: Tensor, t: Tensor, /, **_: Any) -> Tensor:
        x_0 = self.world(x_t, t)
        alpha, sigma = SCHEDULE(t)
        share = sigma / (alpha**2 + sigma**2).sqrt()
        if self.kind == "bias":
            return x_0 + like(share, x_t) * torch.tensor([0.1, 0.0]).to(x_t)
        if self.kind == "noise":
            level = (SCHEDULE.log_snr(t) / -2).expand(len(x_t), 1)
            place = torch.cat([x_t.double() * share / sigma, level], 1)
            error = (place @ self.waves + self.phases).cos() @ self.weights
            return x_0 + like(share, x_t) * error.to(x_t)
        return 0.95 * x_0 if self.kind == "timid" else x_0


def gaussian(name: str, calls: int, width: float, bounds: tuple[float, float]) -> float:
    """Return the standard deviation of what a sampler draws of N(0, width^2), over width."""
    info = get_sampler(name)
    world = GaussianDenoiser(SCHEDULE, torch.zeros(1), torch.tensor([[width**2]], dtype=torch.float64))
    if name in NOT_AFFINE or info.brownian:
        x = sample(world, (1,), n=50_000, steps=calls, sampler=name, bounds=bounds, batch_size=50_000)
        return float(x.double().std()) / width
    times = calls_to_times(SCHEDULE, info, calls, None, bounds)
    start = torch.zeros(2 * calls + 4, 1, dtype=torch.float64)
    start[1] = SCHEDULE(times[0])[1]

    def noise(k: int) -> Tensor:
        unit = torch.zeros_like(start)
        unit[2 + k] = 1
        return unit

    *_, last = info.run(world, start, times, noise, **({"calls": calls} if info.takes_calls else {}))
    return float((last.x[1:] - last.x[0]).square().sum().sqrt()) / width


def distance(denoiser: Any, seeds: int, **how: Any) -> dict[str, float]:
    """Return the energy distance of samples to the truth and its standard error, over seeds."""
    found = []
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        truth = ring().sample_data(torch.from_numpy(rng.random(N)), torch.from_numpy(rng.normal(size=(N, 2))))
        x = sample(denoiser, (2,), n=N, seed=seed, batch_size=N, **how)
        found.append(energy_distance(x.double().numpy(), truth.numpy()))
    return {"energy": float(np.mean(found)), "standard_error": float(np.std(found, ddof=1) / math.sqrt(seeds))}


def worlds() -> dict[str, Callable[[], Any]]:
    return {"exact": ring, **{kind: (lambda kind=kind: Wrong(kind)) for kind in ("bias", "noise", "blur", "timid")}}


def table(rows: list[dict[str, Any]]) -> list[str]:
    """Return the lines of the table at 20 calls: laws of Gaussians, then the energy distances to the ring."""
    kinds = tuple(worlds())
    lines = [
        "| sampler, 20 calls | N(0, 1) | width 0.3 | width 0.05 | " + " | ".join(f"ring, {k}" for k in kinds) + " |",
        "|---" * (4 + len(kinds)) + "|",
    ]
    for row in rows:
        if row["calls"] != 20:
            continue
        name = f"`{row['sampler']}`" + (f", temperature {row['temperature']}" if row["temperature"] != 1 else "")
        laws = [f"{row['gaussian'][w]:.3f}" if row["gaussian"] else "" for w in ("1.0", "0.3", "0.05")]
        far = [f"{1e3 * row['ring'][k]['energy']:.1f} ± {1e3 * row['ring'][k]['standard_error']:.1f}" for k in kinds]
        lines.append("| " + " | ".join([name, *laws, *far]) + " |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--samplers", nargs="*", help="measure these again, and keep the other rows")
    args = parser.parse_args()
    torch.set_num_threads(1)
    lines = [(name, 1.0) for name, info in SAMPLERS.items() if not info.adaptive and info.takes == "mean"]
    lines += [("deis", T) for T in TEMPERATURES] + [("dpmpp-2m-sde", T) for T in TEMPERATURES]
    rows = json.loads((RESULTS / "temperature.json").read_text("utf-8"))["rows"] if args.samplers else []
    rows = [row for row in rows if row["sampler"] not in (args.samplers or ())]
    for name, temperature in [line for line in lines if not args.samplers or line[0] in args.samplers]:
        for calls in CALLS:
            bounds = {width: bounds_for(width) for width in WIDTHS}
            laws = {} if temperature != 1 else {str(w): gaussian(name, calls, w, b) for w, b in bounds.items()}
            how = {"sampler": name, "steps": calls, "temperature": temperature, "bounds": BOUNDS}
            far = {kind: distance(make(), args.seeds, **how) for kind, make in worlds().items()}
            rows.append({"sampler": name, "calls": calls, "temperature": temperature, "gaussian": laws, "ring": far})
            print(name, calls, temperature, {k: round(v, 3) for k, v in laws.items()}, flush=True)
            print("   ", {k: round(1e3 * v["energy"], 2) for k, v in far.items()}, flush=True)
    rows.sort(key=lambda row: (lines.index((row["sampler"], row["temperature"])), row["calls"]))
    write("temperature", {"n": N, "seeds": args.seeds, "widths": WIDTHS, "rows": rows})
    write_table("samplers.md", "temperature or correction", table(rows))


if __name__ == "__main__":
    main()
