"""Predictor-corrector sampling: step down in time, then let Langevin dynamics settle at the new time."""

from collections.abc import Iterator

from torch import Tensor

from gendi.diffusion.gaussian.denoiser import Denoiser
from gendi.diffusion.gaussian.process import Process, like, score_from_x0
from gendi.diffusion.gaussian.samplers.state import Noise, State, pairs
from gendi.errors import UsageError, unknown_name

PREDICTORS = ("ancestral", "reverse-diffusion")


def intervals(calls: int) -> int:
    """Return the number of steps for `calls` network calls if all interior times, or all but one, are corrected."""
    return calls // 2 + 1


def predictor_corrector(
    denoiser: Denoiser,
    x: Tensor,
    times: Tensor,
    noise: Noise,
    *,
    predictor: str = "ancestral",
    snr: float = 0.16,
    calls: int | None = None,
) -> Iterator[State]:
    """Sample by a predictor to every time and a Langevin step at every interior time.

    [Song et al. 2021 (SDE), algorithms 1-5]. The predictors from t to s, with a = alpha_t / alpha_s and v the variance
    of q(x_t | x_s), are

        ancestral             (x_t + v score) / a + sqrt(beta-tilde) noise        [Ho et al. 2020; their eq. 47 for VE]
        reverse-diffusion     (2 - a) x_t + v score + sqrt(v) noise                                     [their eq. 46]

    The corrector at s is x + step score + sqrt(2 step) noise. The paper has step = 2 a_s^2 (snr |noise| / |score|)^2,
    with norms averaged over the batch, and a_s^2 = 1 - beta of the next step of the grid, from s down [algorithm 5;
    algorithm 4 has no such factor, and for a schedule that explodes it is 1]. Here |noise|^2 is replaced by its mean d,
    and |score|^2 by its mean d / sigma^2 under q(x_s | x_0), so the step is 2 (a_s snr sigma)^2 for every sample,
    whatever its neighbours. The step to s = 0 returns x0_hat, uncorrected. noise(2 k) drives predictor k, and
    noise(2 k + 1) the corrector after it.

    A Langevin step keeps no marginal exactly: many of them leave a variance v at v / (1 - step / 2 v), however fine the
    grid, which is snr^2 sigma^2 / v too much. So the error does not vanish with the steps unless snr does.

    K steps take 2 K - 1 calls. With fewer `calls`, at least K, the correctors at the first times are left out. Raises
    `UsageError` for another number of calls, for an unknown predictor, and unless 0 <= snr < 1.
    """
    if predictor not in PREDICTORS:
        raise unknown_name("predictor", predictor, PREDICTORS)
    if not 0 <= snr < 1:
        raise UsageError(f"snr = {snr:g} is out of range: at least 0 (which corrects nothing) and below 1.")
    process, schedule, steps = Process(denoiser.schedule), denoiser.schedule, len(times) - 1
    calls = 2 * steps - 1 if calls is None else calls
    if not steps <= calls <= 2 * steps - 1:
        raise UsageError(f"{steps} steps cannot make {calls} calls: they make {steps} to {2 * steps - 1}.")
    first = 2 * steps - 1 - calls  # the first step that is corrected
    visits = list(pairs(times))
    for k, (t, s) in enumerate(visits):
        x_0 = denoiser(x, t)
        if s == 0:
            yield State(t, s, x_0, x_0)
            continue
        if predictor == "ancestral":
            x, variance = process.posterior(x, x_0, t, s)
        else:
            a, variance = process.transition(t, s)
            x = like(2 - a, x) * x + like(variance, x) * score_from_x0(x, x_0, *schedule(t))
        x = x + like(variance.sqrt(), x) * noise(2 * k)
        if first <= k < steps - 1:
            alpha, sigma = schedule(s)
            score = score_from_x0(x, denoiser(x, s), alpha, sigma)
            kept, _ = process.transition(s, visits[k + 1][1])  # sqrt(1 - beta) of the next step
            step = 2 * (kept * snr * sigma) ** 2
            x = x + like(step, x) * score + like((2 * step).sqrt(), x) * noise(2 * k + 1)
        yield State(t, s, x, x_0)
