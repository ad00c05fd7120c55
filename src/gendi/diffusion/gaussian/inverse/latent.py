"""Pictures between two pictures, by way of the noise that the probability-flow ODE carries them to.

    interpolate    carries both to t = 1, where they are nearly N(0, sigma_1^2 I), moves along the sphere between them,
                   and follows the ODE back
    mix            carries both to a time in between, takes the content of one and the detail of the other, and follows
                   the ODE back

At time t the ODE's x_t = alpha x0_hat + sigma eps_hat has two parts. x0_hat = E[x_0 | x_t] is what is decided at that
noise level, the content; eps_hat decides the rest, the detail. The higher the level, the less is content. Contents are
mixed along the straight line, and noises along the great circle, which keeps their length:

    slerp(a, b, w) = sin((1 - w) theta) / sin(theta) a + sin(w theta) / sin(theta) b            [Shoemake 1985]

with theta the angle between a and b.
"""

import torch
from torch import Tensor

from gendi.diffusion.gaussian.denoiser import Denoiser
from gendi.diffusion.gaussian.process import Batch, PerSample, eps_from_x0, like
from gendi.diffusion.gaussian.sde import from_noise, to_noise
from gendi.errors import UsageError

STEPS = 50
"""Steps of Heun's method in each direction."""


def slerp(a: Batch, b: Batch, weight: PerSample) -> Batch:
    """Return the point at `weight` (0 is a, 1 is b) of the great circle from a to b (B, ...), row by row.

    Rows that point in the same direction, or in opposite ones, are mixed along the line.  [Shoemake 1985]
    """
    flat_a, flat_b = a.flatten(1).double(), b.flatten(1).double()
    cosine = torch.nn.functional.cosine_similarity(flat_a, flat_b, dim=1).clamp(-1, 1)
    theta, w = cosine.acos(), weight.double().to(a.device).expand(len(a))
    straight = theta.sin() < 1e-6
    of_a = torch.where(straight, 1 - w, ((1 - w) * theta).sin() / theta.sin())
    of_b = torch.where(straight, w, (w * theta).sin() / theta.sin())
    return like(of_a, a) * a + like(of_b, b) * b


@torch.inference_mode()
def interpolate(denoiser: Denoiser, a: Batch, b: Batch, weights: PerSample, *, steps: int = STEPS) -> Batch:
    """Return pictures between a and b (B, ...): row i at weights[i] of the way; weights (B,) or () lie in [0, 1].

    The ends are a and b within the solver's tolerance (see `gendi.diffusion.gaussian.sde.from_noise`). Costs 4 `steps`
    calls for the two ways up and 2 `steps` for the way down, of B rows each. Raises `UsageError` for weights outside
    [0, 1], and as `to_noise` does.
    """
    _in_unit("weight", weights)
    noises = [to_noise(denoiser, x, steps) for x in (a, b)]
    return from_noise(denoiser, slerp(noises[0], noises[1], weights), steps)


@torch.inference_mode()
def mix(
    denoiser: Denoiser,
    a: Batch,
    b: Batch,
    weight: float | PerSample,
    detail: float | PerSample | None = None,
    *,
    level: float = 0.5,
    steps: int = STEPS,
) -> Batch:
    """Return a picture with the content of a and b mixed by `weight`, and their detail by `detail`.

        x_t = alpha ((1 - weight) x0_hat_a + weight x0_hat_b) + sigma slerp(eps_hat_a, eps_hat_b, detail)

    at t = `level`, from where the ODE is followed to the data. Both at 0 return a and both at 1 return b, within the
    solver's tolerance; weight = 0 and detail = 1 is the content of a with the detail of b.

    Args:
        denoiser: E[x_0 | x_t].
        a, b: data (B, ...).
        weight, detail: () or (B,) in [0, 1]; detail is weight by default.
        level: the time in (0, 1] at which they are mixed. Near 0 the pictures are laid over each other, near 1 the
            noises are.
        steps: steps of the ODE, each way.

    Raises:
        UsageError: a weight, a detail or a level is out of range, and as `to_noise` does.
    """
    of_b = torch.as_tensor(weight, dtype=torch.float64)
    of_b_noise = of_b if detail is None else torch.as_tensor(detail, dtype=torch.float64)
    _in_unit("weight", of_b)
    _in_unit("detail", of_b_noise)
    if not 0 < level <= 1:
        raise UsageError(f"level = {level:g} is out of range: it must be above 0 and at most 1.")
    t = torch.tensor(on_chain(denoiser, level), dtype=torch.float64)
    alpha, sigma = denoiser.schedule(t)
    content, noises = [], []
    for x in (a, b):
        x_t = to_noise(denoiser, x, steps, end=float(t))
        content.append(denoiser(x_t, t))
        noises.append(eps_from_x0(x_t, content[-1], alpha, sigma))
    w, eps = like(of_b, a), slerp(noises[0], noises[1], of_b_noise)
    x_t = like(alpha, a) * ((1 - w) * content[0] + w * content[1]) + like(sigma, a) * eps
    return from_noise(denoiser, x_t, steps, end=float(t))


def on_chain(denoiser: Denoiser, t: float) -> float:
    """Return t or, on a chain, the nearest of the times 1 / T, 2 / T, ... that its network was trained at."""
    steps = denoiser.schedule.steps
    return t if steps is None else max(1, round(t * steps)) / steps


def _in_unit(name: str, value: Tensor) -> None:
    if not bool(((value >= 0) & (value <= 1)).all()):
        raise UsageError(f"{name} = {value.tolist()} is out of range: it must lie between 0 and 1.")
