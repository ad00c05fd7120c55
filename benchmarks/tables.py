"""Three tables, half of each held out: the table preset beside resampling and a Gaussian copula.

    python benchmarks/tables.py                     all three, three seeds each: a quarter of an hour and more
    python benchmarks/tables.py --seconds 20 wine   a quick look; nothing is written

Writes benchmarks/results/tables.json and the tables of docs/tables.md.
"""

import argparse
import dataclasses
import time
from typing import Any

import numpy as np
import pandas as pd
import record
import torch
from sklearn.datasets import load_breast_cancer, load_wine
from sklearn.ensemble import RandomForestClassifier

from gendi.data.dataset import Data
from gendi.data.split import Split
from gendi.data.tables.codec import TableCodec
from gendi.data.tables.evaluate import Features
from gendi.data.tables.example import mixed_table
from gendi.data.tables.read import read_frame
from gendi.diffusion.gaussian.samplers import sample
from gendi.diffusion.randomness import stream
from gendi.evaluate.vectors import Standardised
from gendi.evaluate.vectors.distances import energy_distance
from gendi.evaluate.vectors.marginals import correlation_error
from gendi.evaluate.vectors.records import closer
from gendi.evaluate.vectors.space import World
from gendi.evaluate.vectors.two_sample import two_sample
from gendi.train.config import RunConfig
from gendi.train.presets import get_preset
from gendi.train.step.resolve import prepared
from gendi.train.step.trainer import Trainer

SECONDS = 15.0
METRICS = ("energy", "auc", "correlation-error", "tstr", "closest-share")
METHODS = ("gendi", "gaussian-copula", "resampling", "real")


def tables() -> dict[str, tuple[pd.DataFrame, str]]:
    """Return each table and the column that is foretold from the others."""
    wine, cancer = load_wine(as_frame=True).frame, load_breast_cancer(as_frame=True).frame
    return {"wine": (wine, "target"), "cancer": (cancer, "target"), "mixed": (mixed_table(2000), "outcome")}


def halves(frame: pd.DataFrame, target: str, seed: int) -> Data:
    """Return a table with half of each class of `target` held out."""
    loaded = read_frame(frame)
    rng, codes = stream(seed, "benchmark halves"), pd.factorize(frame[target])[0]
    held = np.concatenate([rng.permutation(np.flatnonzero(codes == k))[::2] for k in np.unique(codes)])
    kept = np.setdiff1d(np.arange(len(frame)), held)
    train, heldout = (Split(loaded.rows[np.sort(part)]) for part in (kept, held))
    return Data("table", "", train, heldout, (), "", None, (), (), kind="table", schema=loaded.schema)  # type: ignore[arg-type]


def trained(config: RunConfig, data: Data, seconds: float, n: int) -> tuple[np.ndarray, int]:
    """Return n rows of a model trained for so many CPU seconds, sampling included, and the steps it took."""
    trainer, start = Trainer(config, data), time.process_time()
    reserve = 0.05 * seconds
    while (spent := time.process_time() - start) < seconds - reserve:
        trainer.step(spent / (seconds - reserve))
    codec = trainer.data.codec
    x = sample(
        trainer.ema_denoiser(),
        codec.shape,
        n,
        steps=config.sample.steps,
        sampler=config.sample.sampler,
        seed=config.train.seed,
    )
    return codec.decode(x, {}, config.train.seed, 0).numpy(), trainer.step_count


def gaussian_copula(codec: TableCodec, train: np.ndarray, n: int, seed: int) -> np.ndarray:
    """Return n rows of normal scores, those of words too, with the training rows' correlations."""
    z = codec.encode(torch.from_numpy(train), {}, torch.arange(len(train))).double().numpy()
    factor = np.linalg.cholesky(np.corrcoef(z.T) + 1e-6 * np.eye(z.shape[1]))
    drawn = stream(seed, "benchmark copula").standard_normal((n, z.shape[1])) @ factor.T
    return codec.decode(torch.from_numpy(drawn), {}, seed, 0).numpy()


def scores(rows: np.ndarray, data: Data, target: int, seed: int) -> dict[str, float]:
    """Return the metrics of rows (n, G) against the held-out half."""
    train, heldout = data.train.rows, data.heldout.rows
    features = Features.fit(data.schema, train, heldout)
    space = Standardised.fit(features(np.concatenate([train, heldout])))
    world = World.fit(space, features(np.concatenate([train, heldout])), seed)
    x, a, b = (world.part(features(part), None) for part in (rows, train, heldout))
    m = min(len(a), len(b))
    return {
        "energy": energy_distance(x.z, b.z),
        "auc": two_sample(x.x, b.x, "forest", seed).auc,
        "correlation-error": correlation_error(x.x, b.x),
        "tstr": foretold(features, rows, heldout, target, seed),
        "closest-share": float(closer(x.z, a.z[:m], b.z[:m]).mean()),
    }


def foretold(features: Features, rows: np.ndarray, heldout: np.ndarray, target: int, seed: int) -> float:
    """Return the accuracy on held-out rows of a forest that was trained on `rows`."""
    forest = RandomForestClassifier(200, random_state=seed).fit(features(rows, (target,)), rows[:, target])
    return float(forest.score(features(heldout, (target,)), heldout[:, target]))


def run(name: str, seed: int, seconds: float, config: RunConfig) -> dict[str, dict[str, Any]]:
    frame, target = tables()[name]
    data = halves(frame, target, seed)
    config = dataclasses.replace(config, train=dataclasses.replace(config.train, seed=seed))
    fitted, n = prepared(config, data), len(data.heldout)
    in_scores = TableCodec.fit(data.schema, data.train.rows, {}, points=False)
    start = time.perf_counter()
    ours, steps = trained(config, fitted, seconds, n)
    took = time.perf_counter() - start
    rng = stream(seed, "benchmark resampling")
    sets = {
        "gendi": ours,
        "gaussian-copula": gaussian_copula(in_scores, data.train.rows, n, seed),
        "resampling": data.train.rows[rng.integers(0, len(data.train), n)],
        "real": data.train.rows,
    }
    at = [column.name for column in data.schema.columns].index(target)
    found: dict[str, dict[str, Any]] = {who: scores(rows, data, at, seed) for who, rows in sets.items()}
    found["gendi"] |= {"steps": steps, "seconds": took}
    for who, each in found.items():
        print(
            f"{name} {seed} {who:16} " + "  ".join(f"{m} {each[m]:.3f}" for m in METRICS),
            each.get("steps", ""),
            flush=True,
        )
    return found


def page(results: dict[str, list[dict[str, dict[str, Any]]]]) -> None:
    lines = [
        "| table | rows from | energy | AUC | correlation error | TSTR | closest share |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, seeds in results.items():
        for who in METHODS:
            cells = [[float(each[who][m]) for each in seeds] for m in METRICS]
            lines.append(f"| {name} | {who} | " + " | ".join(record.with_interval(c, ".3f") for c in cells) + " |")
    record.write_table("tables.md", "benchmark", lines)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="*")
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--seeds", type=int, default=3)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    config = get_preset("table").config
    names = asked.names or list(tables())
    results = {name: [run(name, seed, asked.seconds, config) for seed in range(asked.seeds)] for name in names}
    if not asked.names:
        record.write("tables", {"cpu_seconds": asked.seconds, "config": config.to_dict(), "results": results})
        page(results)


if __name__ == "__main__":
    main()
