"""The dose curve: the share of its full effect that a drug has at a dose x.

h(x) = x^n / (x^n + EC50^n),      h(0) = 0, h(EC50) = 1/2, h(inf) = 1            [Hill 1910]
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from gendi.errors import UsageError


def hill(dose: NDArray[np.float64] | Sequence[float] | float, ec50: float, slope: float) -> NDArray[np.float64]:
    """Return h of doses of any shape; `slope` is n.

    Raises `UsageError` if a dose is negative or NaN, or EC50 or slope is not above 0.
    """
    x = np.asarray(dose, np.float64)
    if not (x >= 0).all():
        raise UsageError("A dose must be 0 or more.")
    if not (ec50 > 0 and slope > 0):
        raise UsageError(f"EC50 = {ec50} and slope = {slope} must be above 0.")
    with np.errstate(divide="ignore"):
        return np.asarray(expit(slope * (np.log(x) - np.log(ec50))), np.float64)
