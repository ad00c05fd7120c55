"""Between two pictures: through the noise that the probability-flow ODE carries them to.

    interpolate    x_1 of each at the end of time, N(0, sigma_1^2 I) nearly; on the sphere between them; and back
    mix            x_t of each at a level between; the content of one with the detail of the other; and back

At a level t the ODE's x_t = alpha x0_hat + sigma eps_hat has two parts: x0_hat = E[x_0 | x_t], what is settled at that
noise (the content), and eps_hat, from which the rest will be made (the detail). The higher the level, the less is
content. Noise is mixed along the great circle, which keeps it as long as noise is:

    slerp(a, b, w) = sin((1 - w) theta) / sin(theta) a + sin(w theta) / sin(theta) b            [Shoemake 1985]

with theta the angle between a and b, and x0_hat along the straight line.
"""

import torch
from torch import Tensor

from gendi.diffusion.gaussian.denoiser import Denoiser
from gendi.diffusion.gaussian.process import Batch, PerSample, eps_from_x0, like
from gendi.diffusion.gaussian.sde import from_noise, to_noise
from gendi.errors import UsageError

STEPS = 50
"""Of Heun's method, one way."""


def slerp(a: Batch, b: Batch, weight: PerSample) -> Batch:
    """Return the point at `weight` (0 is a, 1 is b) of the great circle from a to b (B, ...), row by row; on the line
    where they point the same way, or opposite ways.  [Shoemake 1985]
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
    calls for the ways up and 2 for the way down, of B rows each. Raises `UsageError` for weights outside [0, 1], and as
    `to_noise` does.
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

    at t = `level`, from where the ODE is followed to the data. weight = detail = 0 is a and 1 is b, within the solver's
    tolerance; weight = 0 and detail = 1 is the content of a with the detail of b.

    Args:
        a, b: data (B, ...).
        weight, detail: () or (B,) in [0, 1]; detail is weight by default.
        level: time in (0, 1] at which they are mixed: near 0 pictures are laid over each other, near 1 noises are.
        steps: of the ODE, each way.

    Raises:
        UsageError: a weight, a detail or a level out of range, and as `to_noise` does.
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
    """Return t, or on a chain the nearest time that its network was trained at, 1 / T or later."""
    steps = denoiser.schedule.steps
    return t if steps is None else max(1, round(t * steps)) / steps


def _in_unit(name: str, value: Tensor) -> None:
    if not bool(((value >= 0) & (value <= 1)).all()):
        raise UsageError(f"{name} = {value.tolist()} is out of range: it must lie between 0 and 1.")
