"""`gendi demo`: what `make demo` runs."""

import contextlib
import io
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from gendi.cli.console import program, say, show, show_json
from gendi.cli.evaluate import Evaluate, evaluate_run
from gendi.cli.metrics_table import metrics_table
from gendi.cli.parse import parse, spec
from gendi.cli.runs import update_timings
from gendi.cli.screen import screen
from gendi.cli.values import format_duration

if TYPE_CHECKING:
    from gendi.train.job import TrainResult

SAMPLES, CALLS, SHOWN = 1000, 20, 64
EXAMPLES = """\
  gendi demo                 8 minutes of training, then samples, metrics and a report
  gendi demo --minutes 2     shorter, and worse
  gendi demo                 run it again: it continues where it stopped, or says that it is finished"""


def _minutes(text: str) -> float:
    """Return a number of minutes. Raises `ValueError` unless it is positive and at most a week's."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value <= 10_080:
        raise ValueError(f"{text!r} is out of range: minutes are a number above 0 and at most 10080.")
    return value


@dataclass(frozen=True)
class Demo:
    """Train on MNIST within a budget, draw 1000 digits in 20 calls each, evaluate them, and write a report."""

    minutes: Annotated[float, spec("MINUTES", _minutes, lambda value: f"{value:g}")] = 8.0
    """Minutes of training."""
    data: str = "mnist"
    """The data to train on: any that `gendi train` takes."""
    out: str = "runs/demo"
    """Folder of the run."""
    preset: str = "mnist"
    """Configuration to train; `gendi presets` lists them."""
    json: bool = False
    """Print one JSON object."""


def main(args: Sequence[str]) -> int:
    """Run the command."""
    command = parse(Demo, args, "gendi demo", EXAMPLES)
    from gendi.evaluate import Evaluation
    from gendi.evaluate.result import GENDI_REPORT
    from gendi.report import write_report
    from gendi.storage.edited import read_table, read_table_if_there

    run, start = Path(command.out), time.perf_counter()
    result = _train(command, run)
    report, done = run / "report.html", read_table_if_there(run / "timings.json") or {}
    if result.already_finished and report.is_file() and done.get("demo_step") == result.step:
        say(f"{run} is finished: {result.step:,} steps in {format_duration(result.seconds)}. Nothing was left to do.")
        evaluation = Evaluation.from_dict(read_table(run / "evaluation.json"))
    else:
        update_timings(run, train_seconds=result.seconds, train_images=result.images)
        _grid(run)
        evaluation, _ = evaluate_run(Evaluate(run=str(run), n=SAMPLES, steps=CALLS))
        began = time.perf_counter()
        report = write_report(run)
        now = time.perf_counter()
        update_timings(run, report_seconds=now - began, demo_seconds=now - start, demo_step=result.step)
    if command.json:
        show_json({"run": run, "report": report, "step": result.step, "metrics": evaluation.to_dict()["metrics"]})
        return 0
    show(metrics_table(evaluation))
    if evaluation.data == "mnist":
        fid, confidence = GENDI_REPORT["fid-inception"], GENDI_REPORT["confidence"]
        show(f"\nthe GENDI report: confidence {confidence:.2%}, Inception FID {fid}; the second command measures ours")
    show(f"\nreport:  {report.resolve()}\nsamples: {run / 'samples.png'}, {run / 'samples.npz'}")
    show(
        f"\nnext:\n  {program()} sample {run} --n 100 --seed 1 --out more.png\n"
        f"  {program()} evaluate {run} --extractor inception     FID as the papers have it (minutes on a CPU)\n"
        f"  {program()} train {command.data} --preset mnist-long --out runs/longer"
    )
    return 0


def _train(command: Demo, run: Path) -> "TrainResult":
    from gendi.train.budget import Budget
    from gendi.train.presets import get_preset
    from gendi.train.run.loop import train

    config = get_preset(command.preset).config
    with screen(run, command.data) as console:
        return train(command.data, config, run, Budget(seconds=60 * command.minutes), console=console)


def _grid(run: Path) -> None:
    """Write a grid of the first samples of seed 0, as `gendi sample` does: not picked."""
    from gendi.cli.sample import main as sample

    args = [str(run), "--n", str(SHOWN), "--steps", str(CALLS), "--out", str(run / "samples.png")]
    with contextlib.redirect_stdout(io.StringIO()):
        sample(args)
