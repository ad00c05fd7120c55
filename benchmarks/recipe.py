"""One trial of the search for the best digits per CPU minute; every trial is kept in results/recipe.json.

    python benchmarks/recipe.py NAME --images 32000 --set optim.lr=3e-3 network.channels=[64,128] [--fid]

A trial trains preset `mnist` with some fields changed, for a number of images rather than minutes, so that another
process on the machine slows it but does not change it; images/s is noted as measured (compare rates only between trials
on an idle machine). Trials are ranked by the error of the averaged weights on 512 test images at seven fixed noise
levels: the mean of |x_0 - x0_hat|^2 (1 + r^2) / r^2 with r = sigma / alpha, which no choice of schedule, weighting or
parameterisation enters. `--fid` adds the Inception FID of 1000 samples against 1000 training images.
"""

import argparse
import dataclasses
import json
import time

import numpy as np
import torch
from record import RESULTS, machine

from gendi.data import open_data
from gendi.data.images.evaluation import evaluate
from gendi.diffusion.conditions import requested_conditions, to_tensor
from gendi.diffusion.gaussian.process import Process
from gendi.diffusion.gaussian.samplers import sample
from gendi.diffusion.randomness import normal
from gendi.train.config import RunConfig
from gendi.train.presets import get_preset
from gendi.train.step.trainer import Trainer

LEVELS = (0.1, 0.3, 0.6, 1.0, 1.6, 2.5, 5.0)


@torch.no_grad()
def heldout_error(trainer: Trainer) -> tuple[float, list[float]]:
    """Return the ranking score and the mean squared error at each noise level."""
    denoiser, data = trainer.ema_denoiser(), trainer.data
    x_0 = data.codec.encode(torch.from_numpy(data.heldout.batch(range(512))))
    cond = {spec.name: to_tensor(spec, data.heldout.conditions[spec.name][:512]) for spec in trainer.config.conditions}
    errors = []
    for k, level in enumerate(LEVELS):
        t = denoiser.schedule.time(torch.tensor(-2 * np.log(level)))
        x_t = Process(denoiser.schedule).sample(x_0, t, normal(tuple(x_0.shape), 0, "recipe", k))
        errors.append(float((denoiser(x_t, t, **cond) - x_0).square().mean()))
    return float(np.mean([e * (1 + r**2) / r**2 for e, r in zip(errors, LEVELS, strict=True)])), errors


def configure(preset: str, changes: list[str]) -> RunConfig:
    tree = dataclasses.replace(get_preset(preset).config).to_dict()
    for change in changes:
        name, value = change.split("=", 1)
        room, field = name.split(".")
        try:
            tree[room][field] = json.loads(value)
        except ValueError:
            tree[room][field] = value
    return RunConfig.from_dict(tree)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("name")
    parser.add_argument("--preset", default="mnist")
    parser.add_argument("--images", type=int, default=32_000)
    parser.add_argument("--set", nargs="*", default=[])
    parser.add_argument("--fid", action="store_true")
    parser.add_argument("--save", help="also write the averaged weights here (.pt)")
    args = parser.parse_args()
    config, data = configure(args.preset, args.set), open_data("mnist")
    trainer = Trainer(config, data)
    steps, losses = args.images // config.train.batch_size, []
    start = time.perf_counter()
    for step in range(steps):
        losses.append(trainer.step(step / steps).loss)
        if step % max(1, steps // 8) == 0:
            rate = (step + 1) * config.train.batch_size / (time.perf_counter() - start)
            print(f"{step:6d} loss {np.mean(losses[-50:]):.4f} {rate:.0f} images/s", flush=True)
    seconds = time.perf_counter() - start
    score, errors = heldout_error(trainer)
    trial = {
        "name": args.name,
        "changes": args.set,
        "images": trainer.images_seen,
        "steps": steps,
        "seconds": seconds,
        "images_per_second": trainer.images_seen / seconds,
        "parameters": sum(p.numel() for p in trainer.network.parameters()),
        "choice": trainer.choice.reason,
        "heldout_score": score,
        "heldout_errors": dict(zip(map(str, LEVELS), errors, strict=True)),
        "config": config.to_dict(),
        "machine": machine(),
    }
    if args.save:
        torch.save(trainer.ema.weights, args.save)
    if args.fid:
        x = sample(
            trainer.ema_denoiser(clip=1.0),
            data.codec.shape,
            1000,
            steps=config.sample.steps,
            sampler=config.sample.sampler,
            cond=requested_conditions(trainer.config.conditions, None, 1000),
        )
        images = data.codec.decode(x).numpy()
        trial["metrics"] = evaluate(images, data, extractor=["inception", "digits"], n=1000).to_dict()["metrics"]
    path = RESULTS / "recipe.json"
    trials = json.loads(path.read_text()) if path.exists() else []
    path.write_text(json.dumps([*trials, trial], indent=1) + "\n")
    print(json.dumps({k: v for k, v in trial.items() if k not in ("config", "machine")}, indent=1))


if __name__ == "__main__":
    main()
