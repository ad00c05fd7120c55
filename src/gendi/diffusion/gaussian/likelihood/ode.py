"""log p of the probability-flow ODE, by the instantaneous change of variables.

With u = sigma / alpha and y = x / alpha the flow is dy / du = (y - D) / u, D = E[x_0 | x_t], whatever the schedule
[Karras et al. 2022, eqs. 1, 4]. In l = ln u and the scaled state z = c y, c = 1 / sqrt(1 + u^2) (x itself where
alpha^2 + sigma^2 = 1) it is well conditioned at both ends:

    dz / dl       = f(z, l) = c (c z - D(x, t))
    log p(z(l_0)) = log p(z(l_1)) + integral of div f dl from l_0 to l_1            [Song et al. 2021, eq. 39]
    div f         = d c^2 - c tr dD/dz

The trace is exact (d reverse passes per call), or Hutchinson's estimate with probes e that stay the same along the
whole path [Grathwohl et al. 2019; Hutchinson 1989]. The estimate is that of the whole of df/dz, c^2 e^T e - c e^T
(dD/dz) e. Where there is little noise dD/dz is nearly c I, so the two terms cancel whatever e is. With c^2 d in the
place of c^2 e^T e, Gaussian probes would leave the spread of e^T e, which is 0 for signs.

At l_1 (t = 1), x ~ N(0, sigma_1^2): what is left of the data there, alpha_1, is reported. At l_0 the density is that of
y = x_0 + u_0 noise.

Every sample has step sizes of its own (Dormand & Prince 1980, order 5 with an embedded 4), so its figure does not
depend on its neighbours. The error of a step is held below atol + rtol |z| in root mean square over z, and below atol +
rtol |log p| for log p per dimension.
"""

import math
from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from gendi.diffusion.batches import in_batches, indices
from gendi.diffusion.conditions import Conditions, take
from gendi.diffusion.gaussian.conditioned import conditioned
from gendi.diffusion.gaussian.denoiser import Denoiser
from gendi.diffusion.gaussian.dormand_prince import Place, rms, solve
from gendi.diffusion.gaussian.likelihood.dequantise import dequantise
from gendi.diffusion.gaussian.likelihood.elbo import SMALLEST, check_data
from gendi.diffusion.gaussian.likelihood.result import Density
from gendi.diffusion.gaussian.likelihood.strata import SMALLEST_NOISE
from gendi.diffusion.gaussian.process import like
from gendi.diffusion.gaussian.schedule.levels import noise_time
from gendi.diffusion.randomness import stream
from gendi.errors import UsageError, diverged, unknown_name
from gendi.machine.stopping import Poll, may_stop

DIVERGENCES = ("exact", "rademacher", "gaussian")
MOST_CALLS = 10_000


Drift = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
"""Maps rows (B,) of the batch, l (B,) and z (B, d) to f (B, d) and the divergences per dimension (B, K)."""


def log_density(
    denoiser: Denoiser,
    x_0: Float[Tensor, " n *shape"],
    *,
    half_bin: float | None = None,
    dequantisation: str = "none",
    divergence: str = "rademacher",
    probes: int = 1,
    smallest: float | None = None,
    rtol: float = 1e-5,
    atol: float = 1e-5,
    most_calls: int = MOST_CALLS,
    seed: int = 0,
    first_index: int = 0,
    batch_size: int = 250,
    cond: Conditions | None = None,
    poll: Poll | None = None,
) -> Density:
    """Return -log p of samples x_0 (n, ...) in model space under the probability-flow ODE.

    Args:
        denoiser: E[x_0 | x_t], differentiable in x_t.
        half_bin: half the distance between the values that data take, for dequantisation.
        dequantisation: "none" for continuous data; "uniform" or "normal": see
            `gendi.diffusion.gaussian.likelihood.dequantise`.
        divergence: "exact" or by "rademacher" or "gaussian" probes.
        probes: how many probes per sample, each good for an unbiased estimate.
        smallest: u_0, sigma / alpha where the ODE starts; 1e-3 by default, for a discrete chain that of its first step.
        rtol, atol: tolerances of a step.
        most_calls: network calls that one sample may take.
        seed, first_index: sample i draws its probes and dequantisation from the stream keyed (seed, first_index + i).
        cond: conditions by name, n rows each, for a conditional denoiser.
        poll: called before every network call; raise from it to stop.

    Raises:
        UsageError: no samples, unknown names, tolerances or probes out of range, more than `most_calls` calls.
        DivergedError: the denoiser returned NaN or infinity.
    """
    check_data(x_0, half_bin if dequantisation != "none" else None)
    _check(divergence, probes, rtol, atol)
    schedule, n, d = denoiser.schedule, len(x_0), math.prod(x_0.shape[1:])
    if smallest is None:
        first = torch.tensor(1 / schedule.steps if schedule.steps else 1.0, dtype=torch.float64)
        smallest = float((-0.5 * schedule.log_snr(first)).exp()) if schedule.steps else SMALLEST
    t_0, one = noise_time(schedule, smallest, SMALLEST_NOISE), torch.ones((), dtype=torch.float64)
    start, end = (float(-0.5 * schedule.log_snr(t)) for t in (t_0, one))
    alpha_1, sigma_1 = (float(value) for value in schedule(one))
    widths = 1 if divergence == "exact" else probes
    per_probe = torch.zeros(n, widths, dtype=torch.float64)
    calls = torch.zeros(n, dtype=torch.float64)

    def work(rows: slice) -> None:
        x, told = x_0[rows], take(cond, rows, x_0.device)
        rngs = [stream(seed, "density", index=i) for i in indices(rows, first_index)]
        y, log_q = dequantise(x, rngs, dequantisation, half_bin, smallest)
        e = None if divergence == "exact" else _probes(rngs, probes, d, divergence).to(x.device)
        f = _drift(denoiser, x.shape[1:], x.dtype, e, told, poll)
        z = like(_scale(torch.tensor(start)), y) * y.flatten(1)
        z, gain, made = integrate(f, z, start, end, widths, rtol, atol, most_calls)
        c_0, c_1 = (float(_scale(torch.tensor(at, dtype=torch.float64))) for at in (start, end))
        log_std = math.log(sigma_1 / alpha_1 * c_1)
        prior = -0.5 * (z * math.exp(-log_std)).square().mean(1) - log_std - 0.5 * math.log(2 * math.pi)
        log_p = prior[:, None] + gain + math.log(c_0)
        per_probe[rows] = (log_q[:, None] - log_p.cpu()).double()
        calls[rows] = made.cpu()

    in_batches(n, batch_size, work)
    error = 0.0 if divergence == "exact" else math.nan
    if widths > 1:
        error = float((per_probe.var(1) / widths).mean().sqrt()) / math.sqrt(n)
    return Density(
        per_probe.mean(1),
        error_probes=error,
        calls=calls,
        divergence=divergence if divergence == "exact" else f"{divergence}, {probes} per sample",
        dequantisation=dequantisation,
        smallest=smallest,
        rtol=rtol,
        atol=atol,
        alpha_end=alpha_1,
    )


def integrate(
    f: Drift, z: Tensor, start: float, end: float, widths: int, rtol: float, atol: float, most_calls: int = MOST_CALLS
) -> tuple[Tensor, Tensor, Tensor]:
    """Return z (B, d) at l = `end`, the integrals of the divergences (B, K) and the calls made (B,).

    Each row steps by itself and leaves when it has arrived.
    Raises `UsageError` when a row needs more than `most_calls` calls at these tolerances.
    """
    batch, d = z.shape
    made = 0
    calls = torch.zeros(batch, dtype=torch.float64, device=z.device)

    def slope(rows: Tensor, at: Tensor, state: Tensor) -> tuple[Tensor, None]:
        nonlocal made
        if made == most_calls:
            raise UsageError(
                f"the ODE needs more than {most_calls} network calls at rtol = {rtol:g}, atol = {atol:g}: loosen the "
                "tolerance, or start from a larger smallest noise."
            )
        made += 1
        calls[rows] = made
        return torch.cat(f(rows, at, state[:, :d]), 1), None

    def size(error: Tensor) -> Tensor:
        return torch.maximum(rms(error[:, :d]), error[:, d:].abs().amax(1))

    state = torch.cat([z, torch.zeros(batch, widths, dtype=z.dtype, device=z.device)], 1)
    at = torch.full((batch,), start, dtype=torch.float64, device=z.device)
    step = torch.full((batch,), (end - start) / 50, dtype=torch.float64, device=z.device)
    place = Place(at, state, *slope(torch.arange(batch, device=z.device), at, state), step)
    place = solve(slope, place, torch.full_like(at, end), rtol=rtol, atol=atol, size=size)
    return place.y[:, :d], place.y[:, d:], calls


def _drift(
    denoiser: Denoiser, shape: torch.Size, dtype: torch.dtype, e: Tensor | None, cond: Conditions, poll: Poll | None
) -> Drift:
    """Return f and its divergence per dimension; e are the probes (B, K, d), None for the exact trace."""

    def f(rows: Tensor, at: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        may_stop(poll)
        c = _scale(at)
        t = denoiser.schedule.time(-2 * at)
        alpha, _ = denoiser.schedule(t)
        with torch.enable_grad():
            z = z.detach().requires_grad_()
            x = ((alpha / c)[:, None] * z).to(dtype).reshape(-1, *shape)
            given = {name: value[rows.to(value.device)] for name, value in cond.items()}
            guess = conditioned(denoiser, given)(x, t)
            guess = guess.double().flatten(1)
            if not bool(guess.isfinite().all()):
                raise diverged(f"the denoiser returned NaN or infinity near t = {float(t[0]):g}.")
            d = z.shape[1]
            if e is None:
                trace = torch.zeros(len(z), 1, dtype=torch.float64, device=z.device)
                for j in range(d):
                    trace[:, 0] += torch.autograd.grad(guess[:, j].sum(), z, retain_graph=j + 1 < d)[0][:, j]
            else:
                mine = e[rows]
                traces = [
                    (torch.autograd.grad(guess, z, mine[:, j], retain_graph=j + 1 < mine.shape[1])[0] * mine[:, j]).sum(
                        1
                    )
                    for j in range(mine.shape[1])
                ]
                trace = torch.stack(traces, 1)
        c = c[:, None]
        square = 1.0 if e is None else mine.square().mean(2)  # of a probe, which stands for the trace of I / d
        return (c * (c * z - guess)).detach(), c**2 * square - c * trace / d

    return f


def _scale(at: Tensor) -> Tensor:
    """Return c = 1 / sqrt(1 + u^2) at l = ln u."""
    return torch.exp(-0.5 * torch.nn.functional.softplus(2 * at.double()))


def _probes(rngs: list[np.random.Generator], probes: int, d: int, kind: str) -> Float64[Tensor, " batch probes d"]:
    """Return probes with identity covariance: signs ("rademacher") or normals ("gaussian")."""
    if kind == "gaussian":
        return torch.from_numpy(np.stack([rng.standard_normal((probes, d)) for rng in rngs]))
    return torch.from_numpy(np.stack([2.0 * rng.integers(0, 2, (probes, d)) - 1 for rng in rngs]))


def _check(divergence: str, probes: int, rtol: float, atol: float) -> None:
    if divergence not in DIVERGENCES:
        raise unknown_name("divergence", divergence, DIVERGENCES)
    if probes < 1:
        raise UsageError(f"probes = {probes} is out of range: it must be 1 or more.")
    for name, value in (("rtol", rtol), ("atol", atol)):
        if not 1e-13 <= value <= 0.1:
            raise UsageError(f"{name} = {value:g} is out of range: it must lie between 1e-13 and 0.1.")
