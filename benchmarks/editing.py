"""Edits of MNIST test digits by one trained run: a picture, and how often inpainting keeps the class.

    python benchmarks/editing.py RUN [--columns 8] [--inpaint 500] [--methods mmps dps repaint]

Draws `docs/editing.png` from the first test digits (a few minutes on a CPU). With --inpaint N the lower half of N test
digits is painted by each method, and beside how often the digit classifier still sees the true class stands how often
it does where the lower half is that of the nearest training digits by the upper half: of the nearest one, and the
pixel-wise mean of the ten nearest (N = 500 takes some tens of minutes).
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch
from numpy.typing import NDArray
from record import RESULTS, share, write, write_table
from torch import Tensor

from gendi.cli.requests import pick_device
from gendi.data import Data, open_data
from gendi.data.images.digit_classifier import class_probabilities, load_classifier
from gendi.diffusion.gaussian.denoiser import Denoiser
from gendi.diffusion.gaussian.inverse.latent import interpolate
from gendi.diffusion.gaussian.inverse.methods import inpaint, solve
from gendi.diffusion.gaussian.inverse.noisy import denoise, denoised_mean, vary
from gendi.diffusion.gaussian.inverse.operators import Mask, Pool
from gendi.diffusion.gaussian.samplers import Drawing
from gendi.diffusion.randomness import normal
from gendi.train.kept.bundle import Bundle, load_bundle

matplotlib.use("Agg")
STEPS = {"mmps": 40, "pigdm": 40, "dps": 100, "repaint": 20}
OPTIONS: dict[str, dict[str, Any]] = {"mmps": {"clip": 1.0}, "pigdm": {"clip": 1.0}, "dps": {}, "repaint": {}}
NOISE = 0.4
"""Standard deviation in model space: 0.2 of the way from black to white."""
STRENGTHS = (0.2, 0.4, 0.6, 0.8)


def how(method: str, seed: int = 0) -> Drawing:
    sampler = "ancestral" if method == "dps" else "dpmpp-2m-sde-half"
    return Drawing(steps=STEPS.get(method, 20), sampler=sampler, seed=seed, batch_size=100, device=pick_device())


def lower_half() -> Tensor:
    known = torch.ones(28, 28, dtype=torch.bool)
    known[14:] = False
    return known


def rows(denoiser: Denoiser, x_0: Tensor) -> dict[str, Tensor]:
    """Return the rows of the picture by their labels, each (n, 1, 28, 28)."""
    n, known = len(x_0), lower_half()
    found = {"test digits": x_0, "upper half known": Mask(known)(x_0)}
    for method in ("mmps", "dps", "repaint"):
        found[f"inpainted, {method}"] = inpaint(denoiser, x_0, known, how(method), method=method, **OPTIONS[method])
    found["inpainted, mmps again"] = inpaint(denoiser, x_0, known, how("mmps", 1), clip=1.0)
    pool = Pool(4)
    y = pool(x_0)
    found["7 x 7 pixels"] = y.repeat_interleave(4, 2).repeat_interleave(4, 3)
    for method in ("mmps", "dps"):
        found[f"upscaled, {method}"] = solve(
            denoiser, pool, y, (1, 28, 28), how(method), method=method, **OPTIONS[method]
        )
    noisy = x_0 + NOISE * normal((n, 1, 28, 28), 0, "noise of the figure").to(x_0)
    found |= {
        "noise 0.2": noisy,
        "denoised, mean": denoised_mean(denoiser, noisy, NOISE),
        "denoised, drawn": denoise(denoiser, noisy, NOISE, how("")),
    }
    found |= {f"varied, strength {s}": vary(denoiser, x_0, s, how("")) for s in STRENGTHS}
    weights = torch.linspace(0, 1, n, dtype=torch.float64)
    for k in (0, 2):
        a, b = (x_0[i : i + 1].expand_as(x_0) for i in (k, k + 1))
        found[f"from digit {k + 1} to {k + 2}"] = interpolate(denoiser, a, b, weights, steps=40)
    return found


def draw(bundle: Bundle, found: dict[str, Tensor]) -> None:
    from matplotlib import pyplot as plt

    n = len(next(iter(found.values())))
    figure, axes = plt.subplots(len(found), 1, figsize=(0.5 * n + 2, 0.53 * len(found)), gridspec_kw={"hspace": 0.06})
    for axis, (label, x) in zip(axes, found.items(), strict=True):
        pixels = bundle.codec.decode(x.cpu().float()).numpy()[..., 0]
        axis.imshow(np.concatenate(list(np.pad(pixels, ((0, 0), (1, 1), (1, 1)), constant_values=90)), 1), cmap="gray")
        axis.axis("off")
        axis.text(-6, 15, label, ha="right", va="center", fontsize=9)
    figure.savefig(Path(__file__).parents[1] / "docs" / "editing.png", dpi=110, bbox_inches="tight")


def nearest(data: Data, images: NDArray[np.uint8], k: int) -> NDArray[np.uint8]:
    """Return images whose lower half is the pixel-wise mean of those of the k nearest by the upper half."""
    train = data.train.rows.reshape(len(data.train), 28, 28).astype(np.float32)
    top, out = torch.from_numpy(train[:, :14].reshape(len(train), -1)), images.copy()
    for part in np.array_split(np.arange(len(images)), max(1, len(images) // 50)):
        mine = torch.from_numpy(images[part, :14].reshape(len(part), -1).astype(np.float32))
        near = torch.cdist(mine, top).topk(k, largest=False).indices.numpy()
        out[part, 14:, :, 0] = train[near][:, :, 14:].mean(1).round().astype(np.uint8)
    return out


def kept(images: NDArray[np.uint8], labels: NDArray[np.int64]) -> dict[str, float]:
    """Return how often the digit classifier sees the true class, and the standard error."""
    seen = class_probabilities(load_classifier(), images).argmax(1)
    share = float((seen == labels).mean())
    return {"class_kept": share, "standard_error": float(np.sqrt(share * (1 - share) / len(labels)))}


def measure(bundle: Bundle, denoiser: Denoiser, data: Data, methods: list[str], n: int, weights: str | None) -> None:
    images, labels = data.heldout.rows[:n], data.heldout.labels
    assert labels is not None
    x_0 = bundle.codec.encode(torch.from_numpy(np.ascontiguousarray(images))).to(pick_device())
    path = RESULTS / "editing.json"
    old = json.loads(path.read_text())["rows"] if path.exists() else []
    others, row = [row for row in old if row["weights"] != weights], {}
    found: dict[str, Any] = {"untouched": kept(images, labels[:n])}
    for k in (1, 10):
        found[f"nearest-{k}"] = kept(nearest(data, images, k), labels[:n])
    for method in methods:
        start = time.perf_counter()
        x = inpaint(denoiser, x_0, lower_half(), how(method), method=method, **OPTIONS[method])
        found[method] = kept(bundle.codec.decode(x).numpy(), labels[:n]) | {"seconds": time.perf_counter() - start}
        print(method, found[method], flush=True)
        about = {"weights": weights, "preset": bundle.config.preset, "images": bundle.meta["images"]}
        row = {**about, "conditions": [spec.name for spec in bundle.config.conditions], "n": n, "lower_half": found}
        write("editing", {"rows": [*others, row]})
    write_table("editing.md", "inpainting", table([*others, row]))


def table(rows: list[dict[str, Any]]) -> list[str]:
    """Return how often each way keeps the class, as lines of Markdown."""
    ways = list(dict.fromkeys(way for row in rows for way in row["lower_half"]))
    told = "trained with classes, none given"
    head = ["lower half", *(told if row["conditions"] else "unconditional" for row in rows)]
    lines = [head, ["---", *["---:"] * len(rows)]]
    for way in ways:
        found = [(row["lower_half"].get(way), row["n"]) for row in rows]
        lines.append([way, *("" if f is None else share(f["class_kept"], n) for f, n in found)])
    return [f"| {' | '.join(cells)} |" for cells in lines]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("run")
    parser.add_argument("--columns", type=int, default=8)
    parser.add_argument("--inpaint", type=int, default=0)
    parser.add_argument("--methods", nargs="*", default=["mmps", "dps", "repaint"], choices=list(STEPS))
    args = parser.parse_args()
    bundle, data = load_bundle(args.run), open_data("mnist")
    denoiser = bundle.denoiser(pick_device())
    denoiser.precision = "fp32"
    if args.inpaint:
        measure(bundle, denoiser, data, args.methods, args.inpaint, bundle.sha256)
        return
    x_0 = bundle.codec.encode(torch.from_numpy(data.heldout.batch(range(args.columns)))).to(pick_device())
    draw(bundle, rows(denoiser, x_0))


if __name__ == "__main__":
    main()
