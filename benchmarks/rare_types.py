"""A rare type of cells: does a test on drawn cells call genes that have not changed?

    OMP_NUM_THREADS=1 python benchmarks/rare_types.py                     five worlds, 15 CPU seconds of training each
    OMP_NUM_THREADS=1 python benchmarks/rare_types.py --seeds 3           one of them; the results of others are kept
    OMP_NUM_THREADS=1 python benchmarks/rare_types.py --page rare-types   the tables of docs/cells.md, from the results

A world has 1000 genes, five types of 500, 300, 200, 100 and 12 cells, and three programmes shared by genes. Counts are
negative binomials, half of which are zeros. The rarest type differs from the largest one in 25 genes, by a factor of
about 2.7 to 7.4 up or down, which leaves the rates of the others as they are; the other types differ in about 200.
Models are trained on these cells. Then cells of the rare type are drawn and compared with the 500 real cells of the
largest type: Wilcoxon's rank-sum test of log-normalised counts, with the false discovery rate held to 0.05 [Benjamini &
Hochberg 1995]. What is called beyond the 25 is false.

The second table adds 300 drawn cells of the rare type to the real ones, trains a logistic regression of the five types
on log-normalised counts, and tests it on fresh cells: 200 of the rare type, and the others in proportion to the data.
"""

import argparse
import json
import time
from typing import Any

import numpy as np
import record
import torch
from numpy.typing import NDArray
from scipy import stats

from cells import fitted_to, trained
from gendi.data.cells.baselines import BASELINES
from gendi.data.cells.copula import PROFILES, CopulaCodec
from gendi.data.cells.normalise import log_normalise
from gendi.data.dataset import Data
from gendi.data.split import Split, class_spec, fingerprint
from gendi.diffusion.gaussian.samplers import sample
from gendi.evaluate.vectors.two_sample import logistic

SIZES = (500, 300, 200, 100, 12)
LARGE, RARE = 0, 4
GENES, CHANGED, PROGRAMMES, LOADING = 1000, 25, 3, 0.25
DRAWN = (30, 100, 300, 1000)
ADDED = 300
TESTED = (500, 300, 200, 100, 200)


class World:
    """The law of the module's docstring, from a seed."""

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng([seed, 0])
        base = rng.normal(0, 1.5, GENES)
        logs = [base] + [base + (rng.random(GENES) < 0.2) * rng.normal(0, 1, GENES) for _ in SIZES[1:-1]]
        seen = np.flatnonzero(base > np.quantile(base, 0.3))
        self.changed = np.zeros(GENES, bool)
        self.changed[rng.choice(seen, CHANGED, replace=False)] = True
        change = np.zeros(GENES)
        while abs(total(base, change, self.changed)) > 0.1 or not change.any():
            change = self.changed * rng.choice([-1, 1], GENES) * rng.uniform(1, 2, GENES)
        change -= self.changed * total(base, change, self.changed)
        rates = np.exp(np.stack([*logs, base + change]))
        self.rates = rates / rates.sum(1, keepdims=True)
        self.dispersions = np.exp(rng.normal(np.log(0.3), 0.5, GENES))
        loadings = rng.normal(0, LOADING, (GENES, PROGRAMMES))
        self.loadings = loadings / np.maximum(1, np.linalg.norm(loadings, axis=1, keepdims=True) / 0.8)

    def draw(self, labels: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
        """Return counts (n, GENES) of cells of these types."""
        rng, n = np.random.default_rng([seed, 1]), len(labels)
        depth = rng.lognormal(np.log(2000), 0.35, (n, 1))
        z = rng.standard_normal((n, PROGRAMMES)) @ self.loadings.T
        z += rng.standard_normal((n, GENES)) * np.sqrt(1 - np.square(self.loadings).sum(1))
        r = 1 / self.dispersions
        law = stats.nbinom(r, r / (r + self.rates[labels] * depth))
        return np.asarray(law.ppf(stats.norm.cdf(z)), np.int64)


def total(base: NDArray[np.float64], change: NDArray[np.float64], changed: NDArray[np.bool_]) -> float:
    """Return the logarithm of how much the rates of changed genes grow together."""
    return float(np.log(np.exp(base + change)[changed].sum() / np.exp(base)[changed].sum()))


def called(cells: NDArray[np.int64], real: NDArray[np.int64], changed: NDArray[np.bool_]) -> tuple[int, int]:
    """Return how many genes the test calls falsely, and how many rightly, at a false discovery rate of 0.05."""
    p = stats.mannwhitneyu(log_normalise(cells), log_normalise(real), axis=0).pvalue
    found = stats.false_discovery_control(np.where(np.isnan(p), 1.0, p)) < 0.05
    return int((found & ~changed).sum()), int((found & changed).sum())


def data_of(counts: NDArray[np.int64], labels: NDArray[np.int64]) -> Data:
    """Return all cells as training cells."""
    names = ("large", "second", "third", "fourth", "rare")
    splits = [Split(counts, {"class": labels})] * 2
    found = fingerprint(*splits)
    return Data("rare", "cells:rare", *splits, (class_spec(names),), found, None, (), (), kind="cells", schema={})


def trained_on(data: Data, seconds: float, seed: int) -> dict[str, NDArray[np.int64]]:
    """Return counts of the rare type by the way profiles are drawn, from a model trained for so many CPU seconds."""
    config, fitted = fitted_to("copula", data, seed)
    trainer, _ = trained(config, fitted, time.process_time() + seconds)
    codec, settings = fitted.codec, config.sample
    assert isinstance(codec, CopulaCodec)

    cond = {"class": torch.full((max(DRAWN),), RARE)}
    given = {"steps": settings.steps, "sampler": settings.sampler, "seed": seed}
    x = sample(trainer.ema_denoiser(), codec.shape, max(DRAWN), cond=cond, **given)
    return {kind: codec.with_profiles(kind).decode(x, cond, seed, 0).numpy() for kind in PROFILES}


def scores(world: World, counts: Any, labels: Any, added: Any, seed: int) -> dict[str, float]:
    """Return F1 of the rare type and the mean over types, after training on cells and `added` rare ones (or None)."""
    from sklearn.metrics import f1_score

    test = np.repeat(np.arange(len(TESTED)), TESTED)
    fresh = world.draw(test, 2000 + seed)
    if added is not None:
        counts, labels = np.concatenate([counts, added]), np.r_[labels, np.full(len(added), RARE)]
    said = logistic().fit(log_normalise(counts), labels).predict(log_normalise(fresh))
    each = f1_score(test, said, average=None)
    return {"rare": float(each[RARE]), "mean": float(each.mean())}


def world_results(seed: int, seconds: float) -> dict[str, Any]:
    """Return everything that is measured in one world."""
    world = World(seed)
    labels = np.repeat(np.arange(len(SIZES)), SIZES).astype(np.int64)
    counts = world.draw(labels, seed)
    real, few = counts[labels == LARGE], counts[labels == RARE]
    most, rare = max(DRAWN), np.full(max(DRAWN), RARE)
    copula = BASELINES["nb-copula"].fit(counts, labels).sample(most, rare, seed)
    drawn = trained_on(data_of(counts, labels), seconds, seed)
    own = drawn["estimated"]
    ways = {"the truth": world.draw(rare, 1000 + seed), "nb-copula": copula, "gendi": own}
    ways |= {f"gendi, profiles {kind}": drawn[kind] for kind in PROFILES[1:]}
    calls = {way: {str(n): called(cells[:n], real, world.changed) for n in DRAWN} for way, cells in ways.items()}
    calls["the 12 real cells"] = {str(len(few)): called(few, real, world.changed)}
    added = {"none": None, "nb-copula": copula[:ADDED], "gendi": own[:ADDED]}
    f1 = {way: scores(world, counts, labels, cells, seed) for way, cells in added.items()}
    print(f"seed {seed}", json.dumps({"calls": calls, "f1": f1}), flush=True)
    return {"calls": calls, "f1": f1}


def page(name: str) -> None:
    """Put the tables into docs/cells.md."""
    found = json.loads((record.RESULTS / f"{name}.json").read_text())["results"].values()
    head = ["| cells of the rare type | " + " | ".join(f"{n} drawn" for n in DRAWN) + " |"]
    lines = [*head, "|---|" + "---:|" * len(DRAWN)]
    for way in next(iter(found))["calls"]:
        cells = []
        for n in (str(n) for n in DRAWN):
            if n not in next(iter(found))["calls"][way]:
                continue
            false, right = ([each["calls"][way][n][k] for each in found] for k in (0, 1))
            cells.append(f"{np.mean(false):.1f} ({min(false)} to {max(false)}); {np.mean(right):.1f}")
        if not cells:
            [pairs] = zip(*(each["calls"][way].values() for each in found), strict=True)
            false, right = ([pair[k] for pair in pairs] for k in (0, 1))
            cells = [f"{np.mean(false):.1f} ({min(false)} to {max(false)}); {np.mean(right):.1f}"]
        lines.append(f"| {way} | {' | '.join(cells + [''] * (len(DRAWN) - len(cells)))} |")
    record.write_table("cells.md", "rare types", lines)
    lines = ["| 300 cells added | F1 of the rare type | mean F1 of the types |", "|---|---:|---:|"]
    for way in next(iter(found))["f1"]:
        cells = [record.with_interval([each["f1"][way][what] for each in found], ".3f") for what in ("rare", "mean")]
        lines.append(f"| {way} | {' | '.join(cells)} |")
    record.write_table("cells.md", "rare types added", lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--name", default="rare-types")
    parser.add_argument("--page", help="name of results to put into docs/cells.md, and nothing else")
    args = parser.parse_args()
    if args.page:
        page(args.page)
        return
    torch.set_num_threads(1)
    for seed in args.seeds:
        found = world_results(seed, args.seconds)
        path = record.RESULTS / f"{args.name}.json"
        known = json.loads(path.read_text()) if path.exists() else {}
        results = known["results"] if known.get("seconds") == args.seconds else {}
        results = dict(sorted((results | {str(seed): found}).items()))
        record.write(args.name, {"seconds": args.seconds, "results": results})


if __name__ == "__main__":
    main()
