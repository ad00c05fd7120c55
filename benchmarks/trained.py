"""What a trainer's averaged weights draw, measured: shared by benchmarks that train."""

from typing import Any

import numpy as np
import torch

from gendi.data.images.digit_classifier import class_probabilities, load_classifier
from gendi.data.images.evaluation import evaluate
from gendi.diffusion.gaussian.samplers import sample
from gendi.train.step.trainer import Trainer

SHOWN = ("fid-digits", "precision-digits", "recall-digits", "confidence")


def measured(trainer: Trainer, n: int) -> dict[str, Any]:
    """Return how n samples of preset's sampler score, classes in turn, and how often the digit asked for is drawn."""
    config, data = trainer.config, trainer.data
    digits = torch.arange(n) % 10
    x = sample(
        trainer.ema_denoiser(clip=1.0),
        data.codec.shape,
        n,
        steps=config.sample.steps,
        sampler=config.sample.sampler,
        device=trainer.device,
        cond={"class": digits},
    )
    images = data.codec.decode(x.cpu()).numpy()
    drawn = class_probabilities(load_classifier(), images).argmax(1)
    metrics = evaluate(images, data, extractor="digits", n=n).to_dict()["metrics"]
    return {
        "n": n,
        "accuracy": float(np.mean(drawn == digits.numpy())),
        **{name: metrics[name]["value"] for name in SHOWN},
        "fid_floor": metrics["fid-digits"]["floor"],
    }
