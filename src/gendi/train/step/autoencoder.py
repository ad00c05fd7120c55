"""One training of an autoencoder in memory: network, optimisers, average, and one step.

A step depends only on the options, the data, the index of the step, and the tensors that a checkpoint holds; so a
training that is resumed continues exactly. Half of the pictures of each batch are mirrored.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from gendi.data import Data
from gendi.data.images.augment import augment
from gendi.data.images.codec import ImageCodec
from gendi.data.images.latents import CHUNK, LatentCodec
from gendi.data.order import batch_indices
from gendi.data.split import Split
from gendi.diffusion.autoencoder.config import AutoencoderConfig
from gendi.diffusion.autoencoder.losses import Transform, divergence, mean_psnr, noised, psnr, reconstruction_loss
from gendi.diffusion.autoencoder.network import Autoencoder, squares_of
from gendi.diffusion.randomness import normal, stream
from gendi.machine.hardware import has_bf16, training_device
from gendi.train.config import OptimConfig
from gendi.train.kept.checkpoint import Checkpoint, match_layout
from gendi.train.step.optim import (
    learning_rate_factor,
    make_optimizers,
    optimizer_tensors,
    restore_optimizers,
    update_weights,
)
from gendi.train.step.probe import place
from gendi.train.weights.ema import EMA

FIRST_ROWS = 1024
"""Pictures whose squares decide the linear map with which the training begins."""
FIRST_SQUARES = 50_000
STANDARD_ROWS = 20_000
"""The most training pictures over which the latents are standardised."""
JUDGED = 1000
"""The most held-out pictures of which the reconstruction is measured."""


@dataclass(frozen=True)
class AutoencoderTraining:
    """How an autoencoder is trained."""

    batch_size: int = 32
    """Pictures per step."""
    lr: float = 2e-3
    """Peak learning rate."""
    seed: int = 0
    """Seed of every draw."""
    ema_images: float = 8000
    """Horizon of the average of the weights, in pictures."""
    precision: str = "auto"
    """Arithmetic of the network, fp32 or bf16; auto takes bf16 where the machine computes in it."""


class AutoencoderTrainer:
    """Everything that a step needs.

    Args:
        data: pictures, with the codec of their pixels.
        config: the options of the network.
        training: the options of the training.

    Raises `UsageError` if pictures of this size cannot be encoded.
    """

    def __init__(self, data: Data, config: AutoencoderConfig, training: AutoencoderTraining) -> None:
        pixels = data.fitted
        assert isinstance(pixels, ImageCodec)
        config.check_size(*pixels.size)
        self.data, self.pixels, self.config, self.training = data, pixels, config, training
        self.device = training_device()
        precision = training.precision
        self.half = precision == "bf16" or (precision == "auto" and has_bf16(self.device))
        self.optim = OptimConfig(name="muon", lr=training.lr, ema_images=training.ema_images)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(stream(training.seed, "autoencoder init").integers(2**63)))
            network = Autoencoder(pixels.channels, config)
        network.start_at(self._squares())
        place(network, self.device, "channels-last")
        self.network = network
        self.optimizers = make_optimizers(self.network, self.optim, muon="bf16" if self.half else "fp32")
        self.ema = EMA(self.network, training.ema_images)
        self.step_count = 0

    @property
    def images_seen(self) -> int:
        """Pictures seen so far, repeats counted."""
        return self.step_count * self.training.batch_size

    def _squares(self) -> Float[Tensor, "n d"]:
        """Return some of the squares of pixels of evenly spaced training pictures."""
        rows = _spaced(len(self.data.train), FIRST_ROWS)
        squares = squares_of(self.pixels.encode(torch.from_numpy(self.data.train.batch(rows))), self.config.factor)
        if len(squares) <= FIRST_SQUARES:
            return squares
        some = stream(self.training.seed, "autoencoder squares").permutation(len(squares))[:FIRST_SQUARES]
        return squares[torch.from_numpy(np.sort(some))]

    def pictures(self, step: int) -> Float[Tensor, "b c h w"]:
        """Return the pictures of a step in [-1, 1]."""
        train, size, seed = self.data.train, self.training.batch_size, self.training.seed
        rows = torch.from_numpy(train.batch(batch_indices(len(train), size, seed, step, train.blocks)))
        rows, _ = augment(rows, {}, flip=True, crop=1, seed=seed, step=step, batch_size=size)
        return self.pixels.encode(rows).to(self.device, memory_format=torch.channels_last)

    def losses(self, x: Float[Tensor, "b c h w"], step: int) -> Float[Tensor, " b"]:
        """Return the loss of each picture of a step."""
        config, seed = self.config, self.training.seed
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.half):
            z, log_variance = self.network.posterior(x)
        z, extra = z.float(), torch.zeros(len(x), device=self.device)
        noise = normal(tuple(z.shape), seed, "autoencoder noise", step).to(self.device)
        if config.regularise == "noise":
            z = noised(z, config.strength, noise)
        elif log_variance is not None:
            extra = config.strength * divergence(z, log_variance.float())
            z = z + (log_variance.float() / 2).exp() * noise
        plain = len(x) - round(config.equivariance * len(x))
        parts = [reconstruction_loss(x[:plain], self._decoded(z[:plain]))] if plain else []
        if plain < len(x):
            grid = (z.shape[2], z.shape[3])
            moved = Transform(stream(seed, "autoencoder transform", step), grid)
            parts.append(reconstruction_loss(moved(x[plain:], config.factor), self._decoded(moved(z[plain:]))))
        return torch.cat(parts) + extra

    def _decoded(self, z: Float[Tensor, "b k h w"]) -> Float[Tensor, "b c h2 w2"]:
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.half):
            x: Tensor = self.network.decode(z)
        return x.float()

    def step(self, progress: float) -> float:
        """Do the next step, with `progress` in [0, 1] as the share of the budget that is spent; return the mean loss.

        Where loss or gradient are not finite, the weights stay.
        """
        self.network.train()
        loss = self.losses(self.pictures(self.step_count), self.step_count).mean()
        loss.backward()  # type: ignore[no-untyped-call]
        norm = clip_grad_norm_(self.network.parameters(), self.optim.clip)
        applied = bool((loss + norm).isfinite())
        update_weights(self.optimizers, self.optim.lr * learning_rate_factor(progress, self.optim) if applied else None)
        self.step_count += 1
        if applied:
            self.ema.update(self.network, self.images_seen, self.training.batch_size)
        return float(loss.detach())

    # --- what comes of it

    @torch.inference_mode()
    def average(self) -> Autoencoder:
        """Return a network with the averaged weights, on the CPU."""
        with torch.random.fork_rng(devices=[]):
            network = Autoencoder(self.pixels.channels, self.config)
        network.load_state_dict({name: value.cpu().contiguous() for name, value in self.ema.weights.items()})
        return network.eval().requires_grad_(False)

    def unscaled(self) -> LatentCodec:
        """Return the codec of the averaged weights, with latents as the encoder says them; it restores as `codec`."""
        channels = self.config.channels
        return LatentCodec(self.pixels, self.config, self.average(), torch.zeros(channels), torch.ones(channels))

    @torch.inference_mode()
    def codec(self) -> LatentCodec:
        """Return the codec of the averaged weights, with latents that are standardised over the training pictures."""
        codec, channels = self.unscaled(), self.config.channels
        total, squares, count = torch.zeros(channels).double(), torch.zeros(channels).double(), 0
        rows = _spaced(len(self.data.train), STANDARD_ROWS)
        for start in range(0, len(rows), CHUNK):
            z = codec.encode(self.data.train.batch(rows[start : start + CHUNK])).double()
            total, squares = total + z.sum((0, 2, 3)), squares + z.square().sum((0, 2, 3))
            count += z.numel() // channels
        codec.centre = (total / count).float()
        codec.scale = (squares / count - (total / count).square()).clamp(min=1e-12).sqrt().clamp(min=1e-6).float()
        return codec

    def tensors(self) -> dict[str, dict[str, Tensor]]:
        """Return the tensors of a checkpoint by parameter name."""
        return {
            "model": dict(self.network.state_dict()),
            "ema": dict(self.ema.weights),
            "optimizer": optimizer_tensors(self.network, self.optimizers),
        }

    def restore(self, checkpoint: Checkpoint) -> None:
        """Restore the weights, the average and the optimisers from a checkpoint."""
        average = checkpoint.tensors["ema"]
        self.network.load_state_dict(checkpoint.tensors["model"])
        self.ema.weights = {name: match_layout(average[name], value) for name, value in self.ema.weights.items()}
        restore_optimizers(self.network, self.optimizers, checkpoint.tensors["optimizer"])
        self.step_count = checkpoint.step


def reconstruction(codec: LatentCodec, split: Split, most: int = JUDGED) -> float:
    """Return the mean peak signal-to-noise ratio, in decibels, of pictures of a split that are encoded and decoded."""
    rows, values = _spaced(len(split), most), []
    for start in range(0, len(rows), CHUNK):
        pictures = split.batch(rows[start : start + CHUNK])
        restored = torch.from_numpy(codec.restored(pictures))
        values.append(psnr(codec.pixels.encode(pictures), codec.pixels.encode(restored)))
    return mean_psnr(torch.cat(values)) if values else float("nan")


def _spaced(n: int, most: int) -> np.ndarray:
    """Return at most `most` evenly spaced numbers of n rows."""
    return np.unique(np.linspace(0, n - 1, min(n, most)).round().astype(np.int64)) if n else np.zeros(0, np.int64)
