"""Two processes of one thread each against one process of two threads: images/s of the same training.

    python benchmarks/scaling.py [--preset mnist] [--pairs 9] [--steps 40] [--batch-size 64]

Both trainings are real ones, the whole loop of `gendi train` on random pictures of the preset's shape, started at
once, the two processes by torchrun. They take turns, A B B A A B ...: each goes on for `--steps` steps while the other
waits, and the ratio of the two rates is taken pair by pair. Precision and layout are the same for both. Needs two cores
that nothing else uses.
"""

import argparse
import dataclasses
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from record import RESULTS, write, write_table

from gendi.train.config import RunConfig
from gendi.train.presets import get_preset

SHAPES = {"mnist": (28, 28), "mnist-dit": (28, 28), "cifar10": (32, 32, 3)}
ROWS = 50_000


class Turns:
    """The console of a training that waits, every so many steps, for a line of its standard input: how many more."""

    def __init__(self, batch: int) -> None:
        self.batch, self.left, self.steps, self.start = batch, 2, 0, time.perf_counter()

    def say(self, line: str) -> None:
        print(line, file=sys.stderr)

    def progress(self, done: float, **fields: Any) -> None:
        self.left -= 1
        if self.left:
            return
        rate = self.steps * self.batch / (time.perf_counter() - self.start)
        print(json.dumps(rate), flush=True)
        self.steps = self.left = int(sys.stdin.readline())
        self.start = time.perf_counter()


def work(preset: str, batch: int, folder: Path, run: str) -> None:
    """Train in turns until a signal ends it."""
    import torch

    from gendi.train.budget import Budget
    from gendi.train.run.loop import train

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    train(
        str(folder / "images.npz"), configured(preset, batch), folder / run, Budget(steps=10**6), console=Turns(batch)
    )


def configured(preset: str, batch: int) -> RunConfig:
    config = get_preset(preset).config
    changed = {"preview_every": 0, "checkpoint_every": 1e6, "precision": "bf16", "layout": "channels-last"}
    train = dataclasses.replace(config.train, batch_size=batch, **changed)  # type: ignore[arg-type]
    return dataclasses.replace(config, train=train)


class Training:
    """A training that goes on when it is told to."""

    def __init__(self, processes: int, threads: int, args: list[str]) -> None:
        torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes), "--"]
        command = [sys.executable, *(torchrun if processes > 1 else []), __file__, *args]
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self.process = subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": str(threads)}, **pipes)
        self.rate()

    def rate(self, steps: int = 0) -> float:
        """Return images/s of the next `steps` steps; with 0, wait until the first two are done."""
        assert self.process.stdin is not None and self.process.stdout is not None
        if steps:
            self.process.stdin.write(f"{steps}\n")
            self.process.stdin.flush()
        return float(json.loads(self.process.stdout.readline()))

    def end(self) -> None:
        """Let it go on until it hears the signal, which it obeys at the end of a step."""
        self.process.terminate()
        self.process.communicate("1000000\n")


def measure(preset: str, batch: int, pairs: int, steps: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as name:
        rng = np.random.default_rng(0)
        images = rng.integers(0, 256, (ROWS, *SHAPES[preset]), dtype=np.uint8)
        np.savez(Path(name) / "images.npz", images=images, labels=np.arange(ROWS) % 10)
        args = ["--work", name, "--preset", preset, "--batch-size", str(batch)]
        one, two = Training(1, 2, [*args, "--run", "one"]), Training(2, 1, [*args, "--run", "two"])
        rates: dict[str, list[float]] = {"one": [], "two": []}
        for pair in range(-1, pairs):  # the first pair warms up
            order = [("one", one), ("two", two)]
            for key, training in order if pair % 2 else order[::-1]:
                rates[key].append(training.rate(steps))
        for training in (one, two):
            training.end()
    first, second = (rates[key][1:] for key in ("one", "two"))
    ratios = [b / a for a, b in zip(first, second, strict=True)]
    return {
        "batch_size": batch,
        "steps_per_turn": steps,
        "one_process_of_two_threads": first,
        "two_processes_of_one_thread": second,
        "ratios": ratios,
        "ratio_median": statistics.median(ratios),
        "ratio_quartiles": [float(q) for q in np.quantile(ratios, (0.25, 0.75))],
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--preset", default="mnist", choices=SHAPES)
    parser.add_argument("--batch-size", type=int)
    parser.add_argument("--pairs", type=int, default=9)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--run", help=argparse.SUPPRESS)
    parser.add_argument("--try", action="store_true", dest="trial", help="print, and write nothing")
    args = parser.parse_args()
    batch = args.batch_size or get_preset(args.preset).config.train.batch_size
    if args.work:
        work(args.preset, batch, args.work, args.run)
        return
    found = measure(args.preset, batch, args.pairs, args.steps)
    print(json.dumps(found, indent=1))
    if args.trial:
        return
    path = RESULTS / "scaling.json"
    known = json.loads(path.read_text(encoding="utf-8"))["presets"] if path.exists() else {}
    presets = known | {args.preset: found}
    write("scaling", {"presets": presets})
    write_table("scaling.md", "processes", table(presets))


def table(presets: dict[str, Any]) -> list[str]:
    lines = ["| preset, batch | one process, images/s | two processes | ratio (quartiles) |", "|---|---|---|---|"]
    for name, found in presets.items():
        one, two = (
            statistics.median(found[key]) for key in ("one_process_of_two_threads", "two_processes_of_one_thread")
        )
        low, high = found["ratio_quartiles"]
        ratio = f"{found['ratio_median']:.2f} ({low:.2f} to {high:.2f})"
        lines.append(f"| {name}, {found['batch_size']} | {one:.1f} | {two:.1f} | {ratio} |")
    return lines


if __name__ == "__main__":
    main()
