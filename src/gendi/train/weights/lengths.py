"""How long a power-function average is: sigma_rel, the standard deviation of its profile over its time.

Here are the range and the name of it alone, without torch; the mathematics is in `gendi.train.weights.posthoc_ema`.
"""

import math

from gendi.errors import UsageError

WIDEST = 0.5 / math.sqrt(3)
"""gamma = 0, the plain mean of all weights."""


def check_length(sigma_rel: float, said: str) -> None:
    """Raise `UsageError`, naming it as `said`, unless sigma_rel is above 0 and, but for round-off, at most `WIDEST`."""
    if not 0 < sigma_rel <= WIDEST + 1e-12:
        raise UsageError(f"{said} is out of range: above 0, up to {WIDEST:.4f} (the plain mean).")
