"""The variational bound on -log p(x_0), term by term, for a chain of any length or in continuous time.

The bound of a chain has three terms,

    -log p(x_0) <= KL(q(x_1 | x_0) || p(x_1))                                        prior
                   + sum over steps t -> s > 0 of KL(q(x_s | x_t, x_0) || p(x_s | x_t))     [Ho et al. 2020, eq. 5]
                   - log p(x_0 | x_t) of the step to 0                                 decoder

    p(x_1) = N(0, sigma_1^2),   p(x_s | x_t) = N(posterior mean with x0_hat for x_0, variance)

and each expectation over x_t is estimated with one draw of the noise per term and sample. With the posterior's own
variance (`small`) a step costs (SNR_s - SNR_t) |x_0 - x0_hat|^2 / 2, and in the limit of many steps, for any variance
between `small` and `large`, the sum becomes

    1/2 integral of SNR |x_0 - x0_hat|^2 d ln SNR                                   [Kingma et al. 2021, eqs. 14, 18]

The first step needs care, because the posterior's variance is 0 there. With a fixed variance, `large` included, the
decoder takes the patched value of `Process.reverse_log_variance` with share 0, which is that of the chain's own second
step, whether it is the schedule's chain or a respaced one; a learned variance has a value of its own. In continuous
time the decoder has the variance of x_0 given x_t in places where the density of the data is flat, (sigma / alpha)^2.
"""

import math

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from gendi.diffusion.batches import in_batches, indices
from gendi.diffusion.conditions import Conditions, take
from gendi.diffusion.gaussian.conditioned import conditioned
from gendi.diffusion.gaussian.denoiser import Denoiser, LearnedVariance
from gendi.diffusion.gaussian.likelihood.result import Bound
from gendi.diffusion.gaussian.likelihood.strata import SMALLEST_NOISE, Strata
from gendi.diffusion.gaussian.likelihood.terms import discretised_log_likelihood, gaussian_kl, gaussian_log_density
from gendi.diffusion.gaussian.process import Batch, PerSample, Process, like
from gendi.diffusion.gaussian.schedule import Schedule
from gendi.diffusion.gaussian.schedule.levels import noise_time
from gendi.diffusion.randomness import stream
from gendi.errors import UsageError, diverged, unknown_name
from gendi.machine.stopping import Poll, may_stop

VARIANCES = ("small", "large", "learned")
SMALLEST = 1e-3
"""sigma / alpha of the last level in continuous time: a byte's bin then reaches 3.9 standard deviations each way."""


def prior_kl(schedule: Schedule, x_0: Batch) -> Float64[Tensor, " batch *shape"]:
    """Return KL(q(x_1 | x_0) || N(0, sigma_1^2)) of each element, float64: SNR_1 x_0^2 / 2."""
    alpha, sigma = schedule(torch.ones((), dtype=torch.float64))
    return 0.5 * (like(alpha / sigma, x_0.double()) * x_0.double()).square()


def step_kl(
    denoiser: Denoiser, x_0: Batch, t: PerSample, s: PerSample, eps: Batch, variance: str = "small"
) -> Float64[Tensor, " batch *shape"]:
    """Return KL(q(x_s | x_t, x_0) || p(x_s | x_t)) of each element for 0 < s < t, at x_t = alpha x_0 + sigma eps.

    One call of the denoiser; float64.  [Ho et al. 2020, eq. 5; Nichol & Dhariwal 2021, eq. 15]
    """
    process = Process(denoiser.schedule)
    guess, share = predict(denoiser, process.sample(x_0, t, eps), t, variance)
    error = like(process.posterior_weights(t, s)[1], guess) * (x_0.double() - guess)
    ours, theirs = (process.reverse_log_variance(t, s, which) for which in (0.0, share))
    if isinstance(share, float):
        theirs = like(theirs, error)
    return gaussian_kl(error, like(ours, error), torch.zeros_like(error), theirs)


def snr_loss(denoiser: Denoiser, x_0: Batch, t: PerSample, eps: Batch) -> Float64[Tensor, " batch *shape"]:
    """Return SNR (x_0 - x0_hat)^2 / 2 of each element: the loss per unit of ln SNR.  [Kingma et al. 2021, eq. 18]"""
    process = Process(denoiser.schedule)
    guess, _ = predict(denoiser, process.sample(x_0, t, eps), t, "small")
    snr = denoiser.schedule.log_snr(t).exp()
    return 0.5 * like(snr, guess) * (x_0.double() - guess).square()


def decoder_loss(
    denoiser: Denoiser,
    x_0: Batch,
    t: PerSample,
    eps: Batch,
    half_bin: float | None = None,
    variance: str = "small",
    before: PerSample | None = None,
) -> Float64[Tensor, " batch *shape"]:
    """Return -log p(x_0 | x_t) of each element for the step from t to 0, float64; `before` is the chain's time above t.

    p is the probability of the bin of half-width `half_bin` around x_0, or the density if `half_bin` is None. The
    variance `flat` is that of continuous time, (sigma / alpha)^2.
    """
    process = Process(denoiser.schedule)
    learned = "learned" if variance == "learned" else "small"
    guess, share = predict(denoiser, process.sample(x_0, t, eps), t, learned)
    log_variance = process.reverse_log_variance(t, torch.zeros_like(t), share, before)
    if variance == "flat":
        log_variance = -denoiser.schedule.log_snr(t)
    log_std = 0.5 * (log_variance if log_variance.ndim == guess.ndim else like(log_variance, guess))
    if half_bin is None:
        return -gaussian_log_density(x_0.double(), guess, log_std)
    return -discretised_log_likelihood(x_0.double(), guess, log_std, half_bin)


def finite(answer: Tensor, t: Tensor) -> Tensor:
    """Return a denoiser's answer at the times t. Raises `DivergedError` if it is not finite."""
    if not bool(answer.isfinite().all()):
        raise diverged(f"the denoiser returned NaN or infinity at t from {float(t.min()):g} to {float(t.max()):g}.")
    return answer


def predict(
    denoiser: Denoiser, x_t: Batch, t: PerSample, variance: str
) -> tuple[Float64[Tensor, " batch *shape"], float | Float64[Tensor, " batch *shape"]]:
    """Return E[x_0 | x_t] and the share of the variance, float64.

    Raises `UsageError` for an unknown variance, or `learned` if the denoiser learned none, and `DivergedError` for an
    answer that is not finite.
    """
    if variance == "learned":
        if not isinstance(denoiser, LearnedVariance):
            raise UsageError("variance = 'learned', but this model learned none; choose 'small' or 'large'.")
        guess, share = denoiser.predict(x_t, t)
        finite(guess, t), finite(share, t)
        return guess.double(), share.double()
    if variance not in VARIANCES:
        raise unknown_name("variance", variance, VARIANCES)
    return finite(denoiser(x_t, t), t).double(), 1.0 if variance == "large" else 0.0


@torch.no_grad()
def variational_bound(
    denoiser: Denoiser,
    x_0: Float[Tensor, " n *shape"],
    *,
    times: Float64[Tensor, " times"] | None = None,
    half_bin: float | None = None,
    variance: str = "small",
    draws: int | None = None,
    smallest: float | None = None,
    seed: int = 0,
    first_index: int = 0,
    batch_size: int = 250,
    cond: Conditions | None = None,
    poll: Poll | None = None,
) -> Bound:
    """Return the bound of samples x_0 (n, ...) in model space; a sample's terms do not depend on its neighbours.

    Args:
        denoiser: E[x_0 | x_t].
        times: of the chain, 0 to 1 (see `gendi.diffusion.gaussian.likelihood.strata.chain_times`); by default the
            schedule's own chain, or the limit of many steps for a schedule in continuous time.
        half_bin: half the distance between the values that data take (the codec knows it), None for continuous data.
        variance: "small", "large" or "learned". In the limit of many steps it matters for the decoder of a chain alone.
        draws: number of terms to compute per sample, even; all of them by default. Each of draws / 2 slices of the
            range of t is visited twice, and the spread of the two visits gives `error_t`.
        smallest: in continuous time, sigma / alpha of the last level (1e-3 by default).
        seed, first_index: sample i of x_0 draws from the stream keyed (seed, first_index + i).
        cond: conditions by name, n rows each, for a conditional denoiser.
        poll: called before every network call; raise from it to stop.

    Raises:
        UsageError: there are no samples, draws are odd or below 2, or the variance is unknown or was not learned.
    """
    schedule, n = denoiser.schedule, len(x_0)
    check_data(x_0, half_bin)
    if draws is not None and (draws < 2 or draws % 2):
        raise UsageError(f"draws = {draws} is out of range: it must be an even number, 2 or more.")
    if times is None and schedule.steps is not None:
        times = schedule.grid()
    if times is None:
        strata = Strata.of_range(schedule, SMALLEST if smallest is None else smallest)
        first = noise_time(schedule, SMALLEST if smallest is None else smallest, SMALLEST_NOISE)
    else:
        strata, first = Strata.of_chain(schedule, times), times[1]
    every = draws is None or draws >= len(strata)
    visits = len(strata) if draws is None or every else draws
    values = torch.zeros(3, n, dtype=torch.float64)
    spread = torch.zeros(n, dtype=torch.float64)
    cost = torch.zeros(visits if every else visits // 2, dtype=torch.float64)

    def work(rows: slice) -> None:
        x, known = x_0[rows], conditioned(denoiser, take(cond, rows, x_0.device))
        rngs = [stream(seed, "likelihood", index=i) for i in indices(rows, first_index)]
        plans = [plan(strata, rng, None if every else visits) for rng in rngs]
        stratum, weight = (torch.stack(part) for part in zip(*plans, strict=True))
        found = torch.zeros(len(x), visits, dtype=torch.float64)
        for k in range(visits):
            may_stop(poll)
            i = stratum[:, k]
            if times is None:
                width = strata.log_snr[i] - strata.log_snr[i + 1]
                inside = torch.tensor([rng.random() for rng in rngs], dtype=torch.float64)
                t = schedule.time(strata.log_snr[i] - inside * width)
                term = like(width, x.double()) * snr_loss(known, x, on(x, t), noise(rngs, x))
            else:
                t, s = strata.times[i + 1], strata.times[i]
                term = step_kl(known, x, on(x, t), on(x, s), noise(rngs, x), variance)
            found[:, k] = weight[:, k] * term.flatten(1).mean(1).cpu()
        t = on(x, first.expand(len(x)))
        before = None if times is None or len(times) < 3 else on(x, times[2].expand(len(x)))
        decoder = decoder_loss(known, x, t, noise(rngs, x), half_bin, "flat" if times is None else variance, before)
        values[0, rows] = prior_kl(schedule, x).flatten(1).mean(1).cpu()
        values[1, rows] = found.sum(1)
        values[2, rows] = decoder.flatten(1).mean(1).cpu()
        if every:
            cost.add_(found.sum(0) / n)
        else:
            halves = found.reshape(len(x), 2, -1)
            cost.add_(halves.sum((0, 1)) / n)
            spread[rows] = halves.sum(2).diff(dim=1).squeeze(1)

    in_batches(n, batch_size, work)
    return Bound(
        values[0],
        values[1],
        values[2],
        edges=strata.times if every else strata.slice_edges(visits // 2),
        cost=cost,
        # the two halves a, b of an estimate a + b: the variance of a + b is that of a - b
        error_t=0.0 if every else float(spread.square().mean().sqrt()) / math.sqrt(n),
        calls=visits + 1,
        steps=None if times is None else len(times) - 1,
        variance=variance,
        discretised=half_bin is not None,
        smallest=float((-0.5 * schedule.log_snr(first)).exp()),
    )


def plan(
    strata: Strata, rng: np.random.Generator, visits: int | None
) -> tuple[Int64[Tensor, " visits"], Float64[Tensor, " visits"]]:
    """Return the strata to visit and their weights: all of them, or `visits` in two independent stratified halves."""
    if visits is None:
        return torch.arange(len(strata)), torch.ones(len(strata), dtype=torch.float64)
    halves = [strata.draw(rng, visits // 2) for _ in range(2)]
    return torch.cat([i for i, _ in halves]), torch.cat([w for _, w in halves]) / 2


def noise(rngs: list[np.random.Generator], x: Tensor) -> Tensor:
    """Return standard normal noise of x's shape, dtype and device, row j from stream j."""
    rows = [rng.standard_normal(x.shape[1:]) for rng in rngs]
    return torch.from_numpy(np.stack(rows)).to(x)


def on(x: Tensor, t: Tensor) -> Tensor:
    """Return the times t on x's device."""
    return t.to(x.device)


def check_data(x_0: Tensor, half_bin: float | None) -> None:
    """Raise `UsageError` unless there are samples, all finite, and within [-1, 1] if they stand for bytes."""
    if len(x_0) < 1:
        raise UsageError("there are no samples to compute a likelihood of; n must be 1 or more.")
    if not bool(x_0.isfinite().all()):
        raise UsageError("the samples contain NaN or infinity.")
    if half_bin is not None and float(x_0.abs().max()) > 1 + half_bin:
        low, high = float(x_0.min()), float(x_0.max())
        raise UsageError(
            f"the samples reach from {low:g} to {high:g}; images in model space lie in [-1, 1]. Encode them with the "
            "model's codec."
        )
