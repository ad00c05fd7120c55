"""Nine curves whose verdict is known by construction: what a training run's evaluations would find, without a network.

The data are a standard normal in six dimensions, and the "model" at each evaluation is a distribution that is written
down here: N(shift, spread^2), of which a share are training rows with a little jitter. Its samples are drawn and
measured as those of a run are, from the same noises every time, so the curves have the noise that evaluations have.
Training is noisy too: the shift, the spread and the held-out loss of each evaluation are some percent off. Nothing here
knows the rule.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from gendi.evaluate.gauge import Quantity
from gendi.evaluate.vectors.quick import row_gauge

TRAINING_NOISE = 0.02
DIMENSIONS, TRAIN, HELD_OUT, SAMPLES, EVALUATIONS, EVERY = 6, 400, 200, 256, 12, 50_000


@dataclass(frozen=True)
class Model:
    """The distribution of samples: N(shift, spread^2 I), with `copied` of them jittered training rows."""

    shift: float = 0.0
    spread: float = 1.0
    copied: float = 0.0
    jitter: float = 0.0
    loss: float = 0.5
    """The held-out loss, before noise."""


Curve = Callable[[int], Model]
"""The model at evaluation 1, 2, ..."""

IMPROVING: dict[str, Curve] = {
    "a power law": lambda j: Model(shift=2.0 * j**-0.5, loss=0.5 + 0.5 / j),
    "an exponential": lambda j: Model(shift=1.8 * np.exp(-j / 7), loss=0.5 + 0.4 * np.exp(-j / 5)),
    "a spread that shrinks evenly": lambda j: Model(spread=2.2 - 0.08 * j, loss=0.6 - 0.005 * j),
}
LEVEL: dict[str, Curve] = {
    "at the floor from the start": lambda j: Model(),
    "a plateau above the floor after a quick fall": lambda j: Model(shift=0.7 + 2 * np.exp(-2.0 * j), loss=0.6),
    "too little spread, and stays so": lambda j: Model(spread=0.6 if j > 2 else 0.3),
}
COPYING: dict[str, Curve] = {
    "ever more exact copies while the distance falls": lambda j: Model(shift=1.5 / j, copied=0.06 * j, loss=0.5),
    "blurred copies while the held-out loss rises": lambda j: Model(
        shift=0.3, copied=0.08 * j, jitter=0.1, loss=0.4 + 0.02 * abs(j - 4)
    ),
    "copies from one moment on": lambda j: Model(shift=0.6 * np.exp(-j / 4), copied=0.5 if j > 6 else 0.0),
}


def evaluations(curve: Curve, seed: int) -> Sequence[tuple[int, tuple[Quantity, ...], float]]:
    """Return for each evaluation the images seen, the quick metrics, and the held-out loss."""
    rng = np.random.default_rng(seed)
    train, heldout = (_Rows(rng.standard_normal((n, DIMENSIONS))) for n in (TRAIN, HELD_OUT))
    gauge = row_gauge(train, heldout, seed)
    noise, chance = rng.standard_normal((SAMPLES, DIMENSIONS)), rng.random(SAMPLES)
    sources = train.rows[rng.integers(0, TRAIN, SAMPLES)]
    found = []
    for j in range(1, EVALUATIONS + 1):
        model = curve(j)
        wobble = 1 + TRAINING_NOISE * rng.standard_normal(3)
        rows = model.spread * wobble[0] * noise
        rows[:, 0] += model.shift * wobble[1]
        copied = chance < model.copied
        rows[copied] = (sources + model.jitter * noise)[copied]
        found.append((EVERY * j, gauge(rows), model.loss * float(wobble[2])))
    return found


class _Rows:
    def __init__(self, rows: np.ndarray) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def batch(self, indices: np.ndarray) -> np.ndarray:
        return self.rows[np.asarray(indices)]
