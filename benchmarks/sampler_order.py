"""The observed order of convergence of every sampler, on a mixture of Gaussians with its exact denoiser.

    python benchmarks/sampler_order.py

Between two interior times of the linear schedule, on grids even in log-SNR, in float64. The end of a deterministic
sampler is compared with that of SciPy's DOP853 at a tolerance of 1e-12, and the slope is that of log error against log
steps over the finest halving. A sampler that draws noise on one Brownian path is compared with itself on 16 times as
many steps of the same path (strong order: root mean square over 400 paths, slope over the whole range). The rest have
no path to share: for them the mean and the standard deviation of a Gaussian's samples are carried through their own
affine recursion (weak order), which is exact because each step is affine in x and in its noise. Also writes the table
of docs/samplers.md.
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
ENDS = (0.8, 0.05)


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
    """Return the error of the standard deviation at the end, for x at the start from the exact marginal."""
    schedule, errors = world.schedule, []
    ends = torch.tensor(ENDS, dtype=torch.float64)
    alpha, sigma = schedule(ends)
    deviations = ((alpha * SPREAD) ** 2 + sigma**2).sqrt().tolist()

    def response(n: int, x: float, hot: int | None) -> float:
        def noise(k: int) -> Tensor:
            return torch.full((1, 1), 1.0 if k == hot else 0.0, dtype=torch.float64)

        return float(end(info, world, torch.full((1, 1), x, dtype=torch.float64), grid(schedule, n), noise))

    for n in sizes:
        zero = response(n, 0.0, None)
        gains = [response(n, 0.0, k) - zero for k in range(2 * n + 1)]
        variance = ((response(n, 1.0, None) - zero) * deviations[0]) ** 2 + sum(g**2 for g in gains)
        errors.append(abs(math.sqrt(variance) - deviations[1]))
    return errors


def main() -> None:
    torch.set_num_threads(1)
    schedule = make_schedule("linear")
    mixture = MixtureDenoiser(schedule, WEIGHTS, MEANS, torch.full((2, 1, 1), SPREAD**2))
    gaussian = GaussianDenoiser(schedule, torch.zeros(1), torch.full((1, 1), SPREAD**2))
    rows = []
    for name, info in SAMPLERS.items():
        if info.adaptive:
            continue
        sizes: tuple[int, ...] = (32, 64, 128, 256)
        if info.deterministic:
            kind, errors = "ODE", deterministic(info, mixture, sizes)
        elif info.brownian:
            sizes = (16, 32, 64, 128)  # the path is resolved to 2^-12 of t
            kind, errors = "strong", strong(info, mixture, sizes)
        else:
            sizes = (16, 32, 64)
            kind, errors = "weak", weak(info, gaussian, sizes)
        found = slopes(errors)
        if info.brownian:  # an average over paths still moves a little: its slope over the whole range
            found = [math.log2(errors[0] / errors[-1]) / (len(errors) - 1)]
        rows.append({"sampler": name, "kind": kind, "claimed": info.order, "sizes": sizes, "errors": errors})
        rows[-1]["slopes"] = found
        print(f"{name:22} {kind:7} claimed {info.order}  measured {' '.join(f'{s:.2f}' for s in found)}", flush=True)
    write("sampler-order", {"rows": rows})
    write_table("samplers.md", "measured order", table(rows))


def table(rows: list[dict[str, Any]]) -> list[str]:
    measured = {row["sampler"]: row for row in rows}
    lines = ["| sampler | calls a step | noise | order claimed | order measured | use |", "|---|---|---|---|---|---|"]
    for name, info in SAMPLERS.items():
        row = measured.get(name)
        figure = "to a tolerance" if row is None else f"{row['slopes'][-1]:.2f} ({row['kind']})"
        noise = "none" if info.deterministic else "one path" if info.brownian else "fresh"
        calls = "adaptive" if info.adaptive else str(info.calls_per_step)
        lines.append(f"| `{name}` | {calls} | {noise} | {info.order} | {figure} | {info.use} |")
    return lines


if __name__ == "__main__":
    main()
