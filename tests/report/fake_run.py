"""A run's folder as training would leave it, in a second: a tiny untrained network, drawn images, invented curves."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from gendi.api.request import Request
from gendi.data import open_data
from gendi.data.images.sample_files import write_samples
from gendi.diffusion.gaussian.config import ProcessConfig, SampleConfig
from gendi.diffusion.gaussian.samplers import Drawing
from gendi.diffusion.networks import build_network
from gendi.diffusion.networks.config import NetworkConfig
from gendi.evaluate.result import ClassesRecord, Evaluation, ExtractorRecord, MemorisationRecord, Metric
from gendi.storage.files import encode_json
from gendi.storage.toml import write_toml
from gendi.train.config import RunConfig
from gendi.train.kept.bundle import Bundle, save_bundle

TINY = RunConfig(
    preset="mnist",
    network=NetworkConfig(channels=(8, 8), blocks=1, patch=2, time_dim=16, groups=4),
    process=ProcessConfig(schedule="cosine", steps=None),
    sample=SampleConfig(sampler="dpmpp-2m", steps=6),
)


def drawings(n: int, height: int, width: int, channels: int, seed: int = 0) -> np.ndarray:
    """Return n images (n, height, width, channels) of a disc or a bar on black: the classes 0 and 1 in turn."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    cy, cx = rng.uniform(0.35, 0.65, (2, n))
    colour = rng.uniform(120, 255, (n, 1, 1, channels))
    dy, dx = y[None] - cy[:, None, None] * height, x[None] - cx[:, None, None] * width
    disc, bar = dy**2 + dx**2 < (min(height, width) / 4) ** 2, np.abs(dx) < max(1, width / 8)
    odd = (np.arange(n) % 2 == 1)[:, None, None]
    return (np.where(odd, bar, disc)[..., None] * colour).astype(np.uint8)


def losses(steps: int = 400, batch: int = 64, seed: int = 0) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return invented lines of metrics.jsonl and timings.jsonl."""
    rng = np.random.default_rng(seed)
    metrics, timings = [], []
    for step in range(10, steps + 1, 10):
        base = 0.16 + 1.1 * (step / 10) ** -0.85
        images = step * batch
        loss = base * float(np.exp(0.07 * rng.standard_normal()))
        metrics.append({"step": step, "images": images, "loss": loss, "lr": 1e-3, "grad_norm": 1.0})
        timings.append({"step": step, "seconds": images / 250, "images_per_second": 250.0})
        if step % (steps // 8) == 0:
            quarters = [base * f for f in (0.4, 0.8, 1.1, 1.7)]
            metrics.append({"step": step, "images": images, "heldout": sum(quarters) / 4, "heldout_q": quarters})
    return metrics, timings


def evaluation(
    *,
    data: str,
    n: int,
    extractors: Sequence[str],
    names: Sequence[str] = (),
    histogram: Sequence[int] = (),
    frequencies: Sequence[float] = (),
) -> Evaluation:
    """Return an invented evaluation of the real shape."""
    mnist = data == "mnist"
    metrics: list[Metric] = []
    for extractor in extractors:
        fid = (19.61, 13.24) if extractor == "inception" else (4.38, 1.12)
        theirs = 22.58 if mnist and extractor == "inception" else None
        metrics += [
            Metric(f"fid-{extractor}", *fid, "lower", theirs, extractor),
            Metric(f"kid-{extractor}", 3.1e-3, -1.2e-5, "lower", None, extractor, 4.1e-4),
            Metric(f"precision-{extractor}", 0.883, 0.941, "higher", None, extractor),
            Metric(f"recall-{extractor}", 0.902, 0.938, "higher", None, extractor),
            Metric(f"density-{extractor}", 0.871, 0.986, "higher", None, extractor),
            Metric(f"coverage-{extractor}", 0.924, 0.957, "higher", None, extractor),
        ]
    classes = None
    if len(names):
        metrics += [
            Metric("confidence", 0.9842, 0.9961, "higher", 0.9305 if mnist else None, "digits"),
            Metric("class-entropy", 2.291, 2.297, "higher", None, "digits"),
            Metric("class-chi-square", 14.2, 8.7, "lower", None, "digits"),
            Metric("class-p-value", 0.115, 0.465, "higher", None, "digits"),
        ]
        share = tuple(float(f) for f in np.asarray(frequencies) / np.sum(frequencies))
        counts = tuple(int(c) for c in histogram)
        classes = ClassesRecord(tuple(names), counts, None, share, float(np.log(len(names))), "c" * 64)
    metrics += [
        Metric("nearest-train-ratio", 1.03, 1.0, "higher"),
        Metric("near-copies", 0.007, 0.01, "lower"),
    ]
    return Evaluation(
        n=n,
        seed=0,
        data=data,
        fingerprint="f" * 64,
        reference_split="train",
        reference_n=n,
        floor_split="heldout",
        floor_n=n,
        extractors=tuple(ExtractorRecord(name, "ab12" * 16, "none", 96) for name in extractors),
        metrics=tuple(metrics),
        classes=classes,
        memorisation=MemorisationRecord((0,) * 8, (6.5,) * 8, 3.2, 6.71, 6.52),
        ema=True,
        seconds=dict.fromkeys((*extractors, "memorisation"), 2.4),
    )


def write_jsonl(path: Path, lines: Sequence[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def fake_run(
    folder: Path,
    *,
    spec: str | None = None,
    channels: int = 1,
    size: tuple[int, int] = (12, 10),
    config: RunConfig = TINY,
    measured: Evaluation | None = None,
    samples: np.ndarray | None = None,
    bundle: bool = True,
    draw: bool = True,
    steps: int = 400,
) -> Path:
    """Write a run into `folder` and return it; its data are `spec`, or drawings beside it."""
    folder.mkdir(parents=True)
    if spec is None:
        path = folder.parent / "drawings.npz"
        np.savez(path, images=drawings(120, *size, channels), labels=np.arange(120) % 2)
        spec = str(path)
    data = open_data(spec)
    table = {"spec": spec, "fingerprint": data.fingerprint, "name": data.name}
    write_toml(folder / "config.toml", {"config": config.to_dict(), "data": table, "budget": {"seconds": 480.0}})
    metrics, timings = losses(steps)
    write_jsonl(folder / "metrics.jsonl", metrics)
    write_jsonl(folder / "timings.jsonl", timings)
    seconds = timings[-1]["seconds"]
    done = {"step": steps, "images": steps * 64, "seconds": seconds}
    (folder / "status.json").write_text(json.dumps({"status": "finished", "pid": 1, "host": "somewhere", **done}))
    (folder / "timings.json").write_text(json.dumps({"sample_seconds": 31.2, "evaluate_seconds": 14.9}))
    if bundle:
        network = build_network(config.network, data.codec.shape, config.conditions)
        meta = {"data": data.name, "data_spec": spec, "fingerprint": data.fingerprint, "size": None, **done}
        meta |= {"python": "3.12.1", "precision": "bf16", "layout": "channels-last", "seed": 0}
        save_bundle(folder / "bundle", Bundle(config, data.codec, dict(network.state_dict()), 0.9, meta))
    if draw:
        images = (
            drawings(80, data.codec.height, data.codec.width, data.codec.channels, 1) if samples is None else samples
        )
        how = Drawing(sampler=config.sample.sampler, steps=config.sample.steps)
        write_samples(folder / "samples.npz", images, Request(str(folder), len(images), how).texts)
    if measured is not None:
        (folder / "evaluation.json").write_text(encode_json(replace(measured, fingerprint=data.fingerprint).to_dict()))
    return folder
