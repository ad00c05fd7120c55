"""Small tables with and without noise on their training rows (`gendi.train.step.smoothing`), at equal numbers of steps.

    python benchmarks/smoothing.py                              wine, breast-cancer and 400 rows of the mixed table
    python benchmarks/smoothing.py --tables wine --seeds 0 --widths 0 -1 --steps 500
    python benchmarks/smoothing.py --table                      only writes the table of the page

Half of each table is held out, by class of the target, and the other half trains a network of the preset `table` for so
many steps of 512 rows; four times as many rows are drawn as are held out, and each quarter of them is measured as
benchmarks/tables.py measures rows. A width of -1 is that of the preset, by the number of rows. Each run is added to
benchmarks/results/smoothing.json, and the table of docs/tables.md is written anew from it.
"""

import argparse
import dataclasses
import json
from typing import Any

import numpy as np
import record
import torch
from sklearn.datasets import load_breast_cancer, load_wine

import tables
from gendi.data.tables.example import mixed_table
from gendi.diffusion.gaussian.samplers import sample
from gendi.train.presets import get_preset
from gendi.train.step.trainer import Trainer

FILE = record.RESULTS / "smoothing.json"
MAKERS = {
    "wine": lambda: (load_wine(as_frame=True).frame, "target"),
    "cancer": lambda: (load_breast_cancer(as_frame=True).frame, "target"),
    "mixed, 400 rows": lambda: (mixed_table(400), "outcome"),
}
PARTS = 4


def run(name: str, seed: int, width: float, steps: int) -> dict[str, Any]:
    """Return the metrics of one model."""
    frame, target = MAKERS[name]()
    data = tables.halves(frame, target, seed)
    at, n = [column.name for column in data.schema.columns].index(target), len(data.heldout)
    preset = get_preset("table").config
    config = dataclasses.replace(preset, train=dataclasses.replace(preset.train, seed=seed, smoothing=width))
    trainer = Trainer(config, data)
    for step in range(steps):
        trainer.step(step / steps)
    codec, how = trainer.data.fitted, {"steps": config.sample.steps, "sampler": config.sample.sampler}
    x = sample(trainer.ema_denoiser(), codec.shape, PARTS * n, seed=seed, **how)
    parts = np.split(codec.decode(x, {}, seed, 0).numpy(), PARTS)
    found = [tables.scores(part, data, at, seed, trees=100) for part in parts]
    about = {"table": name, "seed": seed, "asked": width, "steps": steps, "rows": len(data.train)}
    means = {metric: float(np.mean([each[metric] for each in found])) for metric in found[0]}
    return {**about, "width": trainer.config.train.smoothing, **means}


def page(runs: list[dict[str, Any]]) -> None:
    heads = ["table", "training rows", "width", "steps", "seeds", *(title for title, _ in tables.METRICS.values())]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for name in MAKERS:
        for asked in sorted({each["asked"] for each in runs}, key=lambda width: (width < 0, width)):
            mine = [each for each in runs if (each["table"], each["asked"]) == (name, asked)]
            if mine:
                first, cells = (
                    mine[0],
                    [record.with_interval([each[m] for each in mine], ".3f") for m in tables.METRICS],
                )
                facts = (first["rows"], f"{first['width']:g}", first["steps"], len(mine))
                lines.append(f"| {name} | {' | '.join(map(str, facts))} | {' | '.join(cells)} |")
    record.write_table("tables.md", "smoothing", lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", nargs="+", choices=list(MAKERS), default=list(MAKERS))
    parser.add_argument("--widths", nargs="+", type=float, default=[0.0, -1.0])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--table", action="store_true", help="write the table, and nothing else")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    known = json.loads(FILE.read_text("utf-8"))["runs"] if FILE.exists() else []
    for seed in asked.seeds if not asked.table else ():
        for name in asked.tables:
            for width in asked.widths:
                one = run(name, seed, width, asked.steps)
                print(json.dumps(one), flush=True)
                same = ("table", "seed", "asked")
                known = [*(other for other in known if any(other[key] != one[key] for key in same)), one]
                record.write("smoothing", {"runs": known})
    page(known)


if __name__ == "__main__":
    main()
