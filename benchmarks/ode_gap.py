"""Why the code length under the probability-flow ODE may exceed the bound: each cause apart, in a world with a formula.

    python benchmarks/ode_gap.py                         the exact world
    python benchmarks/ode_gap.py --run RUN [--n 24]      a trained model beside it

The world: pictures of independent bytes with the histogram of MNIST. The exact denoiser of such pictures is a sum over
256 bytes (`BytePosterior` with outputs of zero), and the code length of each picture is -log p summed over its pixels.
The excess over it, in bits per dimension, is measured for

    dequantisation    uniform or normal, with an exact denoiser and a tight solver
    tolerance         of the solver, from 1e-2 to 1e-6
    network           an error of a stated size in eps where sigma / alpha < 4e-3, either smooth over a byte or not

One probe of signs gives the exact divergence of this world, whose Jacobian is diagonal. Of a run, the bound and the
ODE's code length on the same images, the latter with two probes; and again with the network replaced by the nearest
bytes (the world's denoiser with an even histogram) below 4e-3. Rows go to results/ode-gap.json and docs/likelihood.md.
"""

import argparse
import json
import math
from typing import Any

import numpy as np
import torch
from record import RESULTS, Z95, write, write_table
from torch import Tensor

import gendi
from gendi.data import open_data
from gendi.diffusion.gaussian.denoiser import Denoiser
from gendi.diffusion.gaussian.likelihood import log_density
from gendi.diffusion.gaussian.schedule import Schedule, make_schedule
from gendi.diffusion.networks.byte_posterior import STATISTICS, BytePosterior
from gendi.train.kept.bundle import load_bundle

LN2 = math.log(2)
BORDER = 4e-3
"""sigma / alpha of about half a byte."""
SIDE, PICTURES = 8, 32


class Bytes:
    """The exact denoiser of independent bytes, with an error of root mean square `error` in eps below `BORDER`.

    The error is a sine of x_0-space of `waves` periods per byte, which has no cause in the data.
    """

    def __init__(self, posterior: BytePosterior, schedule: Schedule, error: float = 0.0, waves: float = 1.0) -> None:
        self.posterior, self.schedule, self.error, self.waves = posterior, schedule, error, waves

    def __call__(self, x_t: Tensor, t: Tensor, /, **_: Any) -> Tensor:
        t = t.expand(len(x_t))
        alpha, sigma = (value.to(x_t).reshape(-1, 1, 1, 1) for value in self.schedule(t))
        zeros = x_t.new_zeros(len(x_t), STATISTICS * x_t.shape[1], *x_t.shape[2:])
        v = self.posterior(x_t, self.schedule.log_snr(t) / -8, zeros)
        eps = alpha * v + sigma * x_t
        wrong = math.sqrt(2) * self.error * torch.sin(2 * math.pi * 127.5 * self.waves * x_t / alpha + 1)
        eps = eps + torch.where(sigma / alpha < BORDER, wrong, 0.0)
        return (x_t - sigma * eps) / alpha


class Patched:
    """A trained denoiser, and below `BORDER` the nearest bytes instead."""

    def __init__(self, denoiser: Denoiser, schedule: Schedule) -> None:
        self.denoiser, self.schedule, self.nearest = denoiser, schedule, Bytes(BytePosterior(1), schedule)

    def __call__(self, x_t: Tensor, t: Tensor, /, **cond: Any) -> Tensor:
        low = self.schedule.log_snr(t).expand(len(x_t)).reshape(-1, 1, 1, 1) > -2 * math.log(BORDER)
        return torch.where(low, self.nearest(x_t, t), self.denoiser(x_t, t, **cond))


def world() -> tuple[BytePosterior, Tensor, np.ndarray]:
    """Return the posterior, pictures (n, 1, 8, 8) float64, and the exact bits per dimension of each."""
    data = open_data("mnist")
    rows = np.asarray(data.train.batch(np.arange(0, len(data.train), 15)))
    posterior = BytePosterior(1).double()
    posterior.count(torch.from_numpy(rows.reshape(-1, 1, 1, 1) / 127.5 - 1))
    p = posterior.log_prior[0].exp().numpy()
    drawn = np.random.default_rng(0).choice(256, (PICTURES, 1, SIDE, SIDE), p=p / p.sum())
    exact = -posterior.log_prior[0].numpy()[drawn].reshape(PICTURES, -1).mean(1) / LN2
    return posterior, torch.from_numpy(drawn / 127.5 - 1), exact


def excess(denoiser: Denoiser, x_0: Tensor, exact: np.ndarray, **options: Any) -> dict[str, float]:
    """Return by how many bits per dimension the code under the ODE is longer than the exact one, and its error."""
    settings: dict[str, Any] = {"dequantisation": "normal", "rtol": 1e-5, "atol": 1e-5, **options}
    found = log_density(denoiser, x_0, half_bin=1 / 255, **settings)
    gap = found.values.numpy() / LN2 - exact
    return {
        "excess": float(gap.mean()),
        "standard_error": float(gap.std(ddof=1) / math.sqrt(len(gap))),
        "calls": float(found.calls.mean()),
    }


def in_the_world() -> list[dict[str, Any]]:
    """Return a row for every cause."""
    posterior, x_0, exact = world()
    schedule = make_schedule("cosine", None)
    true = Bytes(posterior, schedule)
    rows: list[dict[str, Any]] = []

    def add(cause: str, setting: str, figures: dict[str, float]) -> None:
        rows.append({"cause": cause, "setting": setting, **figures})
        print(rows[-1], flush=True)

    for kind in ("uniform", "normal"):
        add("dequantisation", kind, excess(true, x_0, exact, dequantisation=kind))
    for tolerance in (1e-2, 1e-3, 1e-4, 1e-5, 1e-6):
        add("tolerance", f"{tolerance:g}", excess(true, x_0, exact, rtol=tolerance, atol=tolerance))
    for error in (0.05, 0.1, 0.2):
        bound = error**2 / 2 * 2 * math.log(BORDER / 1e-3) / LN2
        for waves in (0.25, 1.0):
            figures = excess(Bytes(posterior, schedule, error, waves), x_0, exact)
            add("network", f"{error:g}, {waves:g} waves per byte", {**figures, "bound": bound})
    return rows


def of_run(run: str, n: int) -> dict[str, Any]:
    """Return the bound and the ODE's code lengths of a trained model on the same images, in bits per dimension."""
    bundle = load_bundle(run)
    denoiser = bundle.denoiser("cpu")
    denoiser.precision = "fp32"
    bound = gendi.bits_per_dim(bundle, n=n, draws=200)
    ode = gendi.bits_per_dim(bundle, n=n, method="ode", probes=2)
    data = open_data(bundle.meta["data_spec"])
    from gendi.api.held_out import held_out_rows

    x_0 = bundle.codec.encode(torch.from_numpy(data.heldout.batch(held_out_rows(data, n, 0))))
    options: dict[str, Any] = {"half_bin": 1 / 255, "dequantisation": "normal", "probes": 2}
    patched = log_density(Patched(denoiser, denoiser.schedule), x_0, **options)
    row: dict[str, Any] = {"preset": bundle.config.preset, "output": bundle.config.network.output, "n": n}
    row |= {"images": bundle.meta["images"], "bound": bound.total.bits}
    for name, found in (("ode", ode), ("patched", patched)):
        gap = (found.values - bound.values).numpy() / LN2
        row[name] = {
            "bits_per_dim": found.total.bits,
            "above_the_bound": float(gap.mean()),
            "standard_error": float(gap.std(ddof=1) / math.sqrt(n)),
            "of_probes": found.error_probes / LN2,
            "calls": float(found.calls.mean()),
        }
    print(row, flush=True)
    return row


def table(figures: dict[str, Any]) -> list[str]:
    """Return the lines of the tables."""
    lines = ["| cause | setting | excess over the exact code, bits/dim | calls |", "|---|---|---|---|"]
    for row in figures["world"]:
        beside = f" (the bound: {row['bound']:.4f})" if "bound" in row else ""
        cell = f"{row['excess']:+.4f} ± {Z95 * row['standard_error']:.4f}{beside}"
        lines.append(f"| {row['cause']} | {row['setting']} | {cell} | {row['calls']:.0f} |")
    if figures["runs"]:
        lines += ["", "| model | images seen | bound | ODE above it | with the nearest bytes below 4e-3 | calls |"]
        lines += ["|---|---|---|---|---|---|"]
    for row in figures["runs"]:
        cells = [f"{row[k]['above_the_bound']:+.3f} ± {Z95 * row[k]['standard_error']:.3f}" for k in ("ode", "patched")]
        name = f"`{row['preset']}`, output `{row['output']}`"
        lines.append(
            f"| {name} | {row['images']:,} | {row['bound']:.3f} | {cells[0]} | {cells[1]} | {row['ode']['calls']:.0f} |"
        )
    return lines


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--run", action="append", default=[])
    parser.add_argument("--n", type=int, default=24)
    args = parser.parse_args()
    path = RESULTS / "ode-gap.json"
    old = json.loads(path.read_text()) if path.exists() else {"world": [], "runs": []}
    figures = {"world": old["world"] if args.run else in_the_world(), "runs": old["runs"]}
    for run in args.run:
        row = of_run(run, args.n)
        same = ("preset", "output")
        figures["runs"] = [r for r in figures["runs"] if any(r[k] != row[k] for k in same)] + [row]
    write("ode-gap", figures)
    write_table("likelihood.md", "ode-gap", table(figures))


if __name__ == "__main__":
    main()
