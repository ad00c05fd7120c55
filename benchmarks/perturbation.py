"""Models of perturbed cells on invented worlds, none a model's own (`gendi.data.cells.perturbation.worlds`).

    OMP_NUM_THREADS=1 python benchmarks/perturbation.py                        all worlds, five seeds: JSON and table
    OMP_NUM_THREADS=1 python benchmarks/perturbation.py --diffusion 1000 --seeds 0 1     adds the diffusion to two seeds
    OMP_NUM_THREADS=1 python benchmarks/perturbation.py --draw                 table and figure of the last run

Of each world some conditions are held out: for each drug one inner dose of two types ("dose"), and of every second drug
all doses in one type ("pair"). Each model is fitted to the rest and moves the controls of the type, each of them once.
Truth are new cells. The ceiling is a second draw of new cells, as many as there are controls. Worlds that are measured
take the place of those in the last run's results, and the others stay. `--diffusion` measures the diffusion only, in
worlds and seeds whose other models were measured before.
"""

import argparse
import json
import time
from collections import defaultdict
from typing import Any

import matplotlib
import numpy as np
import record
import torch
from numpy.typing import NDArray

from gendi.api.perturbation.diffusion import Diffusion
from gendi.data.cells.normalise import log_normalise
from gendi.data.cells.perturbation.baselines import BASELINES
from gendi.data.cells.perturbation.dose_curves import DoseCurves
from gendi.data.cells.perturbation.effects import HillEffects
from gendi.data.cells.perturbation.scores import SCORES, Target, averaged, components_of, compute_scores, scaled
from gendi.data.cells.perturbation.transport import transport
from gendi.data.cells.perturbation.worlds import DOSES, WORLDS, Invented, invent
from gendi.diffusion.randomness import stream
from gendi.evaluate.intervals import of_deals

matplotlib.use("Agg")
import matplotlib.pyplot as plt

Condition = tuple[int, int, float]
TRUE_CELLS, BASIS = 200, 20
KINDS = ("dose", "pair")
OURS, PLAIN, MEANS = "dose curves", "dose curves, plain move", "dose curves, means only"
TRUE = "dose curves, true dispersions"
OTHERS = (*(kind.name for kind in BASELINES if kind.name != "control"), "hill effects")
JUDGED = ("pearson", "pearson changed", "energy", "centroid rank")
TITLES = {"pearson": "Pearson", "pearson changed": "of changed genes", "slope error": "slope"}


def held_out(world: Invented) -> dict[Condition, str]:
    """Return the conditions that are predicted, and what kind each is."""
    types, out = len(world.experiment.type_names), {}
    for d in range(len(world.experiment.drug_names)):
        out |= {(c, d, DOSES[1 + (c + d) % 3]): "dose" for c in (d % types, (d + 2) % types)}
        if d % 2:
            out |= {((d + 1) % types, d, x): "pair" for x in DOSES}
    return out


def targets(
    world: Invented, asked: dict[Condition, str], seed: int
) -> dict[Condition, tuple[Target, NDArray[np.int64]]]:
    """Return the truth about each condition, and a second draw of it."""
    rng, out = stream(seed, f"truth of {world.name}"), {}
    pairs = [(d, x) for d in range(len(world.experiment.drug_names)) for x in DOSES]
    for c in sorted({c for c, _, _ in asked}):
        cells = [world.treated(c, d, x, TRUE_CELLS, rng) for d, x in pairs]
        centroids = np.stack([log_normalise(part).mean(0) for part in cells])
        others = [world.treated(c, d, x, BASIS, rng) for d, x in pairs]
        components = components_of(np.concatenate([world.controls(c, TRUE_CELLS, rng), *others]))
        for d, x in ((d, x) for e, d, x in asked if e == c):
            i, control = pairs.index((d, x)), world.experiment.controls(c, d)
            target = Target(control, cells[i], world.log_fold(c, d, x), centroids, i, components)
            out[c, d, x] = target, world.treated(c, d, x, len(control), rng)
    return out


def true_change(world: Invented, cell_type: int, drug: int, dose: float) -> NDArray[np.float64]:
    """Return the change (G,) of the logarithm of the dispersion in the world "variance", states included.

    Rates are the product of a gamma variate of the dispersion a and exp(N(0, |w|^2)), less its mean, so the squared
    coefficient of variation of their product is (1 + a) exp(|w|^2) - 1.
    """
    height = float(world.curves[drug](cell_type, dose).max())
    before, more = np.square(world.loadings[:, :-1]).sum(1), np.square(height * world.loadings[:, -1])
    a, b = world.dispersions, world.dispersions * np.exp(world.spread * height)
    return np.asarray(np.log(((1 + b) * np.exp(before + more) - 1) / ((1 + a) * np.exp(before) - 1)))


def measured(name: str, seed: int) -> dict[str, Any]:
    """Return every model's scores by kind of condition."""
    world = invent(name, seed)
    asked = held_out(world)
    train = world.experiment.without(list(asked))
    models: dict[str, Any] = {kind.name: kind() for kind in BASELINES if kind.name in OTHERS}
    models |= {"hill effects": HillEffects(), OURS: DoseCurves()}
    took = {}
    for key, model in models.items():
        began = time.process_time()
        model.fit(train)
        took[key] = time.process_time() - began
    rows: dict[str, dict[str, list[dict[str, float]]]] = defaultdict(lambda: defaultdict(list))
    for condition, (target, second) in targets(world, asked, seed).items():
        kind, (c, d, x) = asked[condition], condition
        rows["null"][kind].append(compute_scores(target.control, target))
        rows["ceiling"][kind].append(compute_scores(second, target))
        for key, model in models.items():
            rows[key][kind].append(compute_scores(model.predict(target.control, c, d, x, 3), target))
        lfc = models[OURS].lfc(c, d, x)
        rows[MEANS][kind].append(compute_scores(models[OURS].moved(target.control, c, lfc, 3), target))
        if name == "variance":
            moved = models[OURS].moved(target.control, c, lfc, 3, true_change(world, c, d, x))
            rows[TRUE][kind].append(compute_scores(moved, target))
        rates = target.control.sum(0) / target.control.sum()
        plain = transport(target.control, lfc, rates, stream(3, "plain move"))
        rows[PLAIN][kind].append(compute_scores(plain, target))
    means: dict[str, Any] = {key: {kind: averaged(parts[kind]) for kind in KINDS} for key, parts in rows.items()}
    out = {
        key: {kind: scaled(means[key][kind], means["null"][kind], means["ceiling"][kind]) for kind in KINDS}
        for key in rows
        if key not in ("null", "ceiling")
    }
    raw = {key: means[key] for key in ("null", "ceiling")}
    return {"seconds": took, "raw": raw, "scaled": out, "weights of hill": list(models[OURS].weights.values())}


def with_diffusion(run: dict[str, Any], name: str, seed: int, steps: int) -> dict[str, Any]:
    """Return a run with the scores of the diffusion, which is trained in `steps` steps."""
    world = invent(name, seed)
    asked = held_out(world)
    effects = DoseCurves().fit(world.experiment.without(list(asked)))
    began = time.process_time()
    model = Diffusion(effects, steps=steps, seed=seed)
    took = time.process_time() - began
    rows: dict[str, list[dict[str, float]]] = defaultdict(list)
    for (c, d, x), (target, _) in targets(world, asked, seed).items():
        rows[asked[c, d, x]].append(compute_scores(model.predict(target.control, c, d, x, 3), target))
    null, ceiling = run["raw"]["null"], run["raw"]["ceiling"]
    scores = {kind: scaled(averaged(rows[kind]), null[kind], ceiling[kind]) for kind in KINDS}
    more = {"seconds": {"diffusion": took}, "scaled": {"diffusion": scores}}
    return run | {key: run[key] | part for key, part in more.items()}


def values(worlds: dict[str, Any], name: str, kind: str, model: str, score: str) -> list[float]:
    """Return the scaled score of a model in each seed of a world that has it."""
    runs = [run["scaled"].get(model) for run in worlds[name].values()]
    return [run[kind][score] for run in runs if run]


def compared(worlds: dict[str, Any], name: str, kind: str, score: str) -> tuple[str, str, list[float], list[float]]:
    """Return a verdict, the best other model by its mean, and the values of ours and of that model."""
    mine = values(worlds, name, kind, OURS, score)
    best = max(OTHERS, key=lambda other: float(np.mean(values(worlds, name, kind, other, score))))
    theirs = values(worlds, name, kind, best, score)
    gaps = [a - b for a, b in zip(mine, theirs, strict=True)]
    interval = of_deals(gaps).interval if len(gaps) > 1 else None
    verdict = "tie" if interval is None or interval[0] <= 0 <= interval[1] else "best" if interval[0] > 0 else "worse"
    return verdict, best, mine, theirs


def table(worlds: dict[str, Any]) -> list[str]:
    """Return the table of the page: our model against the best of the others, by world, kind and score."""
    lines = ["| world, held out | " + " | ".join(TITLES.get(score, score) for score in JUDGED) + " |"]
    lines.append("|---" * (len(JUDGED) + 1) + "|")
    for kind in KINDS:
        for name in worlds:
            cells = []
            for score in JUDGED:
                verdict, best, mine, theirs = compared(worlds, name, kind, score)
                cells.append(f"{record.with_interval(mine, '.2f')}; {best} {np.mean(theirs):.2f}: {verdict}")
            lines.append(f"| {name}, {kind} | {' | '.join(cells)} |")
    return lines


def summary(worlds: dict[str, Any]) -> list[str]:
    """Return the table of means over worlds, with intervals over worlds."""
    lines = ["| held out | model | " + " | ".join(TITLES.get(score, score) for score in SCORES) + " |"]
    lines.append("|---" * (len(SCORES) + 2) + "|")
    for kind in KINDS:
        for model in (*OTHERS, OURS, MEANS, PLAIN):
            cells = []
            for score in SCORES:
                means = [float(np.mean(values(worlds, name, kind, model, score))) for name in worlds]
                cells.append(record.with_interval(means, ".2f"))
            lines.append(f"| {kind} | {model} | {' | '.join(cells)} |")
    return lines


def of_dispersions(worlds: dict[str, Any]) -> list[str]:
    """Return the table of energies with and without changes of dispersion, and of the gaps over seeds."""
    lines = ["| world, held out | with | means only | gap | true dispersions |", "|---" * 5 + "|"]
    for kind in KINDS:
        for name in worlds:
            own = {name: {seed: run for seed, run in worlds[name].items() if MEANS in run["scaled"]}}
            both = (values(own, name, kind, model, "energy") for model in (OURS, MEANS))
            pairs = list(zip(*both, strict=True))
            cells = [f"{np.mean(part):.3f}" for part in zip(*pairs, strict=True)]
            gap = record.with_interval([a - b for a, b in pairs], "+.3f")
            best = values(worlds, name, kind, TRUE, "energy")
            lines.append(
                f"| {name}, {kind} | {' | '.join(cells)} | {gap} | {f'{np.mean(best):.3f}' if best else '-'} |"
            )
    return lines


def of_diffusion(worlds: dict[str, Any]) -> list[str]:
    """Return the table of the diffusion beside moved controls, in the runs that have it."""
    lines = ["| world, held out | model | seeds | " + " | ".join(TITLES.get(score, score) for score in SCORES) + " |"]
    lines.append("|---" * (len(SCORES) + 3) + "|")
    for name, runs in worlds.items():
        own = {name: {seed: run for seed, run in runs.items() if "diffusion" in run["scaled"]}}
        for kind in KINDS if own[name] else ():
            for model in ("diffusion", OURS):
                cells = [f"{np.mean(values(own, name, kind, model, score)):.2f}" for score in SCORES]
                lines.append(f"| {name}, {kind} | {model} | {len(own[name])} | {' | '.join(cells)} |")
    return lines


def drawn(worlds: dict[str, Any]) -> None:
    names, shown = list(worlds), ("additive", "interpolation", "shrunk", "ridge", "hill effects", OURS)
    figure, axes = plt.subplots(len(JUDGED), 2, figsize=(11, 10), layout="constrained", sharex=True, sharey="row")
    for row, score in zip(axes, JUDGED, strict=True):
        for axis, kind in zip(row, KINDS, strict=True):
            for i, model in enumerate(shown):
                found = [values(worlds, name, kind, model, score) for name in names]
                mean = [float(np.mean(own)) for own in found]
                low = [of_deals(own).interval or (own[0], own[0]) for own in found]
                error = np.array([[m - a, b - m] for m, (a, b) in zip(mean, low, strict=True)]).T
                style = (
                    {"marker": "D", "color": "black", "zorder": 3} if model == OURS else {"marker": "o", "alpha": 0.8}
                )
                x = np.arange(len(names)) + (i - (len(shown) - 1) / 2) * 0.12
                axis.errorbar(x, mean, error, linestyle="", markersize=4, linewidth=0.8, label=model, **style)
            for y in (0, 1):
                axis.axhline(y, color="black", linewidth=0.8, linestyle="--")
            axis.set_ylabel(TITLES.get(score, score))
            axis.set_xticks(range(len(names)), [name.replace(" ", "\n") for name in names], fontsize=8)
    axes[0, 0].set_title("a dose of a known pair of type and drug")
    axes[0, 1].set_title("a pair that was never seen")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, ncols=len(labels), fontsize=9, loc="outside lower center")
    figure.savefig(record.DOCS / "perturbation.png", dpi=100)
    plt.close(figure)


def page(worlds: dict[str, Any]) -> None:
    """Write the tables of the page."""
    for mark, lines in (
        ("means", summary(worlds)),
        ("scores", table(worlds)),
        ("dispersions", of_dispersions(worlds)),
        ("diffusion", of_diffusion(worlds)),
    ):
        record.write_table("perturbation.md", mark, lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--worlds", nargs="+", default=list(WORLDS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument(
        "--diffusion", type=int, default=0, help="training steps of the diffusion; 0 is the other models"
    )
    parser.add_argument("--draw", action="store_true")
    args = parser.parse_args()
    path = record.RESULTS / "perturbation.json"
    known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    worlds: dict[str, Any] = known.get("worlds", {}) if set(known.get("worlds", {})) <= set(WORLDS) else {}
    torch.set_num_threads(1)
    for seed in () if args.draw else args.seeds:
        for name in args.worlds:
            began = time.process_time()
            own = worlds.setdefault(name, {})
            if args.diffusion:
                own[str(seed)] = with_diffusion(own[str(seed)], name, seed, args.diffusion)
            else:
                own[str(seed)] = measured(name, seed)
            print(f"{name}, seed {seed}: {time.process_time() - began:.0f} s", flush=True)
            worlds = {key: worlds[key] for key in WORLDS if key in worlds}
            record.write("perturbation", {"worlds": worlds})
    page(worlds)
    drawn(worlds)


if __name__ == "__main__":
    main()
