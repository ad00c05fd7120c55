"""Cells without labels, with clusters found by training and without: the packaged PBMC data, gates and forest AUC.

    OMP_NUM_THREADS=1 python benchmarks/unlabelled.py                    both arms, seeds 0 and 1
    OMP_NUM_THREADS=1 python benchmarks/unlabelled.py --seeds 5          more seeds

No label is given to the model or to the evaluation. A run of each arm is `gendi train cells:pbmc68k` with the preset
`cells`, all but the number of steps, and is measured as `gendi evaluate` does it, on the same held-out fifth of the
cells. A seed is that of the fit, the clusters, the training, the samples and the deals of real cells.
"""

import argparse
import dataclasses
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import record

import gendi
from gendi.data import open_data
from gendi.data.kinds import kind_of
from gendi.train.presets import get_preset

STEPS = 3000
KEPT = ("energy", "mmd2", "auc-forest", "auc-logistic", "mean-r", "variance-r", "correlation-error", "closest-share")


def one(clusters: int, seed: int) -> dict[str, Any]:
    """Return the figures of one run, with the number of clusters as training takes it."""
    config = get_preset("cells").config
    config = dataclasses.replace(
        config,
        cells=dataclasses.replace(config.cells, clusters=clusters),
        train=dataclasses.replace(config.train, seed=seed, evaluate_every=0, preview_every=0),
    )
    data = open_data("cells:pbmc68k")
    unlabelled = tuple(spec for spec in data.conditions if spec.kind != "class")
    start = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        model = gendi.fit("cells:pbmc68k", out=Path(folder) / "run", config=config, steps=STEPS, quiet=True)
        fake = gendi.sample(model, len(data.heldout), seed=seed)
    seconds = time.process_time() - start
    found = sorted(spec.size for spec in model.config.conditions if spec.name == "cluster")
    bare = dataclasses.replace(data, conditions=unlabelled)
    result = kind_of("cells").evaluate(fake, bare, n=len(data.heldout), seed=seed)
    graded = [metric for metric in result.metrics if metric.graded and metric.passed is not None]
    return {
        "seed": seed,
        "clusters": found[0] if found else 0,
        "n": len(data.heldout),
        "passed": sum(bool(metric.passed) for metric in graded),
        "gates": len(graded),
        "failed": [metric.name for metric in graded if not metric.passed],
        "cpu_seconds": round(seconds, 1),
        **{name: round(float(result[name].value), 4) for name in KEPT},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=2, help="how many seeds, from 0 on")
    seeds = parser.parse_args().seeds
    path = record.RESULTS / "unlabelled.json"
    runs: dict[str, list[dict[str, Any]]] = {"clusters": [], "none": []}
    for seed in range(seeds):
        for arm, clusters in (("clusters", -1), ("none", 0)):
            runs[arm].append(one(clusters, seed))
            print(arm, runs[arm][-1], flush=True)
            path.write_text(json.dumps({"machine": record.machine(), "steps": STEPS, "runs": runs}, indent=1) + "\n")


if __name__ == "__main__":
    main()
