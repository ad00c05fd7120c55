"""How often the 95% intervals of metrics cover the truth, in Gaussian worlds where fresh sets give the truth.

    python benchmarks/intervals.py [--sets 500] [--part pictures|rows]

`--sets` fresh sets of n rows are measured, each with its interval. A metric's truth is its mean over all of them; one
set's own part of that mean is too small to matter. `covered` is the share of intervals that hold the truth, with its
own 95% interval; `error` is the root mean square of the standard errors over the standard deviation of the values, so 1
is right and above 1 is cautious.
The metrics of features have a reference that stays (recall and coverage: one that is drawn anew); those of rows
have training rows that stay, and samples and reference are drawn anew. Writes benchmarks/results/intervals.json.
"""

import argparse
import json
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from record import RESULTS, write, write_table

from gendi.evaluate import intervals
from gendi.evaluate.feature_intervals import crowding, design_effects, frechet_error, kernel_error
from gendi.evaluate.infinity import frechet_at_infinity
from gendi.evaluate.metrics import density_coverage, frechet_from_features, kernel_distance, precision_recall
from gendi.evaluate.result import Estimate
from gendi.evaluate.vectors import RowSet, Standardised, floors, two_sample
from gendi.evaluate.vectors.errors import standard_errors
from gendi.evaluate.vectors.metrics import ABOUT, compute_metrics, judged
from gendi.evaluate.vectors.space import World

Named = dict[str, Estimate]


def judge(measure: Callable[[], Named], sets: int) -> dict[str, dict[str, float]]:
    """Return for each metric of `measure`, which draws fresh sets at every call, how its intervals do."""
    found = [measure() for _ in range(sets)]
    out = {}
    for name in found[0]:
        values = np.array([each[name].value for each in found], float)
        errors = np.array([each[name].error for each in found], float)
        ends = np.array([each[name].interval or (np.nan, np.nan) for each in found], float)
        truth = float(np.mean(values))
        share = float(np.mean((ends[:, 0] <= truth) & (truth <= ends[:, 1])))
        low, high = intervals.of_share(share, sets).interval or (0, 1)
        spread = float(np.nanstd(values, ddof=1))
        ratio = float(np.sqrt(np.nanmean(errors**2))) / spread if spread > 0 else 1.0
        out[name] = {"truth": truth, "covered": share, "low": low, "high": high, "error": ratio}
        print(f"  {name:20s} truth {truth:9.4g}  covered {share:.3f} ({low:.3f} to {high:.3f})  error {ratio:.2f}")
    return out


def pictures(shift: float, n: int, d: int) -> Callable[[], Named]:
    rng, scale = np.random.default_rng(3), 1 / np.sqrt(np.arange(1, d + 1))

    def draw(moved: float = 0.0) -> np.ndarray:
        return (rng.standard_normal((n, d)) + moved) * scale

    reference = draw()

    def measure() -> Named:
        x, fresh = draw(shift), draw()
        effects = design_effects(fresh, x, 3, 5)
        return {
            "fid": intervals.measured_distance(frechet_from_features(reference, x), frechet_error(x, reference)),
            "kid": intervals.measured(kernel_distance(reference, x).value, kernel_error(x, reference)),
            "precision": intervals.of_share(precision_recall(reference, x)[0], n),
            "recall": intervals.of_dependent_share(precision_recall(fresh, x)[1], effects.recall, n),
            "density": intervals.of_mean(crowding(reference, x, 5)),
            "coverage": intervals.of_dependent_share(density_coverage(fresh, x)[1], effects.coverage, n),
            "fid-infinity": frechet_at_infinity(x, fresh),
        }

    return measure


def rows(shift: float, n: int, d: int) -> Callable[[], Named]:
    """Two classes whose means differ; the samples' scale is 1 + shift, and their mean lies `shift` away."""
    rng, seeds = np.random.default_rng(4), iter(range(10**9))

    def draw(moved: float = 0.0, count: int = n) -> RowSet:
        labels = rng.integers(0, 2, count)
        noise = rng.standard_normal((count, d)) * (1 + moved) + moved
        return RowSet(noise + labels[:, None] * np.arange(d) / 3, labels)

    train = draw(count=10 * n)

    def measure() -> Named:
        x, seed = draw(shift), next(seeds)
        world, roles = floors.setting(train, draw(), lambda real: World.fit(Standardised.fit(real), real, seed))
        part = world.part(x.rows, x.labels)
        verdicts = judged(part, roles.reference, world)
        values = compute_metrics(part, roles, world, verdicts)
        errors = standard_errors(values, part, roles, world, verdicts, 200)
        return {
            name: Estimate(None) if value is None else ABOUT[name].estimate(value, errors.get(name))
            for name, value in values.items()
        }

    return measure


def table(found: dict[str, Any]) -> list[str]:
    """Return the lines of the table in docs/measuring.md: the share covered in each world, and what the errors are of
    the values' spread."""
    worlds = [(part, name) for part in ("pictures", "rows") for name in found.get(part, {})]
    lines = []
    for part in ("pictures", "rows"):
        names = [name for of, name in worlds if of == part]
        if not names:
            continue
        some = found[part]
        head = [f"{name}: n = {some[name]['n']}, d = {some[name]['d']}, {some[name]['sets']} sets" for name in names]
        lines += [f"| {part} | " + " | ".join(head) + " |", "|---" * (len(names) + 1) + "|"]
        for metric in some[names[0]]["metrics"]:
            cells = [some[name]["metrics"][metric] for name in names]
            texts = [f"{c['covered']:.0%} ({c['low']:.0%} to {c['high']:.0%}), {c['error']:.2f}" for c in cells]
            lines.append(f"| {metric} | " + " | ".join(texts) + " |")
        lines.append("")
    return lines[:-1]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--sets", type=int, default=500)
    parser.add_argument("--part", choices=("pictures", "rows"))
    given = parser.parse_args()
    two_sample.TREES = 12  # a smaller forest than gendi's 60, for the time it takes
    path = RESULTS / "intervals.json"
    old = json.loads(path.read_text()) if path.exists() else {}
    out = {name: old[name] for name in ("pictures", "rows") if name in old}
    worlds = {
        "pictures": (("the same", 0.0, 200, 16), ("shifted", 0.3, 200, 16), ("larger", 0.1, 500, 48)),
        "rows": (("the same", 0.0, 120, 6), ("shifted", 0.3, 120, 6)),
    }
    makers = {"pictures": pictures, "rows": rows}
    for part in [given.part] if given.part else list(makers):
        out[part] = {}
        for name, shift, n, d in worlds[part]:
            print(f"{part}, {name}: n = {n}, d = {d}, shift = {shift}", flush=True)
            began = time.perf_counter()
            found = judge(makers[part](shift, n, d), given.sets)
            seconds = round(time.perf_counter() - began, 1)
            out[part][name] = {"n": n, "d": d, "shift": shift, "sets": given.sets, "seconds": seconds, "metrics": found}
            write("intervals", out)
    write_table("measuring.md", "measured intervals", table(out))


if __name__ == "__main__":
    main()
