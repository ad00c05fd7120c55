"""How often is the verdict on a run right: improving, level or copying?

    python benchmarks/verdict.py

The nine planted curves of tests/train/progress/planted.py, whose verdicts are known by construction, each with the
noises of SEEDS seeds: what is said after the last of twelve evaluations. All curves of a seed share its data and
noises, so they are no independent trials. The share of right verdicts has Student's interval over seeds, the share of
seeds in which all nine are right that of Wilson. A few minutes of one core.
"""

import itertools
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from record import write
from scipy.stats import t as student

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "train" / "progress"))

from planted import COPYING, EVALUATIONS, IMPROVING, LEVEL, Curve, evaluations

from gendi.evaluate.intervals import of_share
from gendi.train.kept.status import Verdict
from gendi.train.progress.evaluating import reading_of
from gendi.train.progress.verdict import judge

SEEDS = 40
CURVES: list[tuple[Verdict, str, Curve]] = [
    *(("improving", name, curve) for name, curve in IMPROVING.items()),
    *(("level", name, curve) for name, curve in LEVEL.items()),
    *(("copying", name, curve) for name, curve in COPYING.items()),
]


def verdicts(curve: Curve, seed: int) -> list[Verdict | None]:
    """What is said after evaluation 1, 2, ..."""
    readings = [reading_of(*found) for found in evaluations(curve, seed)]
    return [judge(readings[:count], count) for count in range(1, EVALUATIONS + 1)]


def main() -> None:
    rows: list[dict[str, Any]] = []
    right = np.zeros((len(CURVES), SEEDS), bool)
    ended_early = 0
    for i, (verdict, name, curve) in enumerate(CURVES):
        said = [verdicts(curve, seed) for seed in range(SEEDS)]
        right[i] = [each[-1] == verdict for each in said]
        last = Counter("too early to say" if each[-1] is None else each[-1] for each in said)
        rows.append({"verdict": verdict, "curve": name, "right": int(right[i].sum()), "said": dict(last)})
        if verdict == "improving":  # --stop-when-level ends a run at two "level" in a row
            ended_early += sum(("level", "level") in itertools.pairwise(each) for each in said)
        print(rows[-1], flush=True)
    shares = right.mean(axis=0)
    mean = float(shares.mean())
    half = float(student.ppf(0.975, SEEDS - 1) * shares.std(ddof=1) / np.sqrt(SEEDS))
    whole = of_share(float(right.all(axis=0).mean()), SEEDS)
    write(
        "verdict",
        {
            "seeds": SEEDS,
            "evaluations": EVALUATIONS,
            "trials": right.size,
            "right": int(right.sum()),
            "share": {"value": mean, "interval": [mean - half, mean + half]},
            "nine of nine": {"seeds": int(right.all(axis=0).sum()), "interval": list(whole.interval or ())},
            "right with seed 0": int(right[:, 0].sum()),
            "improving runs that --stop-when-level would end": ended_early,
            "curves": rows,
        },
    )


if __name__ == "__main__":
    main()
