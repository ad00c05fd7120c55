"""Train the digit classifier that ships with gendi, and write its weights beside `gendi.evaluate` with a record of how.

    python benchmarks/train_digit_classifier.py

Everything random is keyed by the seed. After a retraining, put the printed SHA-256 into
`gendi/data/images/digit_classifier.py`; scores on the `digits` extractor before and after are then on different scales,
as their hash says.
"""

import argparse
import hashlib
import json
import os
import platform
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save
from torch import Tensor

from gendi.data import open_data
from gendi.data.images.digit_classifier import WEIGHTS, DigitClassifier, class_probabilities
from gendi.diffusion.randomness import stream

RESULT = Path(__file__).parent / "results" / "digit-classifier.json"


def augment(x: Tensor, rng: np.random.Generator) -> Tensor:
    """Rotate (up to 10 degrees), scale (10%), shear (5%) and shift (2 pixels) each image by a map of its own."""
    n = len(x)
    angle = np.deg2rad(rng.uniform(-10, 10, n))
    scale = rng.uniform(0.9, 1.1, (2, n))
    shear = rng.uniform(-0.05, 0.05, n)
    shift = rng.uniform(-2, 2, (2, n)) / 14  # affine_grid counts half the image as 1
    cos, sin = np.cos(angle), np.sin(angle)
    theta = np.stack(
        [
            np.stack([cos / scale[0], (shear - sin) / scale[0], shift[0]], 1),
            np.stack([(sin + shear) / scale[1], cos / scale[1], shift[1]], 1),
        ],
        1,
    )
    grid = F.affine_grid(torch.from_numpy(theta.astype(np.float32)), list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, align_corners=False)


def train(
    images: np.ndarray, labels: np.ndarray, *, epochs: float, batch: int, lr: float, seed: int
) -> DigitClassifier:
    """Return a classifier trained on uint8 `(n, 28, 28, 1)` images: AdamW, one cycle, an average of the weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)  # torch's initialisers know no other source
        model = DigitClassifier()
    model = model.to(memory_format=torch.channels_last)
    steps = int(epochs * len(images) / batch)
    optimiser = torch.optim.AdamW(model.parameters(), lr=lr, betas=(0.9, 0.99), weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, lr, total_steps=steps, pct_start=0.2, cycle_momentum=False
    )
    average = {name: value.detach().clone() for name, value in model.named_parameters()}
    order = np.concatenate([stream(seed, "digit order", e).permutation(len(images)) for e in range(int(epochs) + 1)])
    x_all = torch.from_numpy(images).permute(0, 3, 1, 2)
    y_all = torch.from_numpy(labels)
    for step in range(steps):
        rows = torch.from_numpy(order[step * batch : (step + 1) * batch])
        x = augment(x_all[rows].float() / 255, stream(seed, "digit augmentation", step))
        loss = F.cross_entropy(model(x.contiguous(memory_format=torch.channels_last)), y_all[rows])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        decay = min(0.99, (step + 1) / (step + 10))
        for name, value in model.named_parameters():
            average[name].lerp_(value.detach(), 1 - decay)
        if step % 100 == 0:
            print(f"step {step}/{steps}  loss {loss.item():.4f}", flush=True)
    model.load_state_dict(average, strict=False)
    settle_batch_norm(model, x_all[:10_000])
    return model.eval().to(memory_format=torch.contiguous_format)


def settle_batch_norm(model: DigitClassifier, images: Tensor) -> None:
    """Measure the running statistics anew under the averaged weights, on training images as they are."""
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None  # a plain mean over batches
    with torch.no_grad():
        for part in images.split(1000):
            model(part.float() / 255)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=float, default=3)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--lr", type=float, default=4e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=WEIGHTS)
    options = parser.parse_args()

    data = open_data("mnist")
    assert data.train.labels is not None
    assert data.heldout.labels is not None
    began, cpu_began = time.perf_counter(), time.process_time()
    model = train(
        np.asarray(data.train.rows),
        data.train.labels,
        epochs=options.epochs,
        batch=options.batch,
        lr=options.lr,
        seed=options.seed,
    )
    seconds, cpu_seconds = time.perf_counter() - began, time.process_time() - cpu_began
    probabilities = class_probabilities(model, data.heldout.rows)
    accuracy = float((probabilities.argmax(1) == data.heldout.labels).mean())
    content = save({name: value.contiguous() for name, value in model.state_dict().items()})
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_bytes(content)
    record = {
        "what": "digit classifier of gendi.evaluate: trained on 60,000 training images, measured on 10,000 test images",
        "accuracy": accuracy,
        "mean_confidence": float(probabilities.max(1).mean()),
        "seconds": round(seconds, 1),
        "cpu_seconds": round(cpu_seconds, 1),
        "parameters": sum(p.numel() for p in model.parameters()),
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        "seed": options.seed,
        "epochs": options.epochs,
        "batch": options.batch,
        "lr": options.lr,
        "data_fingerprint": data.fingerprint,
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "machine": f"{platform.machine()}, {os.cpu_count()} CPUs",
    }
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    RESULT.write_text(json.dumps(record, indent=2) + "\n")
    print(json.dumps(record, indent=2))


if __name__ == "__main__":
    main()
