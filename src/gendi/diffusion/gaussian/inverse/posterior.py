"""From E[x_0 | x_t] to E[x_0 | x_t, y] for a measurement y = A x_0 + s n, n ~ N(0, I): inverse problems.

Bayes' rule for the score and Tweedie's formula give

    E[x_0 | x_t, y] = x0_hat + sigma^2 / alpha grad log q(y | x_t).

Suppose that x_0 given x_t is N(x0_hat, V). Then y given x_t is N(A x0_hat, s^2 I + A V A^T) and, with V held fixed
under the gradient and J the Jacobian of x0_hat in x_t,

    E[x_0 | x_t, y] = x0_hat + sigma^2 / alpha J^T A^T (s^2 I + A V A^T)^-1 (y - A x0_hat).

The methods differ in V:

    MMPS     V = sigma^2 / alpha J^T, the covariance itself (Tweedie's second formula)       [Rozet et al. 2024]
    PiGDM    V = r^2 I, with r^2 = sigma^2 d^2 / (alpha^2 d^2 + sigma^2)                     [Song et al. 2023 (PiGDM)]
    DPS      V = 0, and a step of fixed length in place of 1 / s^2                           [Chung et al. 2023 (DPS)]

MMPS is exact for x_0 ~ N(m, C), and PiGDM for x_0 ~ N(m, d^2 I). The system is solved by conjugate gradients, which
need only products with A V A^T; in MMPS each product is one backward pass. All methods are denoisers, for any sampler,
and a learned variance stays that of the denoiser they hold. They enable gradients themselves, also under
`torch.inference_mode`.
"""

import math
from abc import abstractmethod
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from gendi.diffusion.conditions import Conditions
from gendi.diffusion.gaussian.denoiser import Denoiser
from gendi.diffusion.gaussian.guidance.base import Answer, Guided, answer_of
from gendi.diffusion.gaussian.inverse.operators import Operator
from gendi.diffusion.gaussian.process import Process, like
from gendi.diffusion.gaussian.samplers.grid import CHAIN
from gendi.errors import UsageError

Product = Callable[[Tensor], Tensor]
"""Applies a linear map to each row of a batch."""


def conjugate_gradients(
    product: Product, b: Tensor, iterations: int, tolerance: float = 1e-6
) -> Float[Tensor, " batch *shape"]:
    """Return u with M u = b for each row of b (B, ...).  [Hestenes & Stiefel 1952]

    A row stops once its residual is below `tolerance` times the length of b, or at a direction along which M is not
    positive, which happens if M comes from the Jacobian of a network.

    Args:
        product: maps u to M u, where M is symmetric and positive.
        b: right-hand sides (B, ...).
        iterations: the greatest number of iterations.
        tolerance: the residual at which to stop, as a share of b.
    """
    u, residual, direction = torch.zeros_like(b), b, b
    size = _dot(b, b)
    goal = tolerance**2 * size
    for _ in range(iterations):
        if not bool((size > goal).any()):
            break
        image = product(direction)
        curvature = _dot(direction, image)
        going = (size > goal) & (curvature > 0)
        step = like(torch.where(going, size / curvature, 0), b)
        u, residual = u + step * direction, residual - step * image
        new = _dot(residual, residual)
        direction = residual + like(torch.where(going, new / size, 0), b) * direction
        size = torch.where(going, new, 0)
    return u


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).flatten(1).sum(1)


class Posterior(Guided):
    """The denoiser E[x_0 | x_t, y]: what the methods share, which is A, y, s and the gradient.

    Args:
        denoiser: E[x_0 | x_t], differentiable in x_t.
        operator: A.
        y: the measurement, (1, *y_shape) for all rows or one per row.
        std: s, the standard deviation of y's noise, 0 or more, in the units of y.
        clip: bounds the answer to [-clip, clip] (1 for pixels, whose mean lies there); None leaves it unbounded.

    Raises:
        UsageError: the deviation is below 0 or not finite, or y is not finite; in a call, y has another shape than A x,
            or the denoiser passes no gradient on.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        operator: Operator,
        y: Float[Tensor, " rows *y_shape"],
        std: float,
        *,
        clip: float | None = None,
    ) -> None:
        super().__init__(denoiser)
        if not 0 <= std < math.inf:
            raise UsageError(f"the measurement's noise must be 0 or more; got a standard deviation of {std:g}.")
        if not bool(y.isfinite().all()):
            raise UsageError("the measurement contains NaN or infinity.")
        self.operator, self.y, self.std, self.clip = operator, y, std, clip

    def _answer(self, x_t: Tensor, t: Tensor, cond: Conditions) -> Answer:
        self._check(x_t)
        with torch.inference_mode(False), torch.enable_grad():
            x, t = x_t.detach().clone().requires_grad_(), t.clone()
            answer = answer_of(self.denoiser, x, t, {name: value.clone() for name, value in cond.items()})
            x_0 = answer.x_0
            if not x_0.requires_grad:
                raise UsageError("the denoiser passes no gradient from its answer back to x_t.")

            def pull(v: Tensor) -> Tensor:
                """Return J^T v."""
                return torch.autograd.grad(x_0, x, v, retain_graph=True)[0]

            with torch.no_grad():
                shift = self._shift(self.y.clone().to(x) - self.operator(x_0), x, t, pull)
        x_0 = x_0.detach() + shift
        if self.clip is not None:
            x_0 = x_0.clamp(-self.clip, self.clip)
        return Answer(x_0, None if answer.share is None else answer.share.detach())

    @abstractmethod
    def _shift(self, residual: Tensor, x: Tensor, t: Tensor, pull: Product) -> Tensor:
        """Return E[x_0 | x_t, y] - x0_hat from y - A x0_hat; x is x_t."""

    def _gain(self, x: Tensor, t: Tensor) -> Tensor:
        """Return sigma^2 / alpha, shaped to multiply x."""
        alpha, sigma = self.schedule(t)
        return like(sigma**2 / alpha, x)

    def _solve(self, residual: Tensor, covariance: Product, iterations: int, tolerance: float) -> Tensor:
        """Return A^T (s^2 I + A V A^T)^-1 residual."""

        def product(u: Tensor) -> Tensor:
            return self.std**2 * u + self.operator(covariance(self.operator.adjoint(u)))

        return self.operator.adjoint(conjugate_gradients(product, residual, iterations, tolerance))

    def _check(self, x_t: Tensor) -> None:
        expected = self.operator.y_shape(tuple(x_t.shape[1:]))
        if tuple(self.y.shape[1:]) != expected or len(self.y) not in (1, len(x_t)):
            raise UsageError(
                f"the measurement has shape {tuple(self.y.shape)}; for samples {tuple(x_t.shape)} it must be "
                f"{(1, *expected)} or {(len(x_t), *expected)}."
            )


class MMPS(Posterior):
    """Moment matching posterior sampling.  [Rozet et al. 2024, section 3]

    Args:
        denoiser, operator, y, std, clip: see `Posterior`.
        iterations: the greatest number of iterations of conjugate gradients. Each costs a backward pass, and as many as
            y has entries give the exact solution.
        tolerance: the residual at which they stop, as a share of y - A x0_hat.

    Raises:
        UsageError: as `Posterior`; iterations are below 1.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        operator: Operator,
        y: Float[Tensor, " rows *y_shape"],
        std: float,
        *,
        clip: float | None = None,
        iterations: int = 3,
        tolerance: float = 1e-6,
    ) -> None:
        super().__init__(denoiser, operator, y, std, clip=clip)
        if iterations < 1:
            raise UsageError(f"iterations = {iterations} is out of range: conjugate gradients need 1 or more.")
        self.iterations, self.tolerance = iterations, tolerance

    def _shift(self, residual: Tensor, x: Tensor, t: Tensor, pull: Product) -> Tensor:
        gain = self._gain(x, t)

        def covariance(v: Tensor) -> Tensor:
            return gain * pull(v)

        return covariance(self._solve(residual, covariance, self.iterations, self.tolerance))


class PiGDM(Posterior):
    """Pseudoinverse-guided diffusion.  [Song et al. 2023 (PiGDM), eqs. 6-8]

    Args:
        denoiser, operator, y, std, clip: see `Posterior`.
        spread: d, the standard deviation of the data, above 0.
        iterations: the greatest number of iterations of conjugate gradients, which cost no backward pass.

    Raises:
        UsageError: as `Posterior`; the spread is not above 0.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        operator: Operator,
        y: Float[Tensor, " rows *y_shape"],
        std: float,
        *,
        clip: float | None = None,
        spread: float = 1.0,
        iterations: int = 100,
    ) -> None:
        super().__init__(denoiser, operator, y, std, clip=clip)
        if not 0 < spread < math.inf:
            raise UsageError(f"spread = {spread:g} is out of range: the data's standard deviation must be above 0.")
        self.spread, self.iterations = spread, iterations

    def _shift(self, residual: Tensor, x: Tensor, t: Tensor, pull: Product) -> Tensor:
        alpha, sigma = self.schedule(t)
        variance = like((sigma * self.spread) ** 2 / ((alpha * self.spread) ** 2 + sigma**2), x)
        return self._gain(x, t) * pull(self._solve(residual, lambda v: variance * v, self.iterations, 1e-6))


class DPS(Posterior):
    """Diffusion posterior sampling.  [Chung et al. 2023 (DPS), algorithm 1]

    After each step of its chain the paper moves x_s by -zeta grad |y - A x0_hat|^2 / |y - A x0_hat|. A step from t to
    s = t - 1/T takes x0_hat with the weight w_0 of q(x_s | x_t, x_0), so the same correction in x0-form is

        x0_hat + 2 zeta / w_0 J^T A^T (y - A x0_hat) / |y - A x0_hat|.

    With `ancestral` on all T steps (in continuous time, T = 1000) this is the paper's algorithm; with another sampler
    the total correction is as strong. The method needs hundreds of steps, and does not use s.

    Args:
        denoiser, operator, y, clip: see `Posterior`.
        std: ignored, because the method does not use it.
        zeta: length of a step, above 0; the paper has 0.3 to 1 for pictures of 256 x 256 x 3.

    Raises:
        UsageError: as `Posterior`; zeta is not above 0.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        operator: Operator,
        y: Float[Tensor, " rows *y_shape"],
        std: float = 0.0,
        *,
        clip: float | None = None,
        zeta: float = 0.3,
    ) -> None:
        super().__init__(denoiser, operator, y, std, clip=clip)
        if not 0 < zeta < math.inf:
            raise UsageError(f"zeta = {zeta:g} is out of range: a step must have a length above 0.")
        self.zeta = zeta

    def _shift(self, residual: Tensor, x: Tensor, t: Tensor, pull: Product) -> Tensor:
        before = (t.double() - 1 / (self.schedule.steps or CHAIN)).clamp(min=0)
        _, w_0, _ = Process(self.schedule).posterior_weights(t.double(), before)
        length = like(_dot(residual, residual).sqrt().clamp(min=1e-12), x)
        return like(2 * self.zeta / w_0, x) * pull(self.operator.adjoint(residual / length))


POSTERIORS: dict[str, type[Posterior]] = {"mmps": MMPS, "pigdm": PiGDM, "dps": DPS}
"""The methods by name."""
