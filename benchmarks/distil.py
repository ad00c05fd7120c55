"""Students of a run: how much quality is left in one to four calls.

    python benchmarks/distil.py --run runs/mnist --seconds 240 --seeds 0 1 2 --methods ect progressive mean-flow \\
        --calls 1 2 4 [--folder runs/students] [--train | --evaluate] \\
        [--what "what changed" --flags "--derivative differences"]
    python benchmarks/distil.py --table        only writes the table

`--train` makes the students, by `gendi distil`, in folders that stay, and `--evaluate` measures the teacher and the
students that are there; without either, both are done. `--seconds-only` times them anew on an idle machine, if other
work ran beside `--evaluate`. A student of `progressive` is made for each number of calls, one
of `dmd` for the most of them, and one of `ect` or `mean-flow` for 2. 5000 samples, the classes in turn, are compared
with 5000 training images on the features of the digit classifier; the floor is that of as many real test images, and
the excess is what is above it. The seconds are those of 1000 samples, drawn on their own. All models are kept in
results/distil.json with the machine and the versions; measuring one again replaces its figures.
"""

import argparse
import math
import shlex
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from record import RESULTS, keep_model, kind, known_models, machine, share, with_interval, write_table

import gendi
from gendi.data import open_data
from gendi.data.images.evaluation import evaluate
from gendi.evaluate.comparison import Z95
from gendi.train.kept.bundle import Bundle, load_bundle

N, TIMED = 5000, 1000
"""Samples that are measured, and those whose drawing is timed."""
METHODS = ("ect", "progressive", "mean-flow", "dmd")
FILE = RESULTS / "distil.json"
SHOWN = ("coverage-digits", "asked-seen", "nearest-train-ratio", "confidence")


def place(folder: Path, method: str, calls: int, seconds: float, seed: int) -> Path:
    """Return the folder of a student; one of `ect` or `mean-flow` is the same for any number of calls."""
    made_for = f"-{calls}" if method == "progressive" else ""
    return folder / f"{method}{made_for}-{seconds:g}s-{seed}"


def trained(run: Path, student: Path, method: str, made_for: int, seconds: float, seed: int, flags: list[str]) -> None:
    """Make a student by the command, so that it is what a user would get, or go on with it."""
    command = [sys.executable, "-m", "gendi", "distil", str(run), "--method", method, "--max-time", f"{seconds:g}s"]
    command += ["--calls", str(made_for), "--seed", str(seed), "--out", str(student), *flags]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def timed(bundle: Bundle, calls: int | None) -> float:
    """Return the seconds that `TIMED` samples take."""
    gendi.sample(bundle, n=10, seed=0, steps=calls)  # what is made once is not timed
    start = time.perf_counter()
    gendi.sample(bundle, n=TIMED, seed=1, steps=calls)
    return time.perf_counter() - start


def measured(bundle: Bundle, calls: int | None) -> dict[str, Any]:
    """Return how samples of a model score in so many calls, by its own sampler; None is its own number of calls."""
    data = open_data(bundle.meta["data_spec"])
    seconds = timed(bundle, calls)
    images = gendi.sample(bundle, n=N, seed=0, steps=calls)
    classes = len(bundle.class_names) or None
    asked = None if classes is None else np.arange(N) % classes
    metrics = evaluate(images, data, extractor="digits", n=N, asked=asked).to_dict()["metrics"]
    fid = metrics["fid-digits"]
    return {
        "fid": fid["value"],
        "floor": fid["floor"],
        "excess": fid["value"] - fid["floor"],
        "error": Z95 * math.hypot(fid["standard_error"], fid["floor_error"] or 0.0),
        **{name: metrics[name]["value"] for name in SHOWN if name in metrics},
        "floors": {name: metrics[name]["floor"] for name in SHOWN if name in metrics},
        "seconds_of_1000": seconds,
        "sampler": bundle.config.sample.sampler,
        "calls": calls or bundle.config.sample.steps,
        "images": bundle.meta["images"],
        "parameters": sum(tensor.numel() for tensor in bundle.state.values()),
        "precision": bundle.meta["precision"],
    }


KEY = ("kind", "what", "run", "method", "seconds", "seed", "calls")


def again(fields: dict[str, Any], bundle: Bundle, calls: int | None) -> dict[str, Any] | None:
    """Return the figures that are known of a model with its seconds measured anew; None if it is not known."""
    wanted = fields | {"calls": calls or bundle.config.sample.steps}
    for model in known_models(FILE):
        if all(model[key] == wanted[key] for key in KEY):
            return model | {"seconds_of_1000": timed(bundle, calls)}
    return None


def table() -> list[str]:
    """Return a row for each model and number of calls: the median over seeds, with its range."""
    lines = [
        "| model | training, s | calls | excess of digit FID | coverage | the requested digit | nearest-train ratio "
        "| 1000 samples, s |",
        "|---" * 8 + "|",
    ]
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for model in known_models(FILE):
        key = (model["kind"], model["what"], model["method"], model["seconds"], model["calls"])
        groups.setdefault(key, []).append(model)
    order = ("teacher", *METHODS)
    for (processor, what, method, seconds, calls), models in sorted(
        groups.items(), key=lambda group: (group[0][:2], order.index(group[0][2]), group[0][3] or 0, group[0][4])
    ):
        name = f"{method}{f', {what}' if what else ''} ({processor}, {_seeds(len(models))})"
        excess = [model["excess"] for model in models]
        shown = f"{excess[0]:.2f} ± {models[0]['error']:.2f}"
        if len(excess) > 1:
            shown = f"{statistics.median(excess):.2f} ({min(excess):.2f} to {max(excess):.2f})"
        cells = [name, "" if seconds is None else f"{seconds:g}", str(calls), shown]
        for metric in SHOWN[:2]:
            values = [model[metric] for model in models if metric in model]
            one = share(values[0], N) if len(values) == 1 else with_interval(values, ".3f") if values else ""
            cells.append(one)
        cells.append(f"{statistics.median(model['nearest-train-ratio'] for model in models):.3f}")
        cells.append(f"{statistics.median(model['seconds_of_1000'] for model in models):.1f}")
        lines.append("| " + " | ".join(cells) + " |")
    floors = next((model["floors"] for model in known_models(FILE)), None)
    if floors is not None:
        real = [f"{floors[metric]:.3f}" if metric in floors else "" for metric in SHOWN[:3]]
        lines.append(f"| real test images |  |  | 0 | {real[0]} | {real[1]} | {real[2]} |  |")
    return lines


def _seeds(n: int) -> str:
    return "1 seed" if n == 1 else f"{n} seeds"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, help="the teacher")
    parser.add_argument("--seconds", type=float, nargs="+", default=[240.0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=METHODS)
    parser.add_argument("--calls", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument(
        "--folder",
        type=Path,
        default=Path("runs/students"),
        help="where the students are kept; another one for other flags",
    )
    parser.add_argument("--what", default="", help="what changed, where it is not the methods as they are")
    parser.add_argument("--flags", default="", help='further flags of gendi distil, as "--derivative differences"')
    parser.add_argument("--train", action="store_true", help="make the students, and nothing else")
    parser.add_argument("--evaluate", action="store_true", help="measure those that are there, and nothing else")
    parser.add_argument("--seconds-only", action="store_true", help="time those that were measured, and nothing else")
    parser.add_argument("--table", action="store_true", help="write the table, and nothing else")
    args = parser.parse_args()
    if not args.table and args.run is None:
        parser.error("--run is missing: the teacher")
    wanted = [
        (method, seconds, seed, calls)
        for seconds in args.seconds
        for seed in args.seeds
        for method in args.methods
        for calls in args.calls
    ]
    args.evaluate |= args.seconds_only
    if not args.table and (args.train or not args.evaluate):
        done: set[Path] = set()
        for method, seconds, seed, calls in wanted:
            student = place(args.folder, method, calls, seconds, seed)
            if student not in done:
                made_for = {"progressive": calls, "dmd": max(args.calls)}.get(method, 2)
                trained(args.run, student, method, made_for, seconds, seed, shlex.split(args.flags))
                print(f"made: {student}", flush=True)
            done.add(student)
    if not args.table and (args.evaluate or not args.train):
        about = {"kind": kind(), "what": args.what, "run": str(args.run)}
        models: list[tuple[Path, dict[str, Any], int | None]] = [
            (args.run, {"method": "teacher", "seconds": None, "seed": None}, None)
        ]
        for method, seconds, seed, calls in wanted:
            fields = {"method": method, "seconds": seconds, "seed": seed}
            models.append((place(args.folder, method, calls, seconds, seed), fields, calls))
        for folder, fields, calls in models:
            if folder != args.run and not folder.exists():
                print(f"not there, and left out: {folder}", flush=True)
                continue
            found = again(about | fields, load_bundle(folder), calls) if args.seconds_only else None
            found = found or measured(load_bundle(folder), calls)
            keep_model(FILE, {**about, **fields, **found, "machine": machine()}, KEY)
            print(
                f"{folder} in {found['calls']} calls: excess {found['excess']:.3f} ± {found['error']:.3f}", flush=True
            )
    if known_models(FILE):
        write_table("distillation.md", "distil", table())


if __name__ == "__main__":
    main()
