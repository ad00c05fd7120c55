"""The probability-flow ODE to a tolerance: Dormand and Prince's 5(4), with steps of its own for every sample.

The variable is the angle theta of `angle`: du / dtheta = -s F, where u and F are of the data's size from pure noise to
data and nothing is stiff or infinite. The integrator goes upwards, so its position is -theta. The samples of a batch
share calls but nothing else: each has its own angle, its own step and its own error, so a sample is the same whatever
its neighbours are, and waits when it is done.
"""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from gendi.diffusion.gaussian.denoiser import Denoiser
from gendi.diffusion.gaussian.dormand_prince import Place, solve
from gendi.diffusion.gaussian.process import like
from gendi.diffusion.gaussian.samplers.angle import angle, check_spread
from gendi.diffusion.gaussian.samplers.state import Noise, State, pairs
from gendi.diffusion.gaussian.schedule import Schedule
from gendi.errors import UsageError, diverged

FIRST = 0.05
"""The first step tried, in radians."""
BLOWN_UP = 1e4
"""An x0_hat above so many standard deviations of the data is no answer of a trained network."""
LOWEST = 0.002
"""sigma / alpha, in units of the data's size, at which a solution to s = 0 stops: there F is 0 / 0. A chain stops at
its first time, below which its network knows nothing."""


def dopri5(
    denoiser: Denoiser,
    x: Tensor,
    times: Tensor,
    noise: Noise,
    *,
    calls: int | None = None,
    rtol: float = 1e-3,
    atol: float = 1e-3,
    spread: float = 1.0,
) -> Iterator[State]:
    """Solve to `times` in turn, each reached exactly, with errors per step below atol + rtol |u| (root mean square).

    A step has 6 calls, refused or not, and the first one more. From the lowest level the last bit to s = 0 is one of
    first order in cos(theta), without a call, which errs by the fourth power of that level.

    Args:
        calls: the greatest number, for the sample that needs most; no limit by default.
        rtol, atol: tolerances, relative and absolute, in model space.
        spread: root mean square of the data in model space: a scale, not an assumption.

    Raises:
        UsageError: more calls than allowed, tolerances that are not positive or below the round-off of x's dtype, a
            spread that is not positive.
        DivergedError: more calls than allowed, since the denoiser's answers are far from all data.
    """
    check_spread(spread)
    if not (0 < rtol < math.inf and 0 < atol < math.inf):
        raise UsageError(f"tolerances must be above 0; got rtol = {rtol:g}, atol = {atol:g}.")
    if rtol + atol < 10 * torch.finfo(x.dtype).eps:
        raise UsageError(f"rtol = {rtol:g} and atol = {atol:g} are below the round-off of {x.dtype}.")
    schedule, visits = denoiser.schedule, list(pairs(times))
    t = visits[0][0].expand(len(x))
    cos, sin, scale = angle(schedule, t, spread)
    theta, u = torch.atan2(sin, cos), like(scale, x) * x
    left, last = math.inf if calls is None else calls, x

    def slope(theta: Tensor, t: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        """Return du / d(-theta) = sin(theta) mu and x0_hat at the angle of t."""
        nonlocal left, last
        if left < 1:
            if float(last.abs().max()) > BLOWN_UP * max(1.0, spread):
                raise diverged(f"the denoiser returned values up to {float(last.abs().max()):.3g}, far from all data.")
            raise UsageError(
                f"the tolerance rtol = {rtol:g}, atol = {atol:g} takes more than the {calls} calls allowed, which "
                f"reached t = {t.max().item():.3g}. Allow more calls (steps), or a greater tolerance."
            )
        left -= 1
        x_t = like(schedule(t)[0] / theta.cos(), u) * u
        x_0 = last = denoiser(x_t, t)
        return like(1 / theta.sin(), u) * (x_0 - like(theta.cos(), u) * u), x_0

    def f(rows: Tensor, position: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        theta = -position
        return slope(theta, schedule.time(-2 * (spread * theta.tan()).log()), u)

    place = Place(-theta, u, *slope(theta, t, u), torch.full_like(theta, FIRST))
    for begin, end in visits:
        goal = end if end > 0 else _lowest(schedule, spread, begin)
        cos, sin, _ = angle(schedule, goal, spread)
        place = solve(f, place, -torch.atan2(sin, cos), rtol=rtol, atol=atol, together=True)
        assert place.found is not None
        x_0 = place.found
        if end > 0:
            alpha, _ = schedule(end)
            x = like(alpha / cos, place.y) * place.y
        else:
            x = (x_0 + place.y) / like(1 + cos, x_0)  # u + (1 - cos) mu
        yield State(begin, end, x, x_0)


def _lowest(schedule: Schedule, spread: float, begin: Tensor) -> Tensor:
    if schedule.steps is not None:
        return torch.minimum(torch.tensor(1 / schedule.steps, dtype=torch.float64), begin)
    return torch.minimum(schedule.time(torch.tensor(-2 * math.log(LOWEST * spread), dtype=torch.float64)), begin)
