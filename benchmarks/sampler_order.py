"""The observed order of convergence of every sampler, on a mixture of Gaussians with its exact denoiser.

    python benchmarks/sampler_order.py

Between two interior times of the linear schedule, on grids even in log-SNR, in float64. They begin where the denoiser
bends (t = 0.4), so that the first step of a multistep method, whose order is lower, shows. The end of a deterministic
sampler is compared with that of SciPy's DOP853 at a tolerance of 1e-12, and the slope is that of log error against log
steps over the finest halving. A sampler that draws noise on one Brownian path is compared with itself on 16 times as
many steps of the same path (strong order: root mean square over 400 paths, slope over the whole range). The rest have
no path to share: for them the variance of a Gaussian's samples is carried through their own affine recursion (weak
order), which is exact because each step is affine in x and in its noise.

A second measurement goes from t = 1 on grids even in t, where the first steps span as much log-SNR however many there
are: there alpha at the second time, squared, is what a first step with a single call errs by. Both write a table of
docs/samplers.md.
"""

import math
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from record import write, write_table
from scipy.integrate import solve_ivp
from torch import Tensor

from gendi.diffusion.gaussian.exact import GaussianDenoiser, MixtureDenoiser
from gendi.diffusion.gaussian.samplers import SAMPLERS, SamplerInfo
from gendi.diffusion.gaussian.samplers.brownian import BrownianNoise
from gendi.diffusion.gaussian.schedule import Schedule, make_schedule

WEIGHTS, MEANS, SPREAD = torch.tensor([0.3, 0.7]), torch.tensor([[-1.0], [1.0]]), 0.4
START = torch.tensor([[-1.5], [-0.2], [0.1], [0.4], [2.0]], dtype=torch.float64)
ENDS = (0.4, 0.05)
FROM_NOISE = ("linear", "cosine", "sigmoid")


def grid(schedule: Schedule, n: int) -> Tensor:
    first, last = schedule.log_snr(torch.tensor(ENDS, dtype=torch.float64)).tolist()
    times = schedule.time(torch.linspace(first, last, n + 1, dtype=torch.float64))
    times[0], times[-1] = ENDS
    return times


def slopes(errors: list[float]) -> list[float]:
    return [math.log2(a / b) for a, b in pairwise(errors)]


def end(info: SamplerInfo, denoiser: Any, start: Tensor, times: Tensor, noise: Any) -> Tensor:
    options = {"churn_noise": 1.0} if "churn_noise" in info.options else {}  # 1.003 is a bias that no step size mends
    *_, last = info.run(denoiser, start, times, noise, **options)
    return last.x


def deterministic(info: SamplerInfo, world: MixtureDenoiser, sizes: tuple[int, ...]) -> list[float]:
    schedule = world.schedule
    (a_0, a_1), (s_0, s_1) = (c.tolist() for c in schedule(torch.tensor(ENDS, dtype=torch.float64)))

    def slope(level: float, y: np.ndarray) -> np.ndarray:
        t = schedule.time(torch.tensor(-2 * math.log(level), dtype=torch.float64))
        state = torch.from_numpy(y)[:, None]
        return ((state - world(schedule(t)[0] * state, t)) / level)[:, 0].numpy()

    exact = solve_ivp(slope, (s_0 / a_0, s_1 / a_1), (START / a_0)[:, 0].numpy(), "DOP853", rtol=1e-12, atol=1e-12)
    answer = a_1 * torch.from_numpy(exact.y[:, -1])[:, None]
    return [float((end(info, world, START, grid(schedule, n), None) - answer).abs().max()) for n in sizes]


def strong(info: SamplerInfo, world: MixtureDenoiser, sizes: tuple[int, ...], paths: int = 400) -> list[float]:
    start = torch.linspace(-2, 2, paths, dtype=torch.float64)[:, None]

    def on_path(n: int) -> Tensor:
        times = torch.linspace(*ENDS, n + 1, dtype=torch.float64)
        noise = BrownianNoise(0, range(paths), (1,), times, "cpu")
        return end(info, world, start, times, lambda k: noise(k).double())

    answer = on_path(16 * sizes[-1])
    return [float((on_path(n) - answer).square().mean().sqrt()) for n in sizes]


def weak(info: SamplerInfo, world: GaussianDenoiser, sizes: tuple[int, ...]) -> list[float]:
    """Return the relative error of the variance at the end, for x at the start from the exact marginal.

    Row 0 starts at the mean without noise, row 1 a standard deviation above, and row 2 + k has noise k alone.
    """
    schedule, errors = world.schedule, []
    alpha, sigma = schedule(torch.tensor(ENDS, dtype=torch.float64))
    first, last = ((alpha * SPREAD) ** 2 + sigma**2).tolist()
    for n in sizes:
        unit = torch.eye(2 * n + 3, dtype=torch.float64)
        x = end(
            info, world, math.sqrt(first) * unit[:, 1, None], grid(schedule, n), lambda k, u=unit: u[:, 2 + k, None]
        )
        errors.append(abs(float((x[1:] - x[0]).square().sum()) / last - 1))
    return errors


def from_noise(info: SamplerInfo, name: str, sizes: tuple[int, ...]) -> list[float]:
    """Return the errors on a Gaussian of two variances from t = 1 to 0.05, on grids even in t."""
    schedule, mean = make_schedule(name), torch.tensor([0.7, -0.3], dtype=torch.float64)
    c = torch.tensor([0.5, 0.05], dtype=torch.float64)
    world, start, errors = GaussianDenoiser(schedule, mean, torch.diag(c)), START.expand(-1, 2), []
    for n in sizes:
        times = torch.linspace(1, 0.05, n + 1, dtype=torch.float64)
        (a_0, a_1), (s_0, s_1) = (v.tolist() for v in schedule(times[[0, -1]]))
        growth = ((c + (s_1 / a_1) ** 2) / (c + (s_0 / a_0) ** 2)).sqrt()
        answer = a_1 * (mean + growth * (start / a_0 - mean))
        errors.append(float((end(info, world, start, times, None) - answer).abs().max()))
    return errors


def main() -> None:
    torch.set_num_threads(1)
    schedule = make_schedule("linear")
    mixture = MixtureDenoiser(schedule, WEIGHTS, MEANS, torch.full((2, 1, 1), SPREAD**2))
    gaussian = GaussianDenoiser(schedule, torch.zeros(1), torch.full((1, 1), SPREAD**2))
    rows = []
    for name, info in SAMPLERS.items():
        if info.adaptive or info.takes != "mean":
            continue
        sizes: tuple[int, ...] = (32, 64, 128, 256)
        if info.deterministic:
            kind, errors = "ODE", deterministic(info, mixture, sizes)
        elif info.brownian:
            sizes = (16, 32, 64, 128)  # the path is resolved to 2^-12 of t
            kind, errors = "strong", strong(info, mixture, sizes)
        else:
            sizes = (64, 128, 256, 512)
            kind, errors = "weak", weak(info, gaussian, sizes)
        found = slopes(errors)
        if info.brownian:  # an average over paths still moves a little: its slope over the whole range
            found = [math.log2(errors[0] / errors[-1]) / (len(errors) - 1)]
        rows.append({"sampler": name, "kind": kind, "claimed": info.order, "sizes": sizes, "errors": errors})
        rows[-1]["slopes"] = found
        print(f"{name:22} {kind:7} claimed {info.order}  measured {' '.join(f'{s:.2f}' for s in found)}", flush=True)
    noise = []
    for name, info in SAMPLERS.items():
        if info.deterministic and not info.adaptive and info.takes == "mean":
            errors_of = {schedule: from_noise(info, schedule, (128, 256, 512)) for schedule in FROM_NOISE}
            noise.append({"sampler": name, "errors": errors_of, "slopes": {k: slopes(v) for k, v in errors_of.items()}})
            print(f"{name:22} from t = 1 ", {k: round(slopes(v)[-1], 2) for k, v in errors_of.items()}, flush=True)
    write("sampler-order", {"rows": rows, "from_noise": noise})
    write_table("samplers.md", "measured order", table(rows))
    write_table("samplers.md", "order from pure noise", from_noise_table(noise))


def table(rows: list[dict[str, Any]]) -> list[str]:
    measured = {row["sampler"]: row for row in rows}
    lines = ["| sampler | calls a step | noise | order claimed | order measured | use |", "|---|---|---|---|---|---|"]
    for name, info in SAMPLERS.items():
        row = measured.get(name)
        figure = "to a tolerance" if row is None else f"{row['slopes'][-1]:.2f} ({row['kind']})"
        if row is not None and info.order == 0:
            figure = "a bias remains (weak)"
        if info.takes != "mean":
            figure = "exact, with an exact map"
        noise = "none" if info.deterministic else "one path" if info.brownian else "fresh"
        calls = "adaptive" if info.adaptive else str(info.calls_per_step)
        lines.append(f"| `{name}` | {calls} | {noise} | {info.order} | {figure} | {info.use} |")
    return lines


def from_noise_table(rows: list[dict[str, Any]]) -> list[str]:
    lines = ["| sampler | " + " | ".join(FROM_NOISE) + " |", "|---" * (len(FROM_NOISE) + 1) + "|"]
    for row in rows:
        lines.append(f"| `{row['sampler']}` | " + " | ".join(f"{row['slopes'][k][-1]:.2f}" for k in FROM_NOISE) + " |")
    return lines


if __name__ == "__main__":
    main()
