"""Combinations of drugs, and drugs that no cell had, in invented worlds where the truth is a formula.

    OMP_NUM_THREADS=1 python benchmarks/combinations.py              both parts, three seeds: JSON, tables and figure
    OMP_NUM_THREADS=1 python benchmarks/combinations.py --parts combinations --worlds synergy --seeds 0
    OMP_NUM_THREADS=1 python benchmarks/combinations.py --draw       tables and figure of the last run

Combinations (`gendi.data.cells.perturbation.combination_worlds`): the model beside the sum of what it says of single
drugs, the stronger of the two, and the mean of all combinations that the type had. Predicted log-fold changes are
compared with the true ones: correlation over all genes and over those that change, and the share of the squared changes
that is explained. Unseen drugs: `DRUGS` drugs have effects that are linear in `SIZE` descriptors, or bent by tanh, and
`HELD` more are predicted, by their descriptors and by shuffled ones. Few cells: the same drugs with 5, 20 or 60 cells
each, whose own effects are estimated with descriptors and without. What is measured takes the place of the same
worlds and seeds in the last run's results.
"""

import argparse
import json
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import matplotlib
import numpy as np
import record
from numpy.typing import NDArray

from gendi.data.cells.perturbation.combination_worlds import WORLDS, Together, invent_together
from gendi.data.cells.perturbation.descriptors import Descriptors
from gendi.data.cells.perturbation.experiment import CONTROL, Experiment
from gendi.data.cells.perturbation.scores import CHANGED, pearson
from gendi.data.cells.perturbation.treatment import Treatment
from gendi.data.cells.perturbation.treatments import Treatments
from gendi.data.cells.perturbation.unseen import fit_unseen
from gendi.diffusion.randomness import stream

matplotlib.use("Agg")
import matplotlib.pyplot as plt

Floats = NDArray[np.float64]
KINDS = {"type": "another type", "dose": "other doses", "pair": "unseen pair"}
MODELS = ("model", "sum of the parts", "stronger part", "mean of combinations")
SCORES = ("Pearson", "of changed genes", "explained")
DRUGS, HELD, SIZE, GENES, CELLS, CONTROLS = 48, 12, 16, 400, 40, 300
SHUFFLES = 5
FEW = ("without", "descriptors", "shuffled")
SAID = ("descriptors", "shuffled", "mean effect", "said at the fit", "said of shuffled")


def scores(found: Floats, wanted: Floats) -> dict[str, float]:
    changed = np.abs(wanted) > CHANGED
    explained = 1 - float(np.square(found - wanted).sum() / np.square(wanted).sum())
    return dict(zip(SCORES, (pearson(found, wanted), pearson(found[changed], wanted[changed]), explained), strict=True))


def predictions(model: Treatments, cell_type: int, treatment: Treatment) -> dict[str, Floats]:
    """Return what each model predicts."""
    parts = [model.lfc(cell_type, d, x) for d, x in treatment.parts]
    shifts = model.shifts
    own = (shifts.types == cell_type) & np.isin(shifts.drugs, list(model.train.combinations))
    return {
        "model": model.effect(cell_type, treatment)[0],
        "sum of the parts": np.sum(parts, axis=0),
        "stronger part": max(parts, key=lambda part: float(np.square(part).sum())),
        "mean of combinations": shifts.y[own].mean(0),
    }


def of_combinations(name: str, seed: int) -> dict[str, Any]:
    """Return the mean scores of every model by kind of condition."""
    world: Together = invent_together(name, seed)
    began = time.process_time()
    model = Treatments().fit(world.experiment)
    took = time.process_time() - began
    out: dict[str, Any] = {"seconds": took, "scale": model.joint.scale if model.joint else 1.0}
    for kind, conditions in world.lacking.items():
        rows: dict[str, list[dict[str, float]]] = defaultdict(list)
        for c, treatment in conditions:
            for key, found in predictions(model, c, treatment).items():
                rows[key].append(scores(found, world.log_fold(c, treatment)))
        out[kind] = {key: {score: float(np.mean([r[score] for r in rows[key]])) for score in SCORES} for key in MODELS}
    return out


def table_of_combinations(worlds: dict[str, Any]) -> list[str]:
    """Return the table of the page: every model in each world, by what was held out; the JSON has all scores."""
    lines = ["| world | held out | score | " + " | ".join(MODELS) + " |", "|---" * (3 + len(MODELS)) + "|"]
    for name, runs in worlds.items():
        for kind, title in KINDS.items():
            for score in SCORES[1:]:
                own = ([run[kind][key][score] for run in runs.values()] for key in MODELS)
                cells = " | ".join(record.with_interval(values, ".2f") for values in own)
                lines.append(f"| {name} | {title} | {score} | {cells} |")
    return lines


def drawn(worlds: dict[str, Any]) -> None:
    figure, axes = plt.subplots(1, len(KINDS), figsize=(11, 3.6), layout="constrained", sharey=True)
    for axis, (kind, title) in zip(axes, KINDS.items(), strict=True):
        for i, key in enumerate(MODELS):
            for j, runs in enumerate(worlds.values()):
                values = [run[kind][key]["explained"] for run in runs.values()]
                style = {"marker": "D", "color": "black"} if key == "model" else {"marker": "o", "color": f"C{i - 1}"}
                at = np.full(len(values), j + (i - 1.5) * 0.15)
                axis.plot(at, values, linestyle="", markersize=5, label=key if j == 0 else None, **style)
        axis.set_xticks(range(len(worlds)), list(worlds), fontsize=9)
        axis.set_title(title)
        axis.axhline(1, color="black", linewidth=0.8, linestyle="--")
        axis.set_ylim(-0.05, 1.05)
    axes[0].set_ylabel("explained share of the changes")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, ncols=len(labels), fontsize=9, loc="outside lower center")
    figure.savefig(record.DOCS / "combinations.png", dpi=100)
    plt.close(figure)


def of_descriptors(name: str, seed: int) -> dict[str, Any]:
    """Return the mean correlations of held-out drugs, and what the fits say of drugs that they left out."""
    rng = stream(seed, f"descriptors {name}")
    experiment, z, truth, names = described(rng, name, CELLS)
    began = time.process_time()
    model = Treatments().fit(experiment)
    known = np.stack([model.lfc(0, d, 1.0) for d in range(DRUGS)])
    out: dict[str, Any] = {"seconds": time.process_time() - began}

    def judged(values: Floats) -> tuple[float, float, float]:
        fitted = fit_unseen(tabled(names, values), list(range(DRUGS)), list(range(DRUGS)), known, (1, GENES))
        held = range(DRUGS, DRUGS + HELD)
        found = np.mean([pearson(fitted.weights(d) @ known, truth[d]) for d in held])
        mean = np.mean([pearson(known.mean(0), truth[d]) for d in held])
        return float(found), float(mean), fitted.quality()[0].value

    found, mean, said = judged(z)
    shuffled = [judged(rng.permutation(z)) for _ in range(SHUFFLES)]
    others = float(np.mean([each[0] for each in shuffled])), float(np.mean([each[2] for each in shuffled]))
    return out | dict(zip(SAID, (found, others[0], mean, said, others[1]), strict=True))


def of_few_cells(name: str, seed: int) -> dict[str, Any]:
    """Return the mean squared errors of log-fold changes of drugs that so many cells had, `name` of them each."""
    rng = stream(seed, f"few cells {name}")
    experiment, z, truth, names = described(rng, "linear", int(name))
    tables = {"without": None, "descriptors": tabled(names, z), "shuffled": tabled(names, rng.permutation(z))}
    models = {key: Treatments(True, table).fit(experiment) for key, table in tables.items()}
    return {
        key: float(np.mean([np.square(model.lfc(0, d, 1.0) - truth[d]) for d in range(DRUGS)]))
        for key, model in models.items()
    }


def tabled(names: tuple[str, ...], values: Floats) -> Descriptors:
    """Return a table of descriptors."""
    return Descriptors(names, tuple(f"x{i}" for i in range(SIZE)), values)


def described(rng: np.random.Generator, name: str, cells: int) -> tuple[Experiment, Floats, Floats, tuple[str, ...]]:
    """Return cells of the known drugs; descriptors, true effects and names of these and of the drugs held out."""
    z = rng.normal(size=(DRUGS + HELD, SIZE))
    linear = z @ (rng.normal(size=(SIZE, GENES)) / 4 * (rng.random(GENES) < 0.4))
    truth = linear if name == "linear" else np.tanh(2 * linear) / 2
    rates = rng.gamma(0.7, 4.0, GENES) + 0.1
    sizes = [CONTROLS] + [cells] * DRUGS
    means = np.repeat(rates * np.exp(np.vstack([np.zeros(GENES), truth[:DRUGS]])), sizes, axis=0)
    counts = rng.poisson(means * rng.gamma(4.0, 0.25, means.shape))
    drugs = np.repeat([CONTROL, *range(DRUGS)], sizes)
    names = tuple(f"drug{d}" for d in range(DRUGS + HELD))
    genes = tuple(f"gene{g}" for g in range(GENES))
    kinds, doses = np.zeros(len(drugs), np.int64), (drugs != CONTROL) * 1.0
    experiment = Experiment(counts, kinds, drugs, doses, ("cells",), names[:DRUGS], genes, dosed=False)
    return experiment, z, truth, names


def table_of_runs(runs: dict[str, Any], first: str, columns: Sequence[str], form: str) -> list[str]:
    """Return a table of the page: a line for each name of `runs`, whose values are runs by seed."""
    lines = [f"| {first} | " + " | ".join(columns) + " |", "|---" * (1 + len(columns)) + "|"]
    for name, seeds in runs.items():
        cells = (record.with_interval([run[key] for run in seeds.values()], form) for key in columns)
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


PARTS: dict[str, tuple[Callable[[str, int], dict[str, Any]], tuple[str, ...]]] = {
    "combinations": (of_combinations, WORLDS),
    "descriptors": (of_descriptors, ("linear", "bent")),
    "few cells": (of_few_cells, ("5", "20", "60")),
}


def page(results: dict[str, Any]) -> None:
    """Write the tables and the figure of the page."""
    if "combinations" in results:
        record.write_table("perturbation.md", "combinations", table_of_combinations(results["combinations"]))
        drawn(results["combinations"])
    if "descriptors" in results:
        record.write_table(
            "perturbation.md", "descriptors", table_of_runs(results["descriptors"], "effects", SAID, ".2f")
        )
    if "few cells" in results:
        record.write_table(
            "perturbation.md", "few cells", table_of_runs(results["few cells"], "cells of each drug", FEW, ".3f")
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", default=list(PARTS), choices=list(PARTS))
    parser.add_argument("--worlds", nargs="+", help="only these worlds")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--draw", action="store_true")
    args = parser.parse_args()
    path = record.RESULTS / "combinations.json"
    known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    results: dict[str, Any] = {part: known[part] for part in PARTS if part in known}
    for part in () if args.draw else args.parts:
        measure, worlds = PARTS[part]
        for seed in args.seeds:
            for name in (name for name in worlds if args.worlds is None or name in args.worlds):
                began = time.process_time()
                own = results.setdefault(part, {}).setdefault(name, {})
                own[str(seed)] = measure(name, seed)
                print(f"{part}, {name}, seed {seed}: {time.process_time() - began:.0f} s", flush=True)
                record.write("combinations", results)
    page(results)


if __name__ == "__main__":
    main()
