"""Training a classifier of noisy pictures, for guidance.  [Dhariwal & Nichol 2021, section 4]

    minimise E[-log p(y | x_t, t)],    x_t ~ q(x_t | x_0) of a run's schedule, t uniform

This is one short loop with AdamW. The learning rate falls to zero along a cosine over the budget, and all draws are
keyed by (seed, step). Training takes only minutes, so it keeps no checkpoints; if it is stopped, nothing is written.
"""

import math
import time
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F

from gendi.data import Data
from gendi.data.images.codec import pictures_only
from gendi.data.order import batch_indices
from gendi.diffusion.gaussian.guidance.noisy_classifier import GROUPS, ClassifierNetwork, NoisyClassifier
from gendi.diffusion.gaussian.process import Process
from gendi.diffusion.randomness import normal, stream
from gendi.errors import DataError, DivergedError, UsageError
from gendi.machine.stopping import Poll, may_stop
from gendi.train.budget import Budget
from gendi.train.kept.bundle import Bundle
from gendi.train.kept.classifier_bundle import ClassifierBundle, width_fits
from gendi.train.progress.pace import Pace
from gendi.train.progress.telling import Console

LEVELS = (0.1, 0.3, 1.0, 3.0, 10.0)
"""The values of sigma / alpha at which the accuracy is computed."""
MOST_HELD_OUT = 1000
WEIGHT_DECAY = 0.01


def train_classifier(
    bundle: Bundle,
    data: Data,
    budget: Budget,
    *,
    widths: Sequence[int] = (32, 64, 128),
    lr: float = 3e-3,
    batch_size: int = 128,
    seed: int = 0,
    device: str = "cpu",
    console: Console | None = None,
    poll: Poll | None = None,
) -> ClassifierBundle:
    """Return a classifier of the bundle's x_t, trained on labelled data until the budget is spent.

    Args:
        bundle: the model whose process and pictures the classifier is for.
        data: labelled pictures.
        budget: how long to train.
        widths: the widths of the network's levels, finest first; multiples of 8.
        lr: the learning rate at the start.
        batch_size: pictures per step.
        seed: the key of all draws.
        device: where to train.
        console: shows the progress.
        poll: called before every step; raise from it to stop.

    Raises:
        UsageError: the data have no labels, or other pictures or classes than the model; or the widths, the learning
            rate or the batch size are out of range.
        DivergedError: the loss is not finite.
    """
    codec = pictures_only(data.codec, "a classifier of noisy pictures")
    classes = _check(bundle, data, widths, lr, batch_size)
    schedule = bundle.schedule()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(stream(seed, "classifier init").integers(2**63)))
        network = ClassifierNetwork(codec.channels, classes, widths).to(device)
    classifier, process = NoisyClassifier(network, schedule, bundle.sigma_data), Process(schedule)
    optimizer = torch.optim.AdamW(network.parameters(), lr=lr, weight_decay=WEIGHT_DECAY)
    labels = torch.from_numpy(data.train.conditions["class"]).to(device)
    step, seconds, pace, clock = 0, 0.0, Pace(budget, batch_size), time.perf_counter()
    while True:
        progress = budget.progress(seconds=seconds, images=step * batch_size, steps=step)
        if progress >= 1:
            break
        may_stop(poll)
        rows = batch_indices(len(data.train), batch_size, seed, step, data.train.blocks)
        x_0 = codec.encode(torch.from_numpy(data.train.batch(rows))).to(device)
        slices = stream(seed, "classifier time", step)
        t = torch.from_numpy((slices.permutation(batch_size) + slices.random(batch_size)) / batch_size).clamp(min=1e-5)
        x_t = process.sample(x_0, t, normal(tuple(x_0.shape), seed, "classifier noise", step).to(device))
        loss = F.cross_entropy(classifier(x_t, t), labels[torch.from_numpy(rows).to(device)])
        if not bool(loss.isfinite()):
            raise DivergedError(f"the classifier's loss was {loss.item()} in step {step + 1}: try a smaller --lr.")
        for group in optimizer.param_groups:
            group["lr"] = lr * (1 + math.cos(math.pi * progress)) / 2
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        step, before, clock = step + 1, clock, time.perf_counter()
        seconds += pace.lap(clock - before)
        if console is not None:
            fields = pace.fields(seconds=seconds, steps=step)
            console.progress(progress, step=step, images=step * batch_size, loss=loss.item(), **fields)
    classifier.eval()
    meta: dict[str, Any] = {
        "data": data.name,
        "data_spec": data.spec,
        "fingerprint": data.fingerprint,
        "steps": step,
        "images": step * batch_size,
        "seconds": seconds,
        "seed": seed,
        "accuracy": {f"{level:g}": value for level, value in accuracy(classifier, data, seed, device).items()},
    }
    state = {name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()}
    return ClassifierBundle(classes, data.class_names, codec, tuple(widths), bundle.sigma_data, state, meta)


@torch.inference_mode()
def accuracy(classifier: NoisyClassifier, data: Data, seed: int = 0, device: str = "cpu") -> dict[float, float]:
    """Return the share of held-out pictures that are classified correctly, by sigma / alpha, with one noise each."""
    rows = range(min(MOST_HELD_OUT, len(data.heldout)))
    codec = pictures_only(data.codec, "a classifier of noisy pictures")
    x_0 = codec.encode(torch.from_numpy(data.heldout.batch(rows))).to(device)
    labels = torch.from_numpy(data.heldout.conditions["class"][: len(rows)]).to(device)
    found = {}
    for level in LEVELS:
        t = classifier.schedule.time(torch.tensor(-2 * math.log(level), dtype=torch.float64))
        eps = normal(tuple(x_0.shape), seed, "classifier held-out noise").to(device)
        x_t = Process(classifier.schedule).sample(x_0, t, eps)
        named = torch.cat([classifier(x_t[i : i + 250], t).argmax(1) for i in range(0, len(rows), 250)])
        found[level] = float((named == labels).double().mean())
    return found


def _check(bundle: Bundle, data: Data, widths: Sequence[int], lr: float, batch_size: int) -> int:
    """Check the arguments of `train_classifier` and return the number of classes."""
    if data.train.labels is None:
        raise UsageError(f"{data.name} has no classes to name: sort the images in subfolders, one for each class.")
    if data.codec != bundle.codec:
        raise UsageError(
            f"{data.name} has pictures of {data.fitted.description}, the model draws some of "
            f"{bundle.codec.description}."
        )
    own = bundle.condition("class")
    if own is not None and own.names != data.class_names:
        raise UsageError(f"{data.name} has the classes {', '.join(data.class_names)}; the model others.")
    if not widths or len(widths) > 8 or not all(map(width_fits, widths)):
        raise UsageError(f"widths {tuple(widths)} are out of range: give 1 to 8 multiples of {GROUPS}.")
    if not 0 < lr <= 1 or not 1 <= batch_size <= 1_000_000:
        raise UsageError(f"lr = {lr:g} must lie in (0, 1], and the batch size {batch_size} between 1 and 1,000,000.")
    classes = max(len(data.class_names), int(data.train.labels.max()) + 1)
    if int(data.train.labels.min()) < 0:
        raise DataError(f"{data.name} has the label {data.train.labels.min()}: labels are numbers from 0 on.")
    return classes
