"""The colours of models that predict eps, x0, v or as EDM does, and what mends a shift.

    for each:  gendi train package/img/twitter/64 --size 32 --preset icons --images 75k --out runs/NAME
               with --objective.no-precondition --objective.prediction eps (x0, v); nothing for EDM
    python benchmarks/colour_shift.py measure runs/edm --name EDM --sampler deis
    python benchmarks/colour_shift.py real DATA --size 32
    python benchmarks/colour_shift.py table         writes the table into docs/data.md

benchmarks/colour.py says where the pictures are from. 1000 samples of each of several seeds are drawn, of classes in
the proportions of the training pictures, as colours differ from class to class (`real` measures which gates real
pictures fail whose classes come in turn, and how often tints of 4 bytes are caught).
"""

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from record import RESULTS, machine, write_table
from scipy.stats import t as student

from gendi.api.models import Models
from gendi.api.prepared import prepare
from gendi.api.request import Request
from gendi.api.sample import draw
from gendi.data import open_data
from gendi.data.dataset import Data
from gendi.data.images.colour import colour_metrics
from gendi.data.images.evaluation import evaluate
from gendi.data.split import Split
from gendi.diffusion.randomness import stream
from gendi.evaluate.comparison import Z95
from gendi.train.kept.bundle import load_bundle

NAME, N = "colour-shift", 1000
SHOWN = {
    "mean-red": "mean, red",
    "mean-green": "green",
    "mean-blue": "blue",
    "spread-of-means": "spread of means",
    "grey-balance-red": "grey balance, red",
    "grey-balance-blue": "blue",
    "saturation": "saturation",
    "black-point-red": "black point, red",
    "blacks": "blacks",
    "whites": "whites",
    "fid-pixels": "FID, pixels",
}


def load() -> dict[str, Any]:
    path = RESULTS / f"{NAME}.json"
    return json.loads(path.read_text("utf-8")) if path.exists() else {"machine": machine(), "models": []}


def save(found: dict[str, Any]) -> None:
    (RESULTS / f"{NAME}.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def in_proportion(data: Data, n: int, seed: int) -> dict[str, np.ndarray] | None:
    """Classes of n samples, drawn from those of the training pictures."""
    labels = data.train.labels
    return None if labels is None else {"class": labels[stream(seed, "benchmark classes").integers(0, len(labels), n)]}


def measure(args: argparse.Namespace) -> None:
    """Draw and evaluate samples of a run; replaces the figures of the same name, sampler and calls."""
    bundle = load_bundle(args.run)
    data = open_data(args.data or bundle.meta["data_spec"], size=bundle.codec.size)
    if args.clip is not None:
        config = bundle.config
        bundle = replace(bundle, config=replace(config, sample=replace(config.sample, clip=args.clip)))
    evaluations, seconds = [], []
    for seed in args.seeds:
        settings = {"steps": args.steps, "sampler": args.sampler, "seed": seed}
        if args.bounds:
            settings["bounds"] = tuple(args.bounds)
        request = Request.of(bundle, N, settings, condition=in_proportion(data, N, seed), precision=args.precision)
        start = time.perf_counter()
        samples = draw(prepare(request, Models.read(bundle, None)))
        seconds.append(time.perf_counter() - start)
        if args.keep:
            np.save(f"{args.keep}-{seed}.npy", samples)
        found = evaluate(samples, data, extractor="pixels", n=N).to_dict()
        evaluations.append(
            {
                name: {key: m[key] for key in ("value", "floor", "standard_error", "gate")}
                for name, m in found["metrics"].items()
            }
        )
    entry = {
        "name": args.name,
        "prediction": "EDM" if bundle.config.objective.precondition else bundle.config.objective.prediction,
        "images": bundle.meta.get("images"),
        "sampler": request.how.sampler,
        "calls": request.how.steps,
        "bounds": args.bounds,
        "clip": request.clip,
        "precision": args.precision or bundle.meta.get("precision"),
        "seeds": list(args.seeds),
        "seconds": seconds,
        "evaluations": evaluations,
    }
    whole = load()
    key = (entry["name"], entry["sampler"], entry["calls"])
    whole["models"] = [m for m in whole["models"] if (m["name"], m["sampler"], m["calls"]) != key] + [entry]
    save(whole)
    for line in lines([entry]):
        print(line)


def real(args: argparse.Namespace) -> None:
    """How often deals of real pictures fail, how often tinted ones, and what classes in turn do to them."""
    data = open_data(args.data, size=(args.size, args.size))
    rng = np.random.default_rng(0)
    rows = np.concatenate([part.batch(np.arange(len(part))) for part in (data.train, data.heldout)])
    labels = data.train.labels
    fails: dict[str, int] = {}
    for deal in range(args.deals):
        order = rng.permutation(len(rows))
        samples, rest = rows[order[:N]], order[N:]
        pool = replace(
            data,
            train=Split(rows[rest[100:]]),
            heldout=Split(rows[rest[:100]]),
        )
        sets = {"real": samples}
        for channel, colour in enumerate(("red", "green", "blue") if deal < args.tinted else ()):
            for levels in (4, -4):
                moved = samples.astype(np.int64)
                moved[..., channel] += levels
                sets[f"{colour} {levels:+d}"] = np.clip(moved, 0, 255).astype(np.uint8)
        for name, each in sets.items():
            failed = any(not m.passed for m in colour_metrics(each, pool))
            fails[name] = fails.get(name, 0) + failed
    whole = load()
    whole["real"] = {"deals": args.deals, "tinted": args.tinted, "n": N, "failed": fails}
    if labels is not None:
        classes = [np.flatnonzero(labels == c) for c in range(len(data.class_names))]
        turn = np.concatenate([rng.choice(each, N // len(classes)) for each in classes])
        whole["real"]["classes in turn"] = [
            m.name for m in colour_metrics(data.train.batch(turn), data) if not m.passed
        ]
    save(whole)
    print(whole["real"])


def with_interval(evaluations: Sequence[dict[str, Any]], name: str) -> tuple[float, float]:
    """The mean over seeds and half of its 95% interval: of Student's t over seeds, but at least of the bootstrap."""
    values = np.array([each[name]["value"] for each in evaluations], np.float64)
    k = len(values)
    half = float(student.ppf(0.975, k - 1) * values.std(ddof=1) / np.sqrt(k))
    errors = [each[name]["standard_error"] for each in evaluations]
    if None not in errors:
        half = Z95 * float(np.sqrt(np.mean(np.square(errors)) / k))
    return float(values.mean()), half


def lines(models: Sequence[dict[str, Any]]) -> list[str]:
    """The table in Markdown; values outside their gates in all seeds are bold."""
    factor = {"blacks": 100, "whites": 100}
    first = models[0]["evaluations"][0]
    shown = [name for name in SHOWN if name in first]

    def number(name: str, value: float) -> str:
        return f"{value * factor.get(name, 1):.{1 if abs(value * factor.get(name, 1)) >= 10 else 2}f}"

    gates = [first[name]["gate"] for name in shown]
    out = [
        "| model | sampler, calls | " + " | ".join(SHOWN[name] for name in shown) + " | gates failed |",
        "|---|---|" + "---|" * (len(shown) + 1),
        "| real pictures | | "
        + " | ".join(
            "" if name.startswith("fid") else number(name, first[name]["floor"])  # that of the few held-out pictures
            for name in shown
        )
        + " | |",
        "| gate | | "
        + " | ".join(
            " to ".join(number(name, end) for end in gate) if gate else ""
            for name, gate in zip(shown, gates, strict=True)
        )
        + " | |",
    ]
    for model in models:
        cells = []
        for name in shown:
            value, half = with_interval(model["evaluations"], name)
            gates = [each[name]["gate"] for each in model["evaluations"]]
            outside = [
                gate is not None and not gate[0] <= each[name]["value"] <= gate[1]
                for gate, each in zip(gates, model["evaluations"], strict=True)
            ]
            text = f"{number(name, value)} ± {number(name, half)}"
            cells.append(f"**{text}**" if all(outside) else text)
        failed = [
            sum(
                m["gate"] is not None and m["value"] is not None and not m["gate"][0] <= m["value"] <= m["gate"][1]
                for m in each.values()
            )
            for each in model["evaluations"]
        ]
        of = sum(m["gate"] is not None for m in model["evaluations"][0].values())
        out.append(
            f"| {model['name']} | {model['sampler']}, {model['calls']} | "
            + " | ".join(cells)
            + f" | {', '.join(map(str, failed))} of {of} |"
        )
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    measuring = commands.add_parser("measure")
    measuring.add_argument("run")
    measuring.add_argument("--name", required=True)
    measuring.add_argument("--data", help="the pictures; by default those of the run")
    measuring.add_argument("--sampler")
    measuring.add_argument("--steps", type=int, default=20)
    measuring.add_argument("--bounds", type=float, nargs=2)
    measuring.add_argument("--precision", help="of sampling; by default that of the training")
    measuring.add_argument("--clip", action=argparse.BooleanOptionalAction)
    measuring.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    measuring.add_argument("--keep", help="also write the samples to KEEP-SEED.npy")
    reality = commands.add_parser("real")
    reality.add_argument("data")
    reality.add_argument("--size", type=int, default=32)
    reality.add_argument("--deals", type=int, default=200)
    reality.add_argument("--tinted", type=int, default=20, help="deals that are also measured with tints")
    commands.add_parser("table")
    args = parser.parse_args()
    if args.command == "table":
        found = load()["models"]
        order = list(dict.fromkeys(m["name"] for m in found))
        write_table(
            "data.md", "colour shift", lines(sorted(found, key=lambda m: (order.index(m["name"]), m["sampler"])))
        )
    else:
        {"measure": measure, "real": real}[args.command](args)


if __name__ == "__main__":
    main()
