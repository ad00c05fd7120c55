"""Which metrics rank models rightly that were stopped early: `python benchmarks/controls.py stopped`, `stopped-table`.

One run is trained to each of several numbers of images in turn, each twice the one before, and its samples are measured
every time as `gendi evaluate` does. A model that has trained longer is the better one in so early a part of training,
so a metric should say so for each pair of neighbours, or call them a tie.
"""

import argparse
import itertools
import json
import tempfile
from pathlib import Path
from typing import Any

from record import RESULTS, machine, write_table

import gendi
from gendi.evaluate import Evaluation, compare
from gendi.evaluate.result import Metric

NAME = "stopped-early"
COUNTS = ("2k", "4k", "8k", "16k", "32k")
ALSO = ("nearest-train-ratio",)
"""Metrics without a feature network that are shown too; those of colours are judged in docs/data.md."""


def load() -> dict[str, Any]:
    path = RESULTS / f"{NAME}.json"
    return json.loads(path.read_text("utf-8")) if path.exists() else {"machine": machine(), "data": {}}


def of_interest(evaluation: Evaluation) -> list[Metric]:
    return [m for m in evaluation.metrics if m.extractor is not None or m.name in ALSO]


def verdict(name: str, evaluations: list[Evaluation], counts: list[int]) -> str:
    """Say how a metric ranks each model and the one that has trained twice as long."""
    ties, wrong = 0, []
    for (shorter, _), (longer, count) in itertools.pairwise(zip(evaluations, counts, strict=True)):
        (found,) = (d for d in compare(shorter, longer) if d.name == name)
        if found.winner == "a":
            wrong.append(f"{count // 1000}k")
        elif found.winner is None:
            ties += 1
    if wrong:
        return f"wrong at {', '.join(wrong)}"
    return "right" if not ties else f"right, but for {ties} tie{'s' if ties > 1 else ''}"


def measure(args: argparse.Namespace) -> None:
    from gendi.cli.values import parse_count

    counts = [parse_count(text) for text in args.images]
    size = None if args.size is None else (args.size, args.size)
    evaluations: list[Evaluation] = []
    with tempfile.TemporaryDirectory() as beside:
        folder = Path(args.folder or beside)
        for count in counts:
            kept = folder / f"{count}.json"
            if not kept.exists():
                model = gendi.fit(
                    args.data,
                    out=folder / "run",
                    preset=args.preset,
                    images=count,
                    size=size,
                    evaluate_every=0,
                    quiet=True,
                )
                evaluation = gendi.measure(model, n=args.n, extractor=args.extractors)
                print(f"{count:,} images\n{evaluation.table()}", flush=True)
                kept.write_text(json.dumps(evaluation.to_dict()), encoding="utf-8")
            evaluations.append(Evaluation.from_dict(json.loads(kept.read_text("utf-8"))))
    keep(args, counts, evaluations)


def keep(args: argparse.Namespace, counts: list[int], evaluations: list[Evaluation]) -> None:
    """Write the figures of all models of one kind of data, and the verdicts, into the results."""
    found: dict[str, Any] = {"preset": args.preset, "n": args.n, "images": counts, "metrics": {}}
    for metric in of_interest(evaluations[-1]):
        each = [evaluation[metric.name] for evaluation in evaluations]
        found["metrics"][metric.name] = {
            "values": [m.value for m in each],
            "intervals": [m.interval for m in each],
            "floor": metric.floor,
            "graded": [m.graded for m in each],
            "passed": [None if m.check is None else m.check.passed for m in each],
            "why_no_grade": metric.no_grade or ", ".join(metric.check.missed if metric.check else ()),
            "verdict": verdict(metric.name, evaluations, counts) if all(m.graded for m in each) else "no grade",
        }
    results = load()
    results["data"][args.name] = found
    (RESULTS / f"{NAME}.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


def table(_: argparse.Namespace) -> None:
    """A table for each kind of data: a row for each metric, its values over the images seen, and its verdict."""
    lines: list[str] = []
    for name, found in load()["data"].items():
        heads = [f"{count // 1000}k" for count in found["images"]]
        lines += ["", f"| {name}, preset `{found['preset']}`, after | " + " | ".join(heads) + " | floor | ranks them |"]
        lines += ["|---" * (len(heads) + 3) + "|"]
        for metric, entry in found["metrics"].items():
            values = [_cell(*each) for each in zip(entry["values"], entry["graded"], strict=True)]
            lines.append(f"| {metric} | " + " | ".join([*values, _cell(entry["floor"], True), entry["verdict"]]) + " |")
    write_table("measuring.md", "stopped early", lines[1:])


def _cell(value: float | None, graded: bool) -> str:
    text = "" if value is None else f"{value:.3g}"
    return text if graded or not text else f"({text})"


def add_commands(commands: Any) -> None:
    """Add the modes to the command line of `controls.py`."""
    one = commands.add_parser("stopped")
    one.add_argument("name")
    one.add_argument("data")
    one.add_argument("--preset", default="mnist")
    one.add_argument("--size", type=int)
    one.add_argument("--images", nargs="+", default=list(COUNTS))
    one.add_argument("--n", type=int, default=1000)
    one.add_argument("--extractors", nargs="+", default=["auto"])
    one.add_argument("--folder", help="keep the run and its evaluations here, so that the same command again goes on")
    one.set_defaults(run=measure)
    commands.add_parser("stopped-table").set_defaults(run=table)
