"""What the output of the network and its Fourier features are worth in bits per dimension, at equal images.

    python benchmarks/likelihood_recipe.py [--images 3200] [--n 8] [--most-calls 3000] [--arms linear ...]

Each arm trains a small network of preset `mnist-likelihood` (channels 32 and 32) with another output, and is measured
on the same n test images with the same draws: the bound with 100 terms per image, where along the noise its bits are,
and the code under the ODE at a tolerance of 1e-5, with its network calls (at most --most-calls, or none is written). A
row is written as soon as it is measured, into results/likelihood-recipe.json and the table of docs/likelihood.md.
"""

import argparse
import json
import math
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from record import RESULTS, Z95, write, write_table

import gendi
from gendi.diffusion.gaussian.likelihood import Bound, Density
from gendi.errors import UsageError
from gendi.train.kept.bundle import Bundle
from gendi.train.presets import get_preset

LN2 = math.log(2)
ARMS: dict[str, dict[str, Any]] = {
    "linear": {"output": "linear", "fourier_fade": False},
    "linear, fading": {"output": "linear", "fourier_fade": True},
    "bytes": {"output": "bytes", "fourier_fade": False},
    "bytes, fading": {"output": "bytes", "fourier_fade": True},
    "bytes, no features": {"output": "bytes", "fourier_fade": False, "fourier_features": ()},
}
BORDERS = (4e-3, 0.06)
"""sigma / alpha of half a byte, and of eight bytes: between them values are told apart, above them shapes are."""


def by_noise(bound: Bound, bundle: Bundle) -> list[float]:
    """Return the bits per dimension below, between and above the borders; a part belongs where its middle is."""
    log_snr = bundle.denoiser().schedule.log_snr((bound.edges[1:] + bound.edges[:-1]) / 2)
    place = np.digitize(np.exp(-0.5 * log_snr.numpy()), BORDERS)
    return [float(bound.cost.numpy()[place == k].sum()) / LN2 for k in range(3)]


def measure(arm: str, images: int, n: int, most_calls: int) -> dict[str, Any]:
    config = get_preset("mnist-likelihood").config
    config = replace(
        config,
        network=replace(config.network, channels=(32, 32), **ARMS[arm]),
        optim=replace(config.optim, ema_images=images / 8),
        train=replace(config.train, evaluate_every=0, preview_every=0),
    )
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        bundle = gendi.fit("mnist", out=Path(folder) / "run", config=config, images=images, quiet=True)
    seconds = time.perf_counter() - start
    bound = gendi.bits_per_dim(bundle, n=n, draws=100)
    assert isinstance(bound, Bound)
    row: dict[str, Any] = {"arm": arm, "images": images, "n": n, "seconds": seconds, "most_calls": most_calls}
    row |= {"bound": bound.total.bits, "error_t": bound.error_t / LN2, "by_noise": by_noise(bound, bundle)}
    try:
        density = gendi.bits_per_dim(bundle, n=n, method="ode", most_calls=most_calls)
    except UsageError as error:
        print(error)
    else:
        assert isinstance(density, Density)
        gap = (density.values - bound.values).numpy() / LN2
        row |= {"gap": float(gap.mean()), "gap_error": float(gap.std(ddof=1) / math.sqrt(n))}
        row["calls"] = float(density.calls.mean())
    print(row, flush=True)
    return row


def table(rows: list[dict[str, Any]]) -> list[str]:
    """Return the lines of the table."""
    lines = [
        "| output | bound | below half a byte | half a byte to eight | above | ODE above the bound | calls |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        parts = " | ".join(f"{bits:.3f}" for bits in row["by_noise"])
        ode = f"| > {row['most_calls']}"
        if "gap" in row:
            ode = f"{row['gap']:+.3f} ± {Z95 * row['gap_error']:.3f} | {row['calls']:.0f}"
        lines.append(f"| {row['arm']} | {row['bound']:.3f} ± {Z95 * row['error_t']:.3f} | {parts} | {ode} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=int, default=3200)
    parser.add_argument("--n", type=int, default=8)
    parser.add_argument("--most-calls", type=int, default=3000)
    parser.add_argument("--arms", nargs="+", default=list(ARMS))
    args = parser.parse_args()
    torch.set_num_threads(1)
    path = RESULTS / "likelihood-recipe.json"
    for arm in args.arms:
        row = measure(arm, args.images, args.n, args.most_calls)
        rows = json.loads(path.read_text())["rows"] if path.exists() else []
        rows = [old for old in rows if old["arm"] != arm] + [row]
        rows.sort(key=lambda row: list(ARMS).index(row["arm"]))
        write("likelihood-recipe", {"rows": rows})
        write_table("likelihood.md", "recipe", table(rows))


if __name__ == "__main__":
    main()
