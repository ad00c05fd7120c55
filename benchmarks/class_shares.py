"""How often the test of the shares of classes rejects real pictures: `python benchmarks/class_shares.py`.

In each planted world K classes have uneven shares, and a classifier sees a picture's class with the probability `right`
and otherwise any, some more often than others. It is known from m held-out pictures alone, and looks at n others that
are real too. p-values below 0.05, 0.01 and 0.005 should be as frequent as that, and the missing classes of a tenth of
the pictures should not pass. The worlds change every SETS / WORLDS sets. Writes benchmarks/results/class-shares.json.
"""

from typing import Any

import numpy as np
from record import write

from gendi.evaluate.intervals import of_share
from gendi.evaluate.shares import SeenShares

CASES = [(k, right, m, 500) for k in (4, 10, 26) for right in (0.3, 0.5, 0.9) for m in (5 * k, 20 * k)]
SETS, WORLDS = 200, 10
LEVELS = (0.05, 0.01, 0.005)


def p_values(k: int, right: float, m: int, n: int) -> tuple[np.ndarray, float]:
    """Return the p-values of SETS sets of real pictures, and in how many of the worlds the test is a grade."""
    rng, found, graded = np.random.default_rng(0), [], 0
    for _ in range(WORLDS):
        f = np.maximum(rng.dirichlet(np.full(k, 3.0)), 0.2 / k)
        f /= f.sum()
        sees = right * np.eye(k) + (1 - right) * rng.dirichlet(np.ones(k))
        for i in range(SETS // WORLDS):
            counts = np.array([rng.multinomial(c, row) for c, row in zip(rng.multinomial(m, f), sees, strict=True)])
            expected = SeenShares.measured(counts, f)
            found.append(expected.test(rng.multinomial(n, f @ sees)).p_value)
            graded += i == 0 and expected.without(n).p_value < LEVELS[-1]
    return np.array(found), graded / WORLDS


def rates(p: np.ndarray) -> dict[str, Any]:
    """Return how many p-values are below each level, with 95% intervals."""
    shares = {level: of_share(float((p < level).mean()), len(p)) for level in LEVELS}
    return {str(level): {"rate": found.value, "interval": found.interval} for level, found in shares.items()}


def main() -> None:
    cases, everything, with_grades = [], [], []
    for k, right, m, n in CASES:
        p, graded = p_values(k, right, m, n)
        cases.append({"classes": k, "right": right, "pictures": m, "samples": n, "graded": graded, "below": rates(p)})
        everything.append(p)
        with_grades += [p] * (graded >= 0.5)
        print(cases[-1], flush=True)
    both = {"all": rates(np.concatenate(everything)), "where mostly graded": rates(np.concatenate(with_grades))}
    print(both)
    write("class-shares", {"sets": SETS, "worlds": WORLDS, "cases": cases, "below": both})


if __name__ == "__main__":
    main()
