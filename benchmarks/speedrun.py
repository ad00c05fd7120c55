"""Quality per minute, as a record that anyone can beat: how long preset `mnist` trains until its samples are good.

    make speedrun                                    the budgets and seeds below, one after the other
    python benchmarks/speedrun.py --seconds 120 --seeds 0 1 2 [--what "what changed"] [--set optim.lr=3e-3 ...]
    python benchmarks/speedrun.py --avx2 ...         trained as a processor without AVX-512 computes; the samples are
                                                     drawn as this one does, which changes their last bits alone
    python benchmarks/speedrun.py --table            only writes the tables

A run is `gendi train` with a budget of so many seconds, with which its learning rate ends; then 5000 samples of 20
calls are compared with 5000 training images on the features of the digit classifier, and the floor is the distance of
as many real test images. The excess is the one minus the other. `--inception` adds the Inception FID of 1000 samples. A
target is reached in S seconds if the median over at least three seeds of runs of S seconds reaches it. All runs are
kept in results/speedrun.json with what changed, the machine and the versions; the best of each kind of processor are
the records of docs/speed.md.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from record import AVX2, DOCS, RESULTS, kind, machine, write_table

import gendi
from gendi.data import open_data
from gendi.data.images.evaluation import evaluate
from gendi.train.kept.bundle import load_bundle

BUDGETS, SEEDS = (60.0, 120.0, 240.0), (0, 1, 2)
TARGETS = (0.75, 0.25, 0.10)
N, N_INCEPTION, REPORT = 5000, 1000, 22.58
"""Samples of either distance, and the Inception FID of the GENDI report after 100 epochs."""
FILE = RESULTS / "speedrun.json"


def trained(seconds: float, seed: int, changes: list[str], folder: Path, avx2: bool) -> Path:
    """Return the run of a budget: by the command, so that a record is what a user would get."""
    environment = {**os.environ, **(AVX2 if avx2 else {})}
    command = [sys.executable, "-m", "gendi", "train", "mnist", "--max-time", f"{seconds:g}s", "--seed", str(seed)]
    flags = [part for change in changes for part in ("--" + change).replace("=", " ", 1).split()]
    quiet = ["--train.evaluate-every", "0", "--train.preview-every", "0"]
    run = folder / f"{seconds:g}-{seed}"
    subprocess.run(
        [*command, *quiet, *flags, "--out", str(run)], check=True, stdout=subprocess.DEVNULL, env=environment
    )
    return run


def measured(run: Path, inception: bool) -> dict[str, Any]:
    bundle, data = load_bundle(run), open_data("mnist")
    start = time.perf_counter()
    images = gendi.sample(bundle, n=N, seed=0)
    seconds = time.perf_counter() - start
    found = evaluate(images, data, extractor="digits", n=N).to_dict()["metrics"]
    out = {
        "images": bundle.meta["images"],
        "fid": found["fid-digits"]["value"],
        "floor": found["fid-digits"]["floor"],
        "excess": found["fid-digits"]["value"] - found["fid-digits"]["floor"],
        "standard_error": found["fid-digits"]["standard_error"],
        "confidence": found["confidence"]["value"],
        "seconds_of_sampling": seconds,
        "precision": bundle.meta["precision"],
        "log": [line for line in (run / "train.log").read_text("utf-8").splitlines() if "fastest whole step" in line],
    }
    if inception:
        few = evaluate(images[:N_INCEPTION], data, extractor="inception", n=N_INCEPTION).to_dict()["metrics"]
        out["inception"] = few["fid-inception"]["value"]
    return out


def known() -> list[dict[str, Any]]:
    return json.loads(FILE.read_text("utf-8"))["runs"] if FILE.exists() else []


def keep(run: dict[str, Any]) -> None:
    runs = [*known(), run]
    FILE.write_text(json.dumps({"runs": runs}, indent=1) + "\n", encoding="utf-8")


def groups() -> dict[tuple[str, str, float], list[dict[str, Any]]]:
    """Return the runs by kind of processor, what changed and seconds."""
    out: dict[tuple[str, str, float], list[dict[str, Any]]] = {}
    for run in known():
        out.setdefault((run["kind"], run["what"], run["seconds"]), []).append(run)
    return out


def table() -> list[str]:
    lines = [
        "| processor | what changed | seconds | images | excess (range) | confidence | Inception FID |",
        "|---" * 7 + "|",
    ]
    for (processor, what, seconds), runs in sorted(groups().items()):
        excess = [run["excess"] for run in runs]
        inception = [run["inception"] for run in runs if "inception" in run]
        shown = f"{statistics.median(excess):.3f} ({min(excess):.3f} to {max(excess):.3f})"
        far = f"{statistics.median(inception):.1f}" if inception else ""
        confidence = f"{statistics.median(run['confidence'] for run in runs):.1%}"
        images = f"{statistics.median(run['images'] for run in runs):,.0f}"
        lines.append(f"| {processor} | {what} | {seconds:g} | {images} | {shown} | {confidence} | {far} |")
    return lines


def records() -> list[str]:
    """Return the least seconds in which the median of at least three seeds reaches each target."""
    lines = [
        "| processor | " + " | ".join(f"excess <= {t:g}" for t in TARGETS) + " |",
        "|---" * (len(TARGETS) + 1) + "|",
    ]
    for processor in sorted({key[0] for key in groups()}):
        cells = []
        for target in TARGETS:
            reached = [
                (key[2], key[1])
                for key, runs in groups().items()
                if key[0] == processor and len(runs) > 2 and statistics.median(r["excess"] for r in runs) <= target
            ]
            cells.append(f"{min(reached)[0]:g} s: {min(reached)[1]}" if reached else "not yet")
        lines.append(f"| {processor} | " + " | ".join(cells) + " |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, nargs="+", default=list(BUDGETS))
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS))
    parser.add_argument("--what", default="the preset as it is", help="what changed since the last record")
    parser.add_argument("--set", nargs="*", default=[], help="fields of the preset, as optim.lr=3e-3")
    parser.add_argument("--inception", action="store_true")
    parser.add_argument("--avx2", action="store_true", help="compute as a processor without AVX-512 does")
    parser.add_argument("--table", action="store_true", help="write the tables, and nothing else")
    args = parser.parse_args()
    processor = "AVX2" if args.avx2 else kind()
    if not args.table:
        with tempfile.TemporaryDirectory() as folder:
            for seconds in args.seconds:
                for seed in args.seeds:
                    run = trained(seconds, seed, args.set, Path(folder), args.avx2)
                    found = measured(run, args.inception)
                    keep(
                        {"kind": processor, "what": args.what, "set": args.set, "seconds": seconds, "seed": seed}
                        | found
                        | {"machine": machine()}
                    )
                    print(f"{processor} {seconds:g} s, seed {seed}: {found}", flush=True)
    if "<!-- records -->" in (DOCS / "speed.md").read_text("utf-8"):
        write_table("speed.md", "records", records())
        write_table("speed.md", "speedruns", table())


if __name__ == "__main__":
    main()
