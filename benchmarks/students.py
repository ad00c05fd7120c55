"""Students of a table, of single cells and of any run beside their teachers, by the metrics of their own kind of data.

    python benchmarks/students.py                            a table and single cells: a quarter of an hour
    python benchmarks/students.py --data runs/icons --seconds 240      students of a run that is there
    python benchmarks/students.py --table                    only writes the table

The teachers of `table` (4,000 rows of `mixed_table`) and of `cells` (the packaged blood cells, with their types) train
as `gendi train` trains them, for a minute each, and their students for half a minute. All are measured by
`gendi.measure` with the same settings; what real held-out rows score in their place is the floor. Every model is kept
in results/students.json with the machine and the versions; measuring one again replaces its figures.
"""

import argparse
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

from record import RESULTS, keep_model, kind, known_models, machine, write_table

import gendi
from gendi.data import open_data
from gendi.data.kinds import kind_of
from gendi.data.tables.example import mixed_table
from gendi.train.kept.bundle import Bundle, load_bundle

FILE = RESULTS / "students.json"
TEACHING, N = 60.0, 2000
SHOWN = {
    "table": ("energy", "auc", "correlation-error"),
    "cells": ("energy", "auc-forest", "variance-r"),
    "image": ("fid-", "kid-", "coverage-", "asked-seen"),
}
"""The metrics of each kind that the table shows, by the beginnings of their names."""
KEY = ("kind", "data", "method", "seconds", "seed", "calls")


def teacher_of(name: str, folder: Path) -> tuple[Path, Any]:
    """Return the folder of a teacher, trained if it is not there, and what it is compared with if not by its name."""
    if name == "table":
        frame = mixed_table(4000)
        if not (folder / "table").exists():
            gendi.fit(frame, out=folder / "table", seconds=TEACHING, quiet=True)
        return folder / "table", frame
    if name == "cells":
        if not (folder / "cells").exists():
            gendi.fit("cells:pbmc68k", out=folder / "cells", seconds=TEACHING, quiet=True)
        return folder / "cells", None
    return Path(name), None


def measured(bundle: Bundle, data: Any, calls: int | None, n: int) -> dict[str, Any]:
    """Return every metric of a model in so many calls, by its own sampler; None is its own number of calls."""
    start = time.perf_counter()
    samples = gendi.sample(bundle, n=n, seed=0, steps=calls)
    seconds = time.perf_counter() - start
    opened = open_data(data if data is not None else bundle.meta["data_spec"], size=bundle.codec.size)
    found = kind_of(opened.kind).evaluate(samples, opened, n=n)
    kept = ("value", "interval", "floor", "floor_interval")
    passed = [metric.passed for metric in found.metrics if metric.passed is not None]
    return {
        "metrics": {metric.name: {key: getattr(metric, key) for key in kept} for metric in found.metrics},
        "gates": len(passed),
        "passed": sum(passed),
        "sampling_seconds": seconds,
        "n": n,
        "calls": calls or bundle.config.sample.steps,
        "images": bundle.meta["images"],
    }


def table() -> list[str]:
    lines = [
        "| data | model | calls | metrics: of the model / of real rows | gates | s |",
        "|---" * 6 + "|",
    ]
    order = ("teacher", "ect", "dmd", "progressive", "mean-flow")
    for model in sorted(
        known_models(FILE), key=lambda m: (m["data"], order.index(m["method"]), m["calls"], m["seed"] or 0)
    ):
        about = model["method"] if model["seconds"] is None else f"{model['method']}, {model['seconds']:g} s"
        shown = []
        for name, metric in model["metrics"].items():
            if metric["value"] is not None and name.startswith(SHOWN[model["of"]]):
                floor = "" if metric["floor"] is None else f" / {metric['floor']:.3g}"
                shown.append(f"{name} {metric['value']:.3g}{floor}")
        gates = f"{model['passed']} of {model['gates']}" if model["gates"] else ""
        lines.append(
            f"| {model['data']} | {about} | {model['calls']} | {'; '.join(shown)} | {gates} "
            f"| {model['sampling_seconds']:.2f} |"
        )
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data", nargs="+", default=["table", "cells"], help="`table`, `cells`, or the folder of a run"
    )
    parser.add_argument("--methods", nargs="+", default=["ect", "dmd"])
    parser.add_argument("--calls", nargs="+", type=int, default=[1, 2, 4])
    parser.add_argument("--seconds", type=float, default=30.0, help="of a student's training")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--n", type=int, default=N)
    parser.add_argument("--folder", type=Path, help="where runs are kept; by default they are deleted in the end")
    parser.add_argument("--table", action="store_true", help="write the table, and nothing else")
    args = parser.parse_args()
    folder = args.folder or Path(tempfile.mkdtemp())
    for name in [] if args.table else args.data:
        run, data = teacher_of(name, folder)
        teacher = load_bundle(run)
        about = {
            "kind": kind(),
            "data": Path(name).name,
            "of": teacher.codec.kind.partition("-")[0],
            "machine": machine(),
        }
        keep_model(
            FILE,
            {**about, "method": "teacher", "seconds": None, "seed": None, **measured(teacher, data, None, args.n)},
            KEY,
        )
        for method in args.methods:
            most = {"dmd": max(args.calls), "progressive": max(args.calls)}.get(method, 2)
            out = folder / f"{Path(name).name}-{method}-{args.seconds:g}s-{args.seed}"
            how = {"seconds": args.seconds, "seed": args.seed, "quiet": True}
            own = {} if data is None else {"data": data}
            student = gendi.distil(run, out=out, method=method, calls=most, **how, **own)
            for calls in [most] if method == "progressive" else args.calls:
                found = measured(student, data, calls, args.n)
                keep_model(FILE, {**about, "method": method, "seconds": args.seconds, "seed": args.seed, **found}, KEY)
                print(f"{name}, {method} in {calls} calls: {found['passed']} of {found['gates']} gates", flush=True)
    if args.folder is None:
        shutil.rmtree(folder)
    if known_models(FILE):
        write_table("distillation.md", "students", table())


if __name__ == "__main__":
    main()
