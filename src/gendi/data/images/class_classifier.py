"""A classifier of the classes of any folder of pictures, trained on the folder itself, once.

It is there to say which class is seen in a sample, and for nothing else: a small convolutional network that learns the
classes of the training pictures by cross-entropy, from copies that are moved, scaled, tilted and toned a little. How
long it learns depends on the number of pictures and of classes (`steps_for`). An evaluation says how often it is right
on held-out pictures (`gendi.data.images.class_metrics`).

All draws are keyed by a fixed seed. The weights are kept in the cache, under a key of the data and of everything that
training depends on, and their hash is recorded with the evaluation. Another kind of processor may round differently,
and so find other weights.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn

from gendi.data.dataset import Data
from gendi.data.images.learned_features import FEWEST, SIDE_MOST, WHOLE, shrunk, to_input
from gendi.data.images.network_cache import keep_tensors, kept_tensors, network_path
from gendi.data.images.tensors import to_tensor
from gendi.data.split import Split
from gendi.diffusion.randomness import stream
from gendi.machine.distributed import team
from gendi.machine.stopping import Poll, may_stop
from gendi.storage.store import say

WIDTHS = (24, 48, 96, 96)
"""Channels of the layers. Each but the third halves the picture, as long as its shorter side is more than 4; the first
one of pictures of more than `WHOLE` pixels halves it twice."""
BATCH, RATE, WEIGHT_DECAY = 64, 5e-3, 0.01
WARM_UP = 0.1
"""The part of the steps in which the learning rate rises; afterwards it falls to zero along a cosine."""
EPOCHS, STEPS_A_CLASS = 15, 40
FEWEST_STEPS, MOST_STEPS = 300, 1200
SEED, VERSION = 0, 1
"""Parts of the key of the cache: raise the version when network or training change."""


class ClassNetwork(nn.Module):
    """Features (n, d) of pictures (n, C, H, W) in [-1, 1], and the linear layer `head` from them to K logits."""

    def __init__(self, channels: int, side: int, classes: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        previous, left = channels, min(side, SIDE_MOST)
        for i, width in enumerate(WIDTHS):
            stride = 2 if i == 0 and left > WHOLE else 1
            left //= stride
            layers += [nn.Conv2d(previous, width, 3, stride, padding=1, bias=False)]
            if i != 2 and left > 4:
                layers += [nn.MaxPool2d(2)]
                left //= 2
            layers += [nn.BatchNorm2d(width), nn.ReLU()]
            previous = width
        self.body, self.head = nn.Sequential(*layers), nn.Linear(previous, classes)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d"]:
        """Return the features, means over positions."""
        return torch.as_tensor(self.body(shrunk(x))).mean(dim=(2, 3))


@dataclass(frozen=True)
class ClassClassifier:
    """A trained classifier of classes."""

    network: ClassNetwork
    resize: str = "none"
    """How the network shrinks pictures."""


def has_classes(data: Data) -> bool:
    """Return whether a classifier can learn the classes of some pictures.

    There must be two or more, training pictures of each, and as many pictures in all as learning takes.
    """
    if data.train.labels is None or len(data.train) < FEWEST:
        return False
    k = _number(data)
    return k > 1 and bool((np.bincount(_known(data.train), minlength=k) > 0).all())


def steps_for(pictures: int, classes: int) -> int:
    """Return how many steps a classifier learns: `EPOCHS` of the pictures, and `STEPS_A_CLASS`, within limits."""
    wanted = max(math.ceil(EPOCHS * pictures / BATCH), STEPS_A_CLASS * classes)
    return min(max(wanted, FEWEST_STEPS), MOST_STEPS)


def class_classifier(data: Data, poll: Poll | None = None) -> ClassClassifier:
    """Return the classifier of data that `has_classes` from the cache, or train it.

    All processes call this together; the first one trains.
    """
    return team().from_first(lambda: _kept_or_trained(data, poll))


def _kept_or_trained(data: Data, poll: Poll | None) -> ClassClassifier:
    height, width, channels = data.train.rows.shape[1:]
    k, steps = _number(data), steps_for(len(data.train), _number(data))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(stream(SEED, "class network init").integers(2**63)))
        network = ClassNetwork(channels, min(height, width), k)
    recipe = (WIDTHS, BATCH, RATE, WEIGHT_DECAY, WARM_UP, steps, SEED, VERSION)
    path = network_path("classes", (data.fingerprint, data.train.rows.shape, k, *recipe))
    state = kept_tensors(path)
    if state is None or not _taken(network, state):
        say(f"training a classifier of the {k:,} classes, once, for a minute at most (it is kept in the cache)")
        train_classifier(network, data.train, steps, poll)
        keep_tensors(path, network.state_dict())
    resize = f"area, shorter side {SIDE_MOST}" if min(height, width) > SIDE_MOST else "none"
    return ClassClassifier(network.eval().requires_grad_(False), resize)


def train_classifier(network: ClassNetwork, split: Split, steps: int, poll: Poll | None = None) -> None:
    """Train a network on the pictures of a split whose class is known."""
    assert split.labels is not None, "data with classes have labels"
    labels = np.asarray(split.labels, np.int64)
    known = np.flatnonzero(labels >= 0)
    optimizer = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=WEIGHT_DECAY)
    network.train()
    for step in range(steps):
        may_stop(poll)
        part = step / steps
        falling = (1 + math.cos(math.pi * (part - WARM_UP) / (1 - WARM_UP))) / 2
        for group in optimizer.param_groups:
            group["lr"] = RATE * (part / WARM_UP if part < WARM_UP else falling)
        rng = stream(SEED, "class network", step)
        rows = np.sort(known[rng.integers(0, len(known), BATCH)])
        x = varied(to_input(to_tensor(split.batch(rows))), rng)
        loss = F.cross_entropy(network.head(network(x)), torch.from_numpy(labels[rows]))
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()


def varied(x: Float[Tensor, "n c h w"], rng: np.random.Generator) -> Float[Tensor, "n c h w"]:
    """Return pictures that are scaled, moved and tilted a little, with another contrast; none is mirrored."""
    n = len(x)
    maps = np.zeros((n, 2, 3))
    maps[:, 0, 0], maps[:, 1, 1] = rng.uniform(0.9, 1.1, (2, n))
    maps[:, 0, 1], maps[:, 1, 0] = rng.uniform(-0.1, 0.1, (2, n))
    maps[:, :, 2] = rng.uniform(-0.12, 0.12, (n, 2))
    grid = F.affine_grid(torch.from_numpy(maps).float(), list(x.shape), align_corners=False)
    contrast = torch.from_numpy(rng.uniform(0.9, 1.1, (n, 1, 1, 1))).float()
    return F.grid_sample(x, grid, align_corners=False, padding_mode="border") * contrast


def _number(data: Data) -> int:
    """Return the number of classes: those that have a name, or one more than the largest label."""
    known = _known(data.train)
    return max(len(data.class_names), int(known.max()) + 1 if len(known) else 0)


def _known(split: Split) -> Int64[np.ndarray, " n"]:
    labels = np.asarray(split.labels, np.int64)
    return labels[labels >= 0]


def _taken(network: ClassNetwork, state: dict[str, Tensor]) -> bool:
    """Put kept tensors into a network; return whether they were its own."""
    try:
        network.load_state_dict(state)
    except (RuntimeError, ValueError):
        return False
    return True
