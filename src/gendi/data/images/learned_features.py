"""A feature network for any folder of pictures, trained on the folder itself in about a minute on two cores of a CPU
(measured by `benchmarks/learned_features.py`).

Nobody has to say what the pictures show. The network learns tasks whose answers are known without labels:

- **match**: two copies of a picture, each moved, scaled, tilted and toned by chance, belong together among those of a
  batch [instance discrimination, with the loss of Chen et al. 2020, "SimCLR"];
- **turn**: by how many quarter turns a picture was rotated (half turns, if it is not square) [Gidaris et al. 2018];
- **level**: how much Gaussian noise was laid over that picture, as the logarithm of its standard deviation;
- **class**: the class of a picture, where the data have classes. This shapes the features only: which classes samples
  have, another network says (`gendi.data.images.class_classifier`).

The features are the mean over positions of the last layer. None of the tasks shows the network a fake of
`gendi.data.images.controls`; whether it catches them is asked afterwards.

Only training pictures are seen, so held-out pictures tell how well the tasks were learned. All draws are keyed by a
fixed seed. The weights are kept in the cache, under a key of the data and of everything that training depends on, and
their hash is recorded with every number. Another kind of processor may round differently, and so find other weights.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from gendi.data.dataset import Data
from gendi.data.images.network_cache import keep_tensors, kept_tensors, network_path
from gendi.data.images.tensors import to_tensor
from gendi.data.split import Split
from gendi.diffusion.randomness import normal, stream
from gendi.errors import UsageError
from gendi.machine.distributed import team
from gendi.machine.stopping import Poll, may_stop
from gendi.storage.store import say

FEWEST = 200
"""Fewest training pictures for a network."""
STEPS, BATCH, RATE, WEIGHT_DECAY = 200, 64, 3e-3, 0.01
WIDTHS = (24, 48, 96, 96)
"""Channels of the layers; each after the first halves the picture, until its shorter side is 4. The first one halves
pictures of more than `WHOLE` pixels."""
WHOLE = 40
GROUPS, TEMPERATURE = 8, 0.2
SIDE_MOST = 64
"""Larger pictures are shrunk to this, by averages over areas."""
LEAST_NOISE, MOST_NOISE = 0.02, 1.0
"""Range of the standard deviation of the noise, where pictures lie in [-1, 1]."""
HELD_OUT_MOST = 512
SLOWER = 3.0
"""How many times as long the small convolutions here take as the same work in large products of matrices."""
SEED, VERSION = 0, 2
"""Parts of the key of the cache: raise the version when network or training change."""


class FeatureNetwork(nn.Module):
    """Features (n, d) of pictures (n, C, H, W) in [-1, 1], and the heads that learn the tasks."""

    def __init__(self, channels: int, side: int, turns: int, classes: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        previous, left = channels, min(side, SIDE_MOST)
        for i, width in enumerate(WIDTHS):
            stride = 2 if left > (4 if i else WHOLE) else 1
            layers += [nn.Conv2d(previous, width, 3, stride, padding=1, bias=False), nn.GroupNorm(GROUPS, width)]
            layers += [nn.SiLU()]
            previous, left = width, left // stride
        self.body = nn.Sequential(*layers)
        self.match = nn.Sequential(nn.Linear(previous, 128), nn.SiLU(), nn.Linear(128, 64))
        self.turn, self.level = nn.Linear(previous, turns), nn.Linear(previous, 1)
        self.named = nn.Linear(previous, classes) if classes else None

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d"]:
        """Return the features."""
        return torch.as_tensor(self.body(shrunk(x))).mean(dim=(2, 3))


@dataclass(frozen=True)
class Learned:
    """A trained feature network."""

    network: FeatureNetwork
    skill: Mapping[str, float]
    """Held-out results by task: shares of right answers for `match` (among a batch) and `turn`, and the share of the
    variance that is explained for `level`."""
    trained_on: int
    """Number of training pictures."""
    resize: str = "none"
    """How the network shrinks pictures."""

    def in_words(self) -> str:
        """Return the sentence that an evaluation says about the network."""
        words = {
            "match": "copies of a picture are found among {n} in {v:.0%} of cases",
            "turn": "rotations are recognised in {v:.0%}",
            "level": "{v:.0%} of the variance of noise levels is explained",
        }
        told = ", ".join(words[task].format(v=self.skill[task], n=BATCH) for task in words if task in self.skill)
        return (
            f"learned: the feature network was trained on the {self.trained_on:,} training images, without any "
            f"sample. On held-out images: {told}."
        )


def learned_network(data: Data, poll: Poll | None = None) -> Learned:
    """Return the feature network of some data from the cache, or train it.

    Raises `UsageError` if there are too few training pictures.
    """
    if len(data.train) < FEWEST:
        raise UsageError(
            f"A learned feature network needs {FEWEST} training images; {data.name} has {len(data.train)}. Choose "
            "another extractor (`pixels`, `inception`)."
        )
    return team().from_first(lambda: kept_or_trained(data, poll))


def learning_work(data: Data) -> float:
    """Return about as how many floating-point operations of large matrix products it counts to learn from some data."""
    height, width = data.train.rows.shape[1:3]
    shrink = max(1.0, min(height, width) / SIDE_MOST)
    places, work = height * width / shrink**2, 0.0
    for layer in _made(data).body:
        if isinstance(layer, nn.Conv2d):
            places /= layer.stride[0] ** 2
            work += 2 * places * layer.weight.numel()
    return SLOWER * 3 * 3 * STEPS * BATCH * work  # three pictures of each, forwards and backwards


def kept_or_trained(data: Data, poll: Poll | None = None) -> Learned:
    """Return the feature network of some data from the cache, or train it, in this process alone."""
    network = _made(data)
    recipe = (STEPS, BATCH, WIDTHS, SEED, VERSION)
    path = network_path("learned", (data.fingerprint, data.train.rows.shape, *recipe))
    try:
        state = kept_tensors(path) or {}
        skill = {name.removeprefix("skill."): float(state.pop(name)) for name in list(state) if "skill." in name}
        network.load_state_dict(state)
    except (RuntimeError, ValueError):
        say("training a feature network on these pictures, once, for about a minute (it is kept in the cache)")
        train_network(network, data, poll)
        skill = measure_skill(network, data)
        kept = {**network.state_dict(), **{f"skill.{name}": torch.tensor(value) for name, value in skill.items()}}
        keep_tensors(path, kept)
    shrunk = min(data.train.rows.shape[1:3]) > SIDE_MOST
    resize = f"area, shorter side {SIDE_MOST}" if shrunk else "none"
    return Learned(network.eval().requires_grad_(False), skill, len(data.train), resize)


def _made(data: Data) -> FeatureNetwork:
    height, width, channels = data.train.rows.shape[1:]
    classes = 0 if data.train.labels is None else max(len(data.class_names), int(data.train.labels.max()) + 1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(stream(SEED, "feature network init").integers(2**63)))
        return FeatureNetwork(channels, min(height, width), 4 if height == width else 2, classes if classes > 1 else 0)


def train_network(network: FeatureNetwork, data: Data, poll: Poll | None = None) -> None:
    """Train a network on the training pictures, for `STEPS`. The learning rate falls to zero along a cosine."""
    optimizer = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=WEIGHT_DECAY)
    network.train()
    for step in range(STEPS):
        may_stop(poll)
        for group in optimizer.param_groups:
            group["lr"] = RATE * (1 + math.cos(math.pi * step / STEPS)) / 2
        rows = stream(SEED, "feature network rows", step).integers(0, len(data.train), BATCH)
        losses, _ = _tasks(network, data.train, np.sort(rows), step)
        optimizer.zero_grad()
        torch.stack(list(losses.values())).sum().backward()  # type: ignore[no-untyped-call]
        optimizer.step()


@torch.inference_mode()
def measure_skill(network: FeatureNetwork, data: Data) -> dict[str, float]:
    """Return how well held-out pictures' tasks are solved; see `Learned.skill`. Empty without held-out pictures."""
    network.eval()
    n = min(HELD_OUT_MOST, len(data.heldout))
    right: dict[str, list[Tensor]] = {}
    for i, start in enumerate(range(0, n - 1, BATCH)):
        rows = np.arange(start, min(start + BATCH, n))
        _, answers = _tasks(network, data.heldout, rows, STEPS + i)
        for task, values in answers.items():
            right.setdefault(task, []).append(values)
    found = {task: float(torch.cat(values).double().mean()) for task, values in right.items()}
    if "level" in found:
        uniform = (math.log(MOST_NOISE / LEAST_NOISE)) ** 2 / 12
        found["level"] = max(0.0, 1 - found["level"] / uniform)
    return found


def _tasks(
    network: FeatureNetwork, split: Split, rows: np.ndarray, step: int
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return the losses of the tasks on some pictures by name, and for each answer whether it is right.

    For `level` the second are squared errors.
    """
    x = shrunk(to_input(to_tensor(split.batch(rows))))
    rng, n = stream(SEED, "feature network tasks", step), len(rows)
    turns, steps = network.turn.out_features, 4 // network.turn.out_features
    k = torch.from_numpy(rng.integers(0, turns, n))
    level = torch.from_numpy(rng.uniform(math.log(LEAST_NOISE), math.log(MOST_NOISE), n)).float()
    turned = torch.stack([torch.rot90(x[i], steps * int(k[i]), (1, 2)) for i in range(n)])
    noise = normal(tuple(x.shape), SEED, "feature network noise", step)
    noisy = turned + level.exp()[:, None, None, None] * noise
    ours, theirs, changed = network(torch.cat([_varied(x, rng), _varied(x, rng), noisy])).split(n)
    z = F.normalize(network.match(torch.cat([ours, theirs])), dim=1)
    similar = (z @ z.T / TEMPERATURE).masked_fill(torch.eye(2 * n, dtype=torch.bool), -math.inf)
    partner = (torch.arange(2 * n) + n) % (2 * n)
    turn, guess = network.turn(changed), network.level(changed)[:, 0]
    losses = {
        "match": F.cross_entropy(similar, partner),
        "turn": F.cross_entropy(turn, k),
        "level": F.mse_loss(guess, level),
    }
    answers = {"match": similar.argmax(1) == partner, "turn": turn.argmax(1) == k, "level": (guess - level) ** 2}
    if network.named is not None and split.labels is not None:
        labels = torch.from_numpy(np.asarray(split.labels)[rows])
        known = (labels >= 0) & (labels < network.named.out_features)
        if bool(known.any()):
            losses["class"] = F.cross_entropy(network.named(ours[known]), labels[known])
    return losses, answers


def _varied(x: Float[Tensor, "n c h w"], rng: np.random.Generator) -> Float[Tensor, "n c h w"]:
    """Return pictures that are scaled, moved and tilted a little, with another contrast and other tones."""
    n, channels = x.shape[:2]
    maps = np.zeros((n, 2, 3))
    maps[:, 0, 0], maps[:, 1, 1] = rng.uniform(0.75, 1.05, (2, n))
    maps[:, 0, 1], maps[:, 1, 0] = rng.uniform(-0.15, 0.15, (2, n))
    maps[:, :, 2] = rng.uniform(-0.15, 0.15, (n, 2))
    grid = F.affine_grid(torch.from_numpy(maps).float(), list(x.shape), align_corners=False)
    moved = F.grid_sample(x, grid, align_corners=False, padding_mode="border")
    contrast = torch.from_numpy(rng.uniform(0.8, 1.2, (n, 1, 1, 1))).float()
    return moved * contrast + torch.from_numpy(rng.uniform(-0.1, 0.1, (n, channels, 1, 1))).float()


def to_input(x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
    """Map values 0..255 to [-1, 1]."""
    return x / 127.5 - 1


def shrunk(x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c _ _"]:
    """Return pictures whose shorter side is at most `SIDE_MOST`."""
    height, width = x.shape[2:]
    side = min(height, width)
    if side <= SIDE_MOST:
        return x
    size = (round(height * SIDE_MOST / side), round(width * SIDE_MOST / side))
    return F.interpolate(x, size=size, mode="area")
