"""A table of 20 columns of all kinds with a known distribution, for trials and benchmarks.

region ~ north .3, south .25, east .2, west .15, islands .1        kind: its odds by region
age = 18 + 72 B, B ~ Beta(2, 3 + 2 effect of region)               born = 2025-01-01 - 365.25 age days
log income = 9.6 + .012 age + effect of region + .35 N
savings = 0 with probability Phi(.8 - .04 (age - 40)), else log savings = log income + .5 N
height, weight: bivariate normal by sex, correlation .6            bmi = weight / height^2, rounded to one digit
children ~ Poisson(.05 (age - 18), at most 2.5)                    smoker ~ Bernoulli(.35 - .004 (age - 18))
pulse = 62 + 9 smoker + 6 N                                        grade: thresholds on log income and noise
signal = cos 2 pi p, echo = sin 2 pi p, with noise .08: a ring
score missing where region is islands, else at random .08          pressure, rhythm missing together, more when old
outcome ~ Bernoulli(logit = -1 + .08 (pulse - 65) + 1.2 [grade = D] + .9 [kind = c] - 2 loss),
    loss = signal echo + .1 N, which is not a column
"""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, ndtr

if TYPE_CHECKING:
    import pandas as pd

REGIONS = ("north", "south", "east", "west", "islands")
SHARES = (0.3, 0.25, 0.2, 0.15, 0.1)
KINDS = ("a", "b", "c", "d")
ODDS = ((6, 2, 1, 1), (1, 6, 2, 1), (1, 1, 6, 2), (2, 1, 1, 6), (3, 3, 1, 3))
"""The odds of the kinds, by region."""
INCOME = (0.0, -0.25, 0.1, 0.3, -0.5)
GRADES = ("D", "C", "B", "A")


def mixed_table(n: int = 4000, seed: int = 0) -> "pd.DataFrame":
    """Return n rows of the table in the module's docstring; the seed decides them fully."""
    import pandas as pd

    rng = np.random.default_rng(seed)
    region = rng.choice(5, n, p=SHARES)
    odds = np.array(ODDS) / np.sum(ODDS, axis=1, keepdims=True)
    kind = (rng.random((n, 1)) > odds[region].cumsum(axis=1)).sum(axis=1).clip(max=3)
    age = 18 + 72 * rng.beta(2, 3 + 2 * np.array(INCOME)[region])
    born = np.datetime64("2025-01-01") - np.round(365.25 * age).astype("timedelta64[D]")
    income = np.exp(9.6 + 0.012 * age + np.array(INCOME)[region] + 0.35 * rng.normal(size=n))
    none = rng.random(n) < ndtr(0.8 - 0.04 * (age - 40))
    savings = np.where(none, 0.0, np.exp(np.log(income) + 0.5 * rng.normal(size=n)))
    female = rng.random(n) < 0.51
    build = rng.multivariate_normal((0, 0), ((1, 0.6), (0.6, 1)), n)
    height = np.where(female, 165, 178) + 7 * build[:, 0]
    weight = np.where(female, 66, 80) + 11 * build[:, 1]
    children = rng.poisson(np.clip(0.05 * (age - 18), 0, 2.5))
    smoker = rng.random(n) < 0.35 - 0.004 * (age - 18)
    pulse = 62 + 9 * smoker + 6 * rng.normal(size=n)
    z = 0.7 * (np.log(income) - 10) / 0.45 + 0.7 * rng.normal(size=n)
    grade = np.digitize(z, (-0.8, 0.1, 0.9))
    phase = 2 * np.pi * rng.random(n)
    signal, echo = (f(phase) + 0.08 * rng.normal(size=n) for f in (np.cos, np.sin))
    loss = signal * echo + 0.1 * rng.normal(size=n)
    score = 50 + 10 * (0.6 * build[:, 0] + 0.8 * rng.normal(size=n))
    score[(region == 4) | (rng.random(n) < 0.08)] = np.nan
    away = rng.random(n) < expit(-3 + 0.05 * (age - 18))
    pressure = 105 + 0.4 * age + 4 * smoker + 8 * rng.normal(size=n)
    rhythm = rng.integers(0, 3, n).astype(float)
    pressure[away] = rhythm[away] = np.nan
    logit = -1 + 0.08 * (pulse - 65) + 1.2 * (grade == 0) + 0.9 * (kind == 2) - 2 * loss
    return pd.DataFrame(
        {
            "region": _words(REGIONS, region),
            "kind": _words(KINDS, kind),
            "age": age.astype(np.int64),
            "born": born.astype("datetime64[ns]"),
            "income": income.round(),
            "savings": savings.round(2),
            "female": female,
            "height": height.round(1),
            "weight": weight.round(1),
            "bmi": (weight / (height / 100) ** 2).round(1),
            "children": children.astype(np.int64),
            "smoker": smoker,
            "pulse": pulse.round().astype(np.int64),
            "grade": pd.Categorical.from_codes(grade, list(GRADES), ordered=True),
            "signal": signal,
            "echo": echo,
            "score": score.round(2),
            "pressure": pd.array(pressure.round(), dtype="Int64"),
            "rhythm": pd.Categorical.from_codes(np.nan_to_num(rhythm, nan=-1).astype(int), ["even", "odd", "wild"]),
            "outcome": rng.random(n) < expit(logit),
        }
    )


def _words(words: tuple[str, ...], codes: NDArray[np.int64]) -> NDArray[np.object_]:
    return np.array(words, object)[codes]
