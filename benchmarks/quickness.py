"""How long a person waits: 1000 samples at 20 calls, 64 digits from a cold start to the picture, and `gendi --help`.

    python benchmarks/quickness.py RUN [--rounds 3]             and the same under the environment of AVX2
    python benchmarks/quickness.py RUN --rounds 0               commands alone; the seconds of samples stay as they were

Samples are drawn with the network called in shares that stay in the caches, on whole batches, and in shares with
classifier-free guidance everywhere, in turn. Writes results/quickness-KIND.json and two tables of docs/speed.md.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from record import RESULTS, kind, write, write_table

from gendi.diffusion.conditions import requested_conditions
from gendi.diffusion.gaussian.guidance.settings import GuidanceRule
from gendi.diffusion.gaussian.samplers import sample
from gendi.train.kept.bundle import Bundle, load_bundle, save_bundle

N, CALLS = 1000, 20
DIGITS = "gendi sample RUN --n 64 --steps 20"


def seconds_of(bundle: Bundle, seed: int, shares: bool, guided: bool = False) -> tuple[float, torch.Tensor]:
    """Return the seconds of drawing N samples, and the samples in model space."""
    model, how = bundle.denoiser(clip=1.0), bundle.config.sample
    if not shares:
        model.shares = None
    denoiser = GuidanceRule(1.5).guide(model) if guided else model
    start = time.perf_counter()
    cond = requested_conditions(bundle.config.conditions, None, N)
    x = sample(denoiser, bundle.codec.shape, N, steps=CALLS, sampler=how.sampler, seed=seed, cond=cond)
    return time.perf_counter() - start, x


def table() -> list[str]:
    lines = [
        "| processor | parameters | in shares, s | whole batches, s | ratio, by rounds | guided, s | over unguided |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    for path in sorted(RESULTS.glob("quickness-*.json")):
        found: dict[str, Any] = json.loads(path.read_text("utf-8"))
        a, b = found["seconds_in_shares"], found["seconds_on_whole_batches"]
        guided = found.get("seconds_guided", [])
        what = (
            f"{found['parameters'] / 1e6:.2f}M, {found['precision']}" if "parameters" in found else found["precision"]
        )
        lines.append(
            f"| {found['machine']['kind']} | {what} | {statistics.median(a):.1f} | {statistics.median(b):.1f} | "
            f"{_ratios(b, a)} | {f'{statistics.median(guided):.1f}' if guided else ''} | {_ratios(guided, a)} |"
        )
    return lines


def _ratios(over: list[float], under: list[float]) -> str:
    ratios = [y / x for x, y in zip(under, over, strict=True)] if over else []
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})" if ratios else ""


def commands(run: str) -> dict[str, list[float]]:
    """Return the wall times of commands, each in a process of its own; that of a model of this kind of processor."""
    found: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        load = load_bundle(run)
        if not kind().endswith("BF16"):
            load.meta["precision"] = "fp32"
        model = save_bundle(Path(folder) / "model", load)
        picture = Path(folder) / "digits.png"
        sample = ["sample", str(model), "--n", "64", "--steps", "20", "--out", str(picture)]
        for name, words in {
            "gendi --help": ["--help"],
            "gendi train --help": ["train", "--help"],
            DIGITS: sample,
        }.items():
            for _ in range(5):
                start = time.perf_counter()
                subprocess.run([sys.executable, "-m", "gendi", *words], capture_output=True, check=True)
                found.setdefault(name, []).append(time.perf_counter() - start)
        if not picture.is_file():
            raise RuntimeError("no picture was written")
    return found


def table_of_commands() -> list[str]:
    found = [json.loads(path.read_text("utf-8")) for path in sorted(RESULTS.glob("quickness-*.json"))]
    found = [one for one in found if "start_up_rounds" in one]
    lines = [
        f"| command | {' | '.join(one['machine']['kind'] + ', s' for one in found)} |",
        "|---|" + "---:|" * len(found),
    ]
    for name in found[0]["start_up_rounds"]:
        cells = []
        for one in found:
            times = one["start_up_rounds"][name]
            cells.append(f"{statistics.median(times):.2f} ({min(times):.2f} to {max(times):.2f})")
        lines.append(f"| `{name}` | {' | '.join(cells)} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    bundle = load_bundle(args.run)
    if not kind().endswith("BF16"):
        bundle.meta["precision"] = "fp32"  # which the probe would have chosen there
    shared, whole, guided, far = [], [], [], []
    for seed in range(args.rounds):
        (a, x), (b, y) = seconds_of(bundle, seed, True), seconds_of(bundle, seed, False)
        shared.append(a)
        whole.append(b)
        guided.append(seconds_of(bundle, seed, True, guided=True)[0])
        far.append(float((x - y).abs().max()))
    path = RESULTS / f"quickness-{kind().lower()}.json"
    if args.rounds == 0:
        old = json.loads(path.read_text("utf-8"))
        shared, whole = old["seconds_in_shares"], old["seconds_on_whole_batches"]
        far, guided = [old["largest_difference_between_them"]], old.get("seconds_guided", [])
    start_up = commands(args.run)
    write(
        path.stem,
        {
            "preset": bundle.config.preset,
            "precision": bundle.meta.get("precision"),
            "parameters": sum(p.numel() for p in bundle.network().parameters()),
            "samples": N,
            "calls": CALLS,
            "seconds_in_shares": shared,
            "seconds_on_whole_batches": whole,
            "seconds_guided": guided,
            "largest_difference_between_them": max(far),
            "start_up_seconds": {name: statistics.median(times) for name, times in start_up.items()},
            "start_up_rounds": start_up,
        },
    )
    write_table("speed.md", "sampling", table())
    write_table("speed.md", "commands", table_of_commands())
    print(shared, whole, far, start_up)


if __name__ == "__main__":
    main()
