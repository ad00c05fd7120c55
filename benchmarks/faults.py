"""What safety costs, and whether it holds: bit flips, a damaged checkpoint, the price of a save.

    python benchmarks/faults.py [--flips 10000] [--rounds 5]

Flips: one random bit of one random file of a small checkpoint or bundle is turned over, and the folder is loaded as
training or sampling would; a load that raises nothing is a silent corruption. Files are drawn evenly, so that small
ones are hit as often as large ones. Damage and cost are of a checkpoint of the `cifar10` preset, with AdamW's two
moments and the average; seconds are of the wall clock and of this thread's processor. What a save beside training
costs is what it adds to the seconds of so many steps as outlast it, in pairs with and without a save.
"""

import argparse
import dataclasses
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import record
import torch

from gendi.data import open_data
from gendi.data.images.codec import ImageCodec
from gendi.diffusion.networks.config import NetworkConfig
from gendi.errors import BundleError
from gendi.storage.files import sha256_file
from gendi.train.config import RunConfig, TrainConfig
from gendi.train.kept.bundle import Bundle, load_bundle, save_bundle
from gendi.train.kept.checkpoint import load_checkpoint, load_latest, save_checkpoint
from gendi.train.presets import get_preset
from gendi.train.progress import keeping
from gendi.train.progress.keeping import Keeper
from gendi.train.progress.telling import Silent
from gendi.train.step.trainer import Trainer
from gendi.train.weights.model import network_of


def small(folder: Path) -> list[tuple[Path, Any]]:
    """Return (folder, loader) of a checkpoint and a bundle of a few thousand weights."""
    config = RunConfig(network=NetworkConfig(channels=(8,), blocks=1, time_dim=8, groups=4))
    weights = dict(network_of(config, (1, 8, 8)).state_dict())
    groups = {"model": weights, "ema": weights, "optimizer": {f"{k}:exp_avg": v * 0.1 for k, v in weights.items()}}
    checkpoint = save_checkpoint(folder, 7, groups, {"images": 896, "config": config.to_dict()})
    bundle = save_bundle(folder / "bundle", Bundle(config, ImageCodec(1, 8, 8), weights))
    return [(checkpoint, load_checkpoint), (bundle, load_bundle)]


def flips(n: int, seed: int = 0) -> dict[str, Any]:
    """Turn n random bits over, one at a time, and count the loads that notice nothing."""
    rng, silent, other = np.random.default_rng(seed), [], []
    with tempfile.TemporaryDirectory() as name:
        targets = [(path, load) for folder, load in small(Path(name)) for path in sorted(folder.iterdir())]
        start = time.perf_counter()
        for _ in range(n):
            path, load = targets[rng.integers(len(targets))]
            original = path.read_bytes()
            bit = int(rng.integers(8 * len(original)))
            damaged = bytearray(original)
            damaged[bit // 8] ^= 1 << bit % 8
            path.write_bytes(damaged)
            try:
                load(path.parent)
                silent.append((path.name, bit))
            except BundleError:
                pass
            except Exception as error:
                other.append((path.name, bit, repr(error)))
            path.write_bytes(original)
        seconds = time.perf_counter() - start
    return {"flips": n, "files": len(targets), "silent": silent, "other_errors": other, "seconds": round(seconds, 1)}


def state_of(preset: str) -> tuple[dict[str, dict[str, torch.Tensor]], int]:
    """Return what a checkpoint of a preset holds, with AdamW, and its number of parameters."""
    config = get_preset(preset).config
    network = network_of(dataclasses.replace(config, conditions=()), (3, 32, 32))
    weights = dict(network.state_dict())
    moments = {f"{k}:{m}": torch.randn_like(v) for k, v in weights.items() for m in ("exp_avg", "exp_avg_sq")}
    average = {k: v.clone() for k, v in weights.items()}
    count = sum(p.numel() for p in network.parameters())
    return {"model": weights, "ema": average, "optimizer": moments}, count


def cost(groups: dict[str, dict[str, torch.Tensor]], folder: Path, rounds: int) -> dict[str, Any]:
    """Save checkpoints and return what one costs; the parts are timed alone, on the files of the last one."""
    wall, thread = [], []
    for step in range(1, rounds + 2):
        begun, worked = time.perf_counter(), time.thread_time()
        path = save_checkpoint(folder, step, groups, {"images": step}, keep=2)
        wall.append(time.perf_counter() - begun)
        thread.append(time.thread_time() - worked)
    files = sorted(path.iterdir())
    worked = time.thread_time()
    for file in files:
        sha256_file(file)
    hashing = time.thread_time() - worked
    every = TrainConfig().checkpoint_every
    return {
        "bytes": sum(file.stat().st_size for file in files),
        "save_seconds": [round(s, 3) for s in wall[1:]],
        "save_seconds_median": round(statistics.median(wall[1:]), 3),
        "save_thread_seconds_median": round(statistics.median(thread[1:]), 3),
        "hash_thread_seconds": round(hashing, 3),
        "interval_seconds": every,
        "share_of_training_time": round(statistics.median(wall[1:]) / every, 5),
        "share_in_thread_time": round(statistics.median(thread[1:]) / every, 5),
    }


def beside(folder: Path, rounds: int, batch: int = 4) -> dict[str, Any]:
    """Train the `cifar10` network on noise, a checkpoint being written beside it or not; return what the save adds."""
    pixels = np.random.default_rng(0).integers(0, 256, (256, 32, 32, 3), dtype=np.uint8)
    folder.mkdir()
    np.savez(folder / "noise.npz", images=pixels)
    config = get_preset("cifar10").config
    train = dataclasses.replace(config.train, batch_size=batch)
    trainer = Trainer(dataclasses.replace(config, conditions=(), train=train), open_data(str(folder / "noise.npz")))
    keeper = Keeper(folder, train.checkpoint_every, 2, Silent())
    keeping.QUICK = -1.0  # whatever the disk

    def window(steps: int, save: bool) -> tuple[float, float]:
        begun = time.perf_counter()
        if save:
            keeper.save(trainer.step_count, trainer.tensors(), {}, wait=False)
        held_up = time.perf_counter() - begun
        for _ in range(steps):
            trainer.step(0.5)
        return time.perf_counter() - begun, held_up

    with keeper.training(None):
        step = window(3, False)[0] / 3
        begun = time.perf_counter()
        keeper.save(trainer.step_count, trainer.tensors(), {}, wait=True)
        steps = max(8, int(4 * (time.perf_counter() - begun) / step) + 3)
        pairs = []
        for _ in range(rounds):
            without, (with_save, held_up) = window(steps, False)[0], window(steps, True)
            pairs.append((with_save - without, held_up, not keeper.saving, without / steps))
    added = statistics.median(pair[0] for pair in pairs)
    return {
        "threads": torch.get_num_threads(),
        "steps": steps,
        "seconds_per_step": round(statistics.median(pair[3] for pair in pairs), 4),
        "added_seconds": [round(pair[0], 3) for pair in pairs],
        "added_seconds_median": round(added, 3),
        "held_up_seconds": [round(pair[1], 3) for pair in pairs],
        "outlasted": [pair[2] for pair in pairs],
        "share_of_training_time": round(added / train.checkpoint_every, 5),
    }


def naming(folder: Path, rounds: int) -> dict[str, Any]:
    """Damage the newest checkpoint, load it, and return the seconds until the file is named."""
    newest = sorted((folder / "checkpoints").glob("step_*"))[-1]
    path, found = newest / "optimizer.safetensors", {}
    for damage in ("flipped bit", "truncated"):
        wall, thread = [], []
        for _ in range(rounds):
            with path.open("r+b") as file:
                if damage == "truncated":
                    file.truncate(path.stat().st_size - 1)
                else:
                    file.seek(-1000, 2)
                    byte = file.read(1)
                    file.seek(-1, 1)
                    file.write(bytes([byte[0] ^ 4]))
            begun, worked = time.perf_counter(), time.thread_time()
            try:
                load_checkpoint(newest)
            except BundleError as error:
                said = str(error)
            else:
                raise SystemExit("a silent corruption")
            wall.append(time.perf_counter() - begun)
            thread.append(time.thread_time() - worked)
            if path.name not in said:
                raise SystemExit(f"another file was named: {said}")
            if damage == "flipped bit":  # and back
                with path.open("r+b") as file:
                    file.seek(-1000, 2)
                    file.write(byte)
        found[damage] = {"seconds": round(statistics.median(wall), 3), "thread": round(statistics.median(thread), 3)}
    begun = time.perf_counter()
    back = load_latest(folder)
    assert back is not None and len(back.problems) == 1
    return {**found, "seconds_until_the_one_before_is_loaded": round(time.perf_counter() - begun, 3)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--flips", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    groups, parameters = state_of("cifar10")
    with tempfile.TemporaryDirectory() as name:
        costs = cost(groups, Path(name), asked.rounds)
        print(costs, flush=True)
        saves = beside(Path(name) / "beside", asked.rounds)
        print(saves, flush=True)
        named = naming(Path(name), asked.rounds)
        print(named, flush=True)
        free = shutil.disk_usage(name).free
    found = flips(asked.flips)
    print({k: v for k, v in found.items() if k != "silent"}, len(found["silent"]), flush=True)
    record.write(
        "faults",
        {
            "preset": "cifar10",
            "parameters": parameters,
            "checkpoint": costs,
            "beside_training": saves,
            "naming": named,
            "bit_flips": found,
            "free_bytes": free,
        },
    )


if __name__ == "__main__":
    main()
