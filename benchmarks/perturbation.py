"""Cells under drugs that are made up, on scanpy's packaged PBMC data: models against baselines, with known truth.

    OMP_NUM_THREADS=1 python benchmarks/perturbation.py                 two worlds; JSON, and table and figure in docs/

Of each world some conditions are held out: a dose (1.0) of every pair with an interaction and of as many without, and
all doses of one pair with an interaction and one without. Each model is fitted to the rest and moves the controls of
the type; truth is what the drug does to real cells that were kept aside. The oracle treats the controls truly.
`--draw` draws the figure of the last run again.
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

from gendi.api.perturbation.diffusion import Diffusion
from gendi.data.cells.demo import demo_anndata
from gendi.data.cells.normalise import log_normalise
from gendi.data.cells.perturbation.baselines import BASELINES
from gendi.data.cells.perturbation.effects import HillEffects
from gendi.data.cells.perturbation.scores import SCORES, Target, averaged, compute_scores, scaled
from gendi.data.cells.perturbation.semi_synthetic import World, semi_synthetic

matplotlib.use("Agg")
import matplotlib.pyplot as plt

LEAST, DOSE, COPIES = 50, 1.0, 4
KINDS = ("dose, interaction", "dose, none", "pair, interaction", "pair, none")


def world_of(seed: int) -> World:
    adata = demo_anndata()
    labels = adata.obs["bulk_labels"].astype(str).to_numpy()
    names, sizes = np.unique(labels, return_counts=True)
    kept = np.isin(labels, names[sizes >= LEAST])
    return semi_synthetic(np.asarray(adata.X.toarray())[kept], labels[kept], seed, genes=list(adata.var_names))


def held_out(world: World) -> dict[tuple[int, int, float], str]:
    """Return the conditions that are predicted and what kind each is."""
    e = world.experiment
    pairs = [(c, d) for c in range(len(e.type_names)) for d in range(len(e.drug_names))]
    planted = [pair for pair in pairs if world.truth.interacts(*pair)]
    others = [pair for pair in pairs if pair not in planted][:: max(1, (len(pairs) - len(planted)) // len(planted))]
    out = {}
    for name, some in (("interaction", planted), ("none", others[: len(planted)])):
        out |= {(*some[0], float(x)): f"pair, {name}" for x in np.unique(e.doses[~e.control])}
        out |= {(*pair, DOSE): f"dose, {name}" for pair in some[1:]}
    return out


def measured(world: World, steps: int, seed: int) -> dict[str, Any]:
    """Return every model's scores by kind of condition."""
    asked = held_out(world)
    train = world.experiment.without(list(asked))
    ways: dict[str, Any] = {kind.name: kind().fit(train) for kind in BASELINES}
    began = time.process_time()
    ways["hill, no interactions"] = HillEffects(interactions=False).fit(train)
    ways["hill effects"] = HillEffects().fit(train)
    took = {"hill effects": time.process_time() - began}
    if steps:
        began = time.process_time()
        ways["diffusion"] = Diffusion(ways["hill effects"], steps=steps, seed=seed)
        took["diffusion"] = time.process_time() - began
    rows: dict[str, dict[str, list[dict[str, float]]]] = defaultdict(lambda: defaultdict(list))
    doses = [float(x) for x in np.unique(world.experiment.doses[~world.experiment.control])]
    for (c, d, x), kind in asked.items():
        control, aside = train.controls(c), world.aside(c)
        copies = np.tile(control, (COPIES, 1))
        others = [(e, y) for e in range(len(train.drug_names)) for y in doses]
        centroids = np.stack([log_normalise(world.treated(aside, c, e, y, 1)).mean(0) for e, y in others])
        target = Target(
            control, world.treated(aside, c, d, x, 1), world.truth.log_fold(c, d, x), centroids, others.index((d, x))
        )
        rows["null"][kind].append(compute_scores(copies, target))
        rows["oracle"][kind].append(compute_scores(world.treated(copies, c, d, x, 2), target))
        for name, model in ways.items():
            rows[name][kind].append(compute_scores(model.predict(copies, c, d, x, 3), target))
    means = {name: {kind: averaged(parts[kind]) for kind in KINDS} for name, parts in rows.items()}
    for name in ways:
        for kind in KINDS:
            values = {score: means[name][kind][score] for score in SCORES}
            means[name][kind]["scaled"] = scaled(values, means["null"][kind], means["oracle"][kind])
    return {"conditions": len(asked), "seconds": took, "scores": means}


def drawn(results: dict[str, Any]) -> None:
    worlds = list(results.values())
    names = [name for name in worlds[0]["scores"] if name not in ("null", "oracle", "control")]
    figure, axes = plt.subplots(1, 3, figsize=(11, 3.6), layout="constrained")
    for axis, score in zip(axes, ("pearson", "pearson changed", "energy"), strict=True):
        for i, name in enumerate(names):
            values = np.array([[w["scores"][name][kind]["scaled"][score] for kind in KINDS] for w in worlds], float)
            x = np.arange(len(KINDS)) + (i - len(names) / 2) * 0.1
            axis.scatter(np.tile(x, len(worlds)), values.reshape(-1), s=16, label=name, color=f"C{i}")
        for y in (0, 1):
            axis.axhline(y, color="black", linewidth=0.8, linestyle="--")
        axis.set(title=score)
        axis.set_xticks(range(len(KINDS)), [kind.replace(", ", "\n") for kind in KINDS], fontsize=8)
    axes[0].set_ylabel("0: no change, 1: truth drawn afresh")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, fontsize=8, ncols=len(labels), loc="outside lower center")
    figure.savefig(record.DOCS / "perturbation.png", dpi=110)


def table(results: dict[str, Any]) -> list[str]:
    worlds = list(results.values())
    lines = ["| held out | model | Pearson | of changed genes | slope | energy | centroid rank |"]
    lines += ["|---|---|---|---|---|---|---|"]
    for kind in KINDS:
        for name in worlds[0]["scores"]:
            if name in ("null", "oracle", "control"):
                continue
            cells = []
            for score in SCORES:
                values = [w["scores"][name][kind]["scaled"][score] for w in worlds]
                known = [v for v in values if v is not None]
                half = f" ± {np.ptp(known) / 2:.2f}" if len(known) > 1 else ""
                cells.append(f"{np.mean(known):.2f}{half}" if known else "none")
            lines.append(f"| {kind} | {name} | {' | '.join(cells)} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--steps", type=int, default=1000, help="of the diffusion; 0 leaves it out")
    parser.add_argument("--draw", action="store_true")
    args = parser.parse_args()
    if args.draw:
        drawn(json.loads((record.RESULTS / "perturbation.json").read_text(encoding="utf-8"))["worlds"])
        return
    torch.set_num_threads(1)
    results = {str(seed): measured(world_of(seed), args.steps, seed) for seed in args.seeds}
    record.write("perturbation", {"steps": args.steps, "worlds": results})
    lines = table(results)
    print("\n".join(lines))
    drawn(results)
    if (record.DOCS / "perturbation.md").exists():
        record.write_table("perturbation.md", "scores", lines)


if __name__ == "__main__":
    main()
