"""DEIS: an exponential Adams method for eps-predictions."""

from collections.abc import Iterator

from torch import Tensor

from gendi.diffusion.gaussian.denoiser import Denoiser
from gendi.diffusion.gaussian.samplers.exponential import adams
from gendi.diffusion.gaussian.samplers.state import Noise, State
from gendi.errors import UsageError


def deis(denoiser: Denoiser, x: Tensor, times: Tensor, noise: Noise, *, order: int = 3) -> Iterator[State]:
    """Sample by AB-DEIS, with eps_hat as a polynomial in log rho = ln(sigma / alpha).  [Zhang & Chen 2023, eqs. 14, 15]

    In y = x / alpha the ODE is dy / d rho = eps. Of the paper's variables for the polynomial (t, rho, log rho) this is
    the one that needs no quadrature and no schedule in closed form. order = 1 is DDIM.

    Raises `UsageError` unless order is 1, 2 or 3.
    """
    if order not in (1, 2, 3):
        raise UsageError(f"order = {order} is out of range: deis has the orders 1, 2 and 3.")
    yield from adams(denoiser, x, times, order=order, prediction="eps")
