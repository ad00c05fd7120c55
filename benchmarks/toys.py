"""The five toy worlds: what twenty seconds of training reach, beside what real points reach.

    python benchmarks/toys.py                     all five, three seeds each: about eight minutes on two idle cores
    python benchmarks/toys.py --seconds 5 moons   a quick look; nothing is written

    python benchmarks/toys.py --table             only writes the table

For each run: points seen, the energy distance of 2000 samples with its floor, whether all gates passed, and the excess
of the denoiser's error over the exact denoiser's at noise levels from 0.05 to 5. Writes benchmarks/results/toys.json
and the table of docs/figures.md.
"""

import argparse
import dataclasses
import json
import statistics
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import record
import torch

import gendi
from gendi.data.toy.worlds import WORLDS, world
from gendi.train.presets import get_preset

SECONDS, SEEDS, N = 20.0, (0, 1, 2), 2000
LEVELS = np.geomspace(0.05, 5, 9)


def excess(model: Any, name: str) -> list[float]:
    """Return mean |x0_hat - E[x_0 | x_t]|^2 / 2 at each of `LEVELS`, for 2000 points of their own seed."""
    denoiser, found = model.denoiser(), []
    exact = world(name).denoiser(denoiser.schedule)
    x_0 = torch.from_numpy(world(name).points(2000, 99)[0])
    generator = torch.Generator().manual_seed(0)
    for level in LEVELS:
        t = denoiser.schedule.time(-2 * float(np.log(level)))
        alpha, sigma = denoiser.schedule(t)
        x_t = alpha * x_0 + sigma * torch.randn(x_0.shape, generator=generator, dtype=torch.float64)
        with torch.no_grad():
            error = denoiser(x_t.float(), t).double() - exact(x_t, t)
        found.append(float(error.square().mean()))
    return found


def run(name: str, seconds: float, seed: int, folder: Path) -> dict[str, Any]:
    config = get_preset("toy").config
    config = dataclasses.replace(config, train=dataclasses.replace(config.train, seed=seed))
    model = gendi.fit(f"toy:{name}", out=folder / f"{name}-{seed}", config=config, seconds=seconds, quiet=True)
    drawn = gendi.sample(model, n=N, seed=seed)
    found = gendi.measure(drawn, f"toy:{name}", n=N)
    energy = found["energy"]
    return {
        "world": name,
        "seed": seed,
        "points": model.meta["images"],
        "energy": energy.value,
        "interval": energy.interval,
        "floor": energy.floor,
        "failed": [metric.name for metric in found.metrics if metric.passed is False],
        "excess": excess(model, name),
    }


def spread(values: list[float]) -> str:
    """Return the median, with the range."""
    return f"{statistics.median(values):.4f} ({min(values):.4f} to {max(values):.4f})"


def table(rows: list[dict[str, Any]]) -> list[str]:
    """Return a row for each world: medians over its runs, with their range."""
    lines = [
        "| world | points seen in 20 s | energy distance (range); floor | excess of the denoiser's mean squared error "
        "| runs in which every gate passed |",
        "|---" * 5 + "|",
    ]
    for name in dict.fromkeys(row["world"] for row in rows):
        runs = [row for row in rows if row["world"] == name]
        energy, points = [row["energy"] for row in runs], [row["points"] for row in runs]
        worse = [statistics.mean(row["excess"]) for row in runs]
        failed = sorted({gate for row in runs for gate in row["failed"]})
        passed = f"{sum(not row['failed'] for row in runs)} of {len(runs)}"
        passed += f" (outside: {', '.join(failed)})" if failed else ""
        distance = f"{spread(energy)}; {runs[0]['floor']:.4f}"
        lines.append(f"| `toy:{name}` | {statistics.median(points):,.0f} | {distance} | {spread(worse)} | {passed} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("worlds", nargs="*", default=list(WORLDS))
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    parser.add_argument("--table", action="store_true", help="write the table, and nothing else")
    asked = parser.parse_args()
    if asked.table:
        known = json.loads((record.RESULTS / "toys.json").read_text(encoding="utf-8"))
        record.write_table("figures.md", "toys", table(known["rows"]))
        return
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name in asked.worlds:
            for seed in asked.seeds:
                rows.append(run(name, asked.seconds, seed, Path(folder)))
                last = rows[-1]
                print(
                    f"{name:13s} seed {seed}: {last['points']:>9,} points, energy {last['energy']:.5f} (floor "
                    f"{last['floor']:.5f}), outside their gates: {', '.join(last['failed']) or 'none'}",
                    flush=True,
                )
    if asked.seconds == SECONDS and asked.worlds == list(WORLDS):
        record.write("toys", {"seconds": SECONDS, "n": N, "levels": LEVELS.tolist(), "rows": rows})
        record.write_table("figures.md", "toys", table(rows))


if __name__ == "__main__":
    main()
