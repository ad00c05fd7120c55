"""Linear measurements y = A x and their adjoints A^T, with <A x, y> = <x, A^T y>.

    Mask        the known values, and 0 elsewhere                 A^T = A
    Pool        means of f x f blocks                             each mean back over its block, divided by f^2
    Blur        G_H x G_W^T, a Gaussian along each axis           G_H^T y G_W
    Function    a user's own linear function                      by differentiation

Everything runs in the dtype of its argument. The batch comes first: x is (B, *shape) and y is (B, *y_shape(shape)).
"""

import math
from collections.abc import Callable
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from gendi.diffusion.gaussian.process import Batch
from gendi.errors import UsageError


@runtime_checkable
class Operator(Protocol):
    """A linear map A of each sample of a batch, and its transpose."""

    def __call__(self, x: Tensor) -> Tensor:
        """Return A x, (B, *y_shape), of x (B, *shape). Raises `UsageError` for a shape that A does not take."""
        ...

    def adjoint(self, y: Tensor) -> Tensor:
        """Return A^T y, (B, *shape), of y (B, *y_shape)."""
        ...

    def y_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of one y for one x of `shape`. Raises `UsageError` for a shape that A does not take."""
        ...


class Mask:
    """Keeps the known values and sets the rest to 0.

    Args:
        known: which values are known, of the shape of one sample or one that broadcasts to it, such as (H, W) for
            pictures.

    Raises:
        UsageError: nothing is known, or everything is.
    """

    def __init__(self, known: Bool[Tensor, "*shape"]) -> None:
        if bool(known.all()) or not bool(known.any()):
            which = "nothing is unknown" if bool(known.all()) else "nothing is known"
            raise UsageError(f"a mask must leave something known and something unknown; here {which}.")
        self.known = known

    def __call__(self, x: Batch) -> Batch:
        """Return x where it is known and 0 elsewhere."""
        self.y_shape(tuple(x.shape[1:]))
        return torch.where(self.known.to(x.device), x, 0)

    def adjoint(self, y: Batch) -> Batch:
        """Return y where it is known and 0 elsewhere."""
        return self(y)

    def y_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return `shape` itself. Raises `UsageError` unless the mask broadcasts to it."""
        own = tuple(self.known.shape)
        fits = len(own) <= len(shape) and all(a in (1, b) for a, b in zip(reversed(own), reversed(shape), strict=False))
        if not fits:
            raise UsageError(f"a mask of shape {own} does not fit samples of shape {shape}.")
        return shape


class Pool:
    """Means of f x f blocks of pixels: what a camera with larger pixels sees.

    Args:
        factor: f, 2 or more.

    Raises:
        UsageError: the factor is below 2; in a call, it does not divide height and width.
    """

    def __init__(self, factor: int) -> None:
        if factor < 2:
            raise UsageError(f"factor = {factor} is out of range: it must be a whole number, 2 or more.")
        self.factor = factor

    def __call__(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h_f w_f"]:
        """Return the means of the blocks."""
        _, h, w = self.y_shape(tuple(x.shape[1:]))
        return x.reshape(*x.shape[:2], h, self.factor, w, self.factor).mean((3, 5))

    def adjoint(self, y: Float[Tensor, "b c h_f w_f"]) -> Float[Tensor, "b c h w"]:
        """Return a picture in which each block holds its value of y, divided by f^2."""
        return y.repeat_interleave(self.factor, 2).repeat_interleave(self.factor, 3) / self.factor**2

    def y_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return (C, H / f, W / f). Raises `UsageError` unless f divides both."""
        if len(shape) != 3 or shape[1] % self.factor or shape[2] % self.factor:
            raise UsageError(
                f"factor = {self.factor} does not divide height and width: these samples have shape {shape}."
            )
        return shape[0], shape[1] // self.factor, shape[2] // self.factor


class Blur:
    """A Gaussian blur along height and along width. Its weights sum to 1 at the border too, so grey stays grey.

    Args:
        std: the Gaussian's standard deviation in pixels, above 0; weights beyond 4 deviations are 0.

    Raises:
        UsageError: the deviation is not above 0, or is infinite.
    """

    def __init__(self, std: float) -> None:
        if not 0 < std < math.inf:
            raise UsageError(f"the blur's standard deviation must be above 0 pixels; got {std:g}.")
        self.std = std

    def _axis(self, n: int, like: Tensor) -> Tensor:
        """Return G (n, n), whose row i holds the weights of the pixels around i."""
        i = torch.arange(n, dtype=torch.float64, device=like.device)
        z = (i[:, None] - i) / self.std
        weights = torch.where(z.abs() <= 4, (-(z**2) / 2).exp(), 0)
        return (weights / weights.sum(1, keepdim=True)).to(like.dtype)

    def __call__(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Return G_H x G_W^T."""
        return self._axis(x.shape[2], x) @ x @ self._axis(x.shape[3], x).T

    def adjoint(self, y: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Return G_H^T y G_W."""
        return self._axis(y.shape[2], y).T @ y @ self._axis(y.shape[3], y)

    def y_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return `shape` itself. Raises `UsageError` unless it is (C, H, W)."""
        if len(shape) != 3:
            raise UsageError(f"a blur is for pictures (C, H, W); these samples have shape {shape}.")
        return shape


class Function:
    """A user's own linear function of a batch, differentiable by torch; the adjoint is its vector-Jacobian product.

    Args:
        function: maps x (B, *shape) to y (B, ...), sample by sample.
        shape: shape of one sample.

    Raises:
        UsageError: the function is not linear: for two random x's, f(2 a - b) is not 2 f(a) - f(b).
    """

    def __init__(self, function: Callable[[Tensor], Tensor], shape: tuple[int, ...]) -> None:
        self.function, self.shape = function, shape
        a, b = torch.randn((2, 1, *shape), generator=torch.Generator().manual_seed(0))
        y_a, y_b, y = function(a), function(b), function(2 * a - b)
        if not torch.allclose(y, 2 * y_a - y_b, rtol=1e-4, atol=1e-4) or bool((function(0 * a) != 0).any()):
            raise UsageError("the function is not linear: f(2 a - b) must be 2 f(a) - f(b), and f(0) must be 0.")
        self._y_shape = tuple(y.shape[1:])

    def __call__(self, x: Float[Tensor, " b *shape"]) -> Float[Tensor, " b *y_shape"]:
        """Return function(x)."""
        self.y_shape(tuple(x.shape[1:]))
        return self.function(x)

    def adjoint(self, y: Float[Tensor, " b *y_shape"]) -> Float[Tensor, " b *shape"]:
        """Return A^T y, the x with <x, z> = <y, A z> for every z."""
        with torch.inference_mode(False), torch.enable_grad():
            x = torch.zeros((len(y), *self.shape), dtype=y.dtype, device=y.device, requires_grad=True)
            (out,) = torch.autograd.grad(self.function(x), x, y.detach().clone())
        return out

    def y_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of one y. Raises `UsageError` for another shape than the function's own."""
        if shape != self.shape:
            raise UsageError(f"the function is for samples of shape {self.shape}; these have shape {shape}.")
        return self._y_shape
