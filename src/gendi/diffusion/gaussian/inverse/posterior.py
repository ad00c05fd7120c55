"""From E[x_0 | x_t] to E[x_0 | x_t, y] for a measurement y = A x_0 + s n, n ~ N(0, I): inverse problems.

Bayes' rule for the score and Tweedie's formula give E[x_0 | x_t, y] = x0_hat + sigma^2 / alpha grad log q(y | x_t). If
x_0 given x_t is taken to be N(x0_hat, V), then y given x_t is N(A x0_hat, s^2 I + A V A^T), and, with V held fixed
under the gradient and J the Jacobian of x0_hat in x_t,

    E[x_0 | x_t, y] = x0_hat + sigma^2 / alpha J^T A^T (s^2 I + A V A^T)^-1 (y - A x0_hat).

What V is makes the method:

    MMPS     V = sigma^2 / alpha J^T, the covariance itself (Tweedie's second formula)       [Rozet et al. 2024]
    PiGDM    V = r^2 I, with r^2 = sigma^2 d^2 / (alpha^2 d^2 + sigma^2)                     [Song et al. 2023 (PiGDM)]
    DPS      V = 0, and a step of fixed length in place of 1 / s^2                           [Chung et al. 2023 (DPS)]

MMPS is exact for x_0 ~ N(m, C), and PiGDM for x_0 ~ N(m, d^2 I). The system is solved by conjugate gradients, which ask
for products with A V A^T alone: in MMPS each is one backward pass. All are denoisers, for any sampler; a learned
variance stays that of the denoiser they hold. Gradients are taken here, under `torch.inference_mode` too.
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
"""Maps a batch to a linear map of each row."""


def conjugate_gradients(
    product: Product, b: Tensor, iterations: int, tolerance: float = 1e-6
) -> Float[Tensor, " batch *shape"]:
    """Solve M u = b for each row of b (B, ...), M symmetric and positive, by `product` u -> M u.  [Hestenes & Stiefel
    1952]

    A row is left where it is once its residual is `tolerance` of b's, or where M shows a direction that is not
    positive, which the Jacobian of a network may.
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
    """What the methods share: A, y and s, and the gradient.

    Args:
        denoiser: E[x_0 | x_t], differentiable in x_t.
        operator: A.
        y: what was measured, (1, *y_shape) for all rows or one each.
        std: s, the standard deviation of y's noise, 0 or more, in the units of y.
        clip: bounds the answer to [-clip, clip] (1 for pixels, where a mean lies); None leaves it free.

    Raises:
        UsageError: a deviation below 0 or not finite, y that is not finite; and when called, y of another shape than
            A x, or a denoiser that passes no gradient on.
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
        """Return sigma^2 / alpha, to multiply x with."""
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
        iterations: of conjugate gradients, at most; each costs a backward pass. As many as y has entries are exact.
        tolerance: the residual, as a share of y - A x0_hat, at which they stop.

    Raises:
        UsageError: as `Posterior`, and iterations below 1.
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
        iterations: of conjugate gradients, at most; they cost no backward pass.

    Raises:
        UsageError: as `Posterior`, and a spread that is not above 0.
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

    The paper moves x_s, after each step of its chain, by -zeta grad |y - A x0_hat|^2 / |y - A x0_hat|. A step from t
    to s = t - 1/T takes x0_hat with the weight w_0 of q(x_s | x_t, x_0), so the same in x0-form is

        x0_hat + 2 zeta / w_0 J^T A^T (y - A x0_hat) / |y - A x0_hat|,

    the algorithm to the letter for `ancestral` on all T steps (in continuous time, T = 1000), and for any other sampler
    as strong in all. It needs hundreds of steps, and knows nothing of s.

    Args:
        denoiser, operator, y, clip: see `Posterior`.
        std: not used: the method has no place for it.
        zeta: length of a step, above 0; the paper has 0.3 to 1 for pictures of 256 x 256 x 3.

    Raises:
        UsageError: as `Posterior`, and a zeta that is not above 0.
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
