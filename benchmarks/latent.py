"""Diffusion in latents beside diffusion on pixels, at equal seconds: colour pictures of 128 x 128 pixels.

    npm pack emoji-datasource-google    or fonts-noto-color-emoji of Debian, whose bitmaps `pictures` reads:
    python benchmarks/latent.py pictures NotoColorEmoji.ttf emoji.npy
    python benchmarks/latent.py run emoji.npy --seconds 1200 --show latent         the figures of docs/latent.md
    python benchmarks/latent.py run emoji.npy --seconds 300 --n 500 --arms latent --equivariance 0 --name latent-plain
    python benchmarks/latent.py run emoji.npy --seconds 300 --n 500 --arms latent --name latent-equivariant
    python benchmarks/latent.py table --show latent                                their table and picture
    python benchmarks/latent.py run emoji.npy --seconds 60 --arms latent pixel     a quick look; nothing is written

Every arm has the same seconds in all. Of those of `latent`, the share `--first` goes to the autoencoder; encoding the
pictures counts as well. The Fréchet distance is that of pictures pooled to 32 x 32, on the features of a network that
learned from the pooled training pictures, and on pooled pixels. Its floor is that of real held-out pictures, and the
latent floor that of held-out pictures that the autoencoder encoded and decoded.

    latent     the autoencoder, then the preset `latents`
    pixel      the U-Net of the preset `icons-64`, with patches of 2 pixels
    narrow     the same with patches of 4 pixels, whose 48 numbers its first 32 channels cannot hand on
    jit        a transformer that predicts x_0 from patches of 16 pixels (Li & He 2025)
"""

import argparse
import dataclasses
import io
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import record
import torch
import torch.nn.functional as F

import gendi
from gendi.data import Data, open_data
from gendi.data.images.evaluation import evaluate
from gendi.data.images.latents import LatentCodec
from gendi.diffusion.autoencoder.config import AutoencoderConfig
from gendi.diffusion.networks.config import NetworkConfig
from gendi.train.config import RunConfig
from gendi.train.presets import get_preset

SECONDS, FIRST = 600.0, 0.4
POOLED = 32


def pictures(font: Path, out: Path) -> None:
    """Write the bitmaps of a colour font, on white, cut to 128 x 128, as an array; equal ones once."""
    from fontTools.ttLib import TTFont
    from PIL import Image

    strike, found = TTFont(font)["CBDT"].strikeData[0], {}
    for name in sorted(strike):
        glyph = Image.open(io.BytesIO(strike[name].imageData)).convert("RGBA")
        paper = Image.new("RGBA", glyph.size, "white")
        paper.alpha_composite(glyph)
        left, top = (glyph.width - 128) // 2, (glyph.height - 128) // 2
        pixels = np.asarray(paper.convert("RGB").crop((left, top, left + 128, top + 128)))
        found.setdefault(pixels.tobytes(), pixels)
    np.save(out, np.stack(list(found.values())))
    print(f"{len(found)} pictures in {out}")


def pooled(images: np.ndarray) -> np.ndarray:
    """Return bytes (N, H, W, C) averaged to 32 x 32."""
    x = torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float()
    small = F.adaptive_avg_pool2d(x, POOLED).round().to(torch.uint8)
    return small.permute(0, 2, 3, 1).contiguous().numpy()


def pooled_data(data: Data, folder: Path) -> Data:
    """Return the same split of the same pictures, pooled."""
    small = [
        dataclasses.replace(part, rows=pooled(part.batch(range(len(part))))) for part in (data.train, data.heldout)
    ]
    np.save(folder / "pooled.npy", np.concatenate([np.asarray(part.rows) for part in small]))
    opened = open_data(str(folder / "pooled.npy"))
    return dataclasses.replace(opened, train=small[0], heldout=small[1])


def quiet(config: RunConfig, seed: int, **network: Any) -> RunConfig:
    """Return a configuration that measures and shows nothing while it trains."""
    train = dataclasses.replace(config.train, seed=seed, preview_every=0, evaluate_every=0)
    return dataclasses.replace(config, train=train, network=dataclasses.replace(config.network, **network))


def latent(spec: str, folder: Path, seconds: float, seed: int, given: argparse.Namespace) -> tuple[Any, dict[str, Any]]:
    begun = time.monotonic()
    names = ("channels", "regularise", "strength", "equivariance")
    config = AutoencoderConfig(**{name: value for name in names if (value := getattr(given, name)) is not None})
    out: dict[str, Any] = {"size": given.size, "seed": seed, "quiet": True}
    codec = gendi.fit_autoencoder(spec, out=folder / "autoencoder", config=config, seconds=given.first * seconds, **out)
    middle = time.monotonic()
    size = {"size": given.size, "quiet": True, "autoencoder": codec}
    left = seconds - (middle - begun) - given.encoding
    if left <= 0:
        raise SystemExit(f"the autoencoder took {middle - begun:.0f} s with all around it: give more --seconds")
    chosen = quiet(get_preset("latents").config, seed)
    model = gendi.fit(spec, out=folder / "latent", config=chosen, seconds=left, **size)
    about = {"autoencoder": config.to_dict(), "autoencoder_about": codec.about}
    return model, {**about, "seconds_of_both": [middle - begun, time.monotonic() - middle]}


def on_pixels(spec: str, folder: Path, seconds: float, size: int, config: RunConfig) -> tuple[Any, dict[str, Any]]:
    begun = time.monotonic()
    model = gendi.fit(spec, out=folder, config=config, seconds=seconds, size=size, quiet=True)
    return model, {"seconds_of_both": [0, time.monotonic() - begun]}


def pixel(spec: str, folder: Path, seconds: float, seed: int, given: argparse.Namespace) -> tuple[Any, dict[str, Any]]:
    return on_pixels(spec, folder / "pixel", seconds, given.size, quiet(get_preset("icons-64").config, seed))


def narrow(spec: str, folder: Path, seconds: float, seed: int, given: argparse.Namespace) -> tuple[Any, dict[str, Any]]:
    config = quiet(get_preset("icons-64").config, seed, patch=4)
    return on_pixels(spec, folder / "narrow", seconds, given.size, config)


def jit(spec: str, folder: Path, seconds: float, seed: int, given: argparse.Namespace) -> tuple[Any, dict[str, Any]]:
    config = quiet(get_preset("mnist-dit").config, seed)
    network = NetworkConfig("dit", channels=(192,), blocks=8, patch=16, heads=6, time_dim=192)
    objective = dataclasses.replace(config.objective, prediction="x0", precondition=False, weighting="edm")
    config = dataclasses.replace(config, network=network, objective=objective)
    return on_pixels(spec, folder / "jit", seconds, given.size, config)


ARMS: dict[str, Callable[..., tuple[Any, dict[str, Any]]]] = {
    "latent": latent,
    "pixel": pixel,
    "narrow": narrow,
    "jit": jit,
}


def measured(images: np.ndarray, data: Data, seed: int) -> dict[str, Any]:
    """Return the distances of pooled pictures to pooled training pictures, each with its floor."""
    extractors = ("learned", "pixels") if len(data.train) >= 1000 else ("pixels",)
    found = evaluate(pooled(images), data, extractor=extractors, n=len(images), seed=seed)
    shown = {m.name: [m.value, m.floor, m.interval] for m in found.metrics if m.name.startswith(("fid", "kid"))}
    return {**shown, "nearest_train_ratio": found["nearest-train-ratio"].value}


def run(given: argparse.Namespace) -> dict[str, Any]:
    spec, out = str(given.data), {}
    data = open_data(spec, size=given.size)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        small = pooled_data(data, folder)
        for arm in given.arms:
            model, facts = ARMS[arm](spec, folder, given.seconds, given.seed, given)
            begun = time.monotonic()
            drawn = gendi.sample(model, n=given.n, seed=given.seed, batch_size=64)
            facts |= {"images": model.meta["images"], "seconds_to_draw": time.monotonic() - begun}
            facts |= {"parameters": sum(value.numel() for value in model.state.values())}
            facts |= measured(drawn, small, given.seed)
            if isinstance(model.codec, LatentCodec):
                held = data.heldout.batch(range(len(data.heldout)))
                facts["latent_floor"] = measured(model.codec.restored(held), small, given.seed)
            if given.show:
                given.show.mkdir(parents=True, exist_ok=True)
                gendi.show(drawn[:32]).save(given.show / f"{arm}.png")
            print(arm, facts, flush=True)
            out[arm] = facts
    return {"pictures": [len(data.train), len(data.heldout)], "size": given.size, "n": given.n, "arms": out}


METRICS = (("fid-learned", ".2f"), ("fid-pixels", ".0f"))
NAMES = {
    "latent": "latents",
    "pixel": "U-Net on pixels, patches of 2",
    "narrow": "U-Net on pixels, patches of 4, too narrow",
    "jit": "transformer on pixels, patches of 16",
}


def page(shown: Path | None) -> None:
    """Write the table of docs/latent.md, and its picture from the grids of samples in a folder."""
    arms: dict[str, dict[str, Any]] = json.loads((record.RESULTS / "latent.json").read_text("utf-8"))["arms"]

    def distance(facts: dict[str, Any], metric: str, form: str) -> str:
        value, _, (low, high) = facts[metric]
        return f"{value:{form}} ({low:{form}} to {high:{form}})"

    lines = [
        "| | pictures seen | Fréchet distance, features | the same, pooled pixels | latent floor | reconstruction |",
        "|---|---|---|---|---|---|",
    ]
    for name, title in NAMES.items():
        if facts := arms.get(name):
            floor = distance(facts["latent_floor"], "fid-learned", ".2f") if "latent_floor" in facts else ""
            decibels = f"{facts['autoencoder_about']['psnr']:.1f} dB" if "autoencoder_about" in facts else ""
            row = (title, f"{facts['images']:,}", *(distance(facts, m, f) for m, f in METRICS), floor, decibels)
            lines.append(f"| {' | '.join(row)} |")
    record.write_table("latent.md", "measured", lines)
    if shown is not None:
        rows = [tiles(shown / f"{arm}.png")[:8] for arm in ("latent", "pixel", "jit")]
        gendi.show(np.concatenate(rows), columns=8).quantize(256).save(record.DOCS / "latent.png")


def tiles(grid: Path, size: int = 128) -> np.ndarray:
    """Return the pictures (N, size, size, 3) of a grid that `gendi.show` drew with lines of two pixels between them."""
    from PIL import Image

    pixels, step = np.asarray(Image.open(grid).convert("RGB")), size + 2
    places = [(y, x) for y in range(2, pixels.shape[0], step) for x in range(2, pixels.shape[1], step)]
    return np.stack([pixels[y : y + size, x : x + size] for y, x in places])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    commands = parser.add_subparsers(dest="command", required=True)
    reading = commands.add_parser("pictures")
    reading.add_argument("font", type=Path)
    reading.add_argument("out", type=Path)
    running = commands.add_parser("run")
    running.add_argument("data", type=Path)
    running.add_argument("--seconds", type=float, default=SECONDS, help="of each arm, in all")
    running.add_argument("--first", type=float, default=FIRST, help="the autoencoder's share")
    running.add_argument("--encoding", type=float, default=0.0, help="seconds kept back for encoding the pictures")
    running.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    running.add_argument("--size", type=int, default=128)
    running.add_argument("--channels", type=int)
    running.add_argument("--regularise", choices=("noise", "kl", "none"))
    running.add_argument("--strength", type=float)
    running.add_argument("--equivariance", type=float)
    running.add_argument("--n", type=int, default=1000)
    running.add_argument("--seed", type=int, default=0)
    running.add_argument("--name", default="latent", help="the results are in benchmarks/results/NAME.json")
    running.add_argument("--show", type=Path, help="a folder for pictures of samples")
    showing = commands.add_parser("table")
    showing.add_argument("--show", type=Path, help="the folder of pictures of samples")
    given = parser.parse_args()
    if given.command == "table":
        page(given.show)
        return
    if given.command == "pictures":
        pictures(given.font, given.out)
        return
    found = run(given)
    if given.seconds >= SECONDS or given.name != "latent":
        path = record.RESULTS / f"{given.name}.json"
        known = json.loads(path.read_text("utf-8"))["arms"] if path.exists() else {}
        found["arms"] = known | found["arms"]
        record.write(given.name, {"seconds": given.seconds, "first": given.first, **found})


if __name__ == "__main__":
    main()
