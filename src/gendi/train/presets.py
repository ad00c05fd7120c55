"""Presets: named configurations and the results to expect from them. This module does not import torch."""

from dataclasses import dataclass, replace

from gendi.diffusion.config import ConditionConfig
from gendi.diffusion.discrete.config import TokensConfig
from gendi.diffusion.gaussian.config import ObjectiveConfig, ProcessConfig, SampleConfig
from gendi.diffusion.networks.config import NetworkConfig
from gendi.errors import unknown_name
from gendi.train.config import OptimConfig, RunConfig, TrainConfig


@dataclass(frozen=True)
class Reached:
    """What runs of so many images reached: medians of the runs in benchmarks/results/speedrun.json."""

    images: int
    excess: float
    """FID on digit features of 5000 samples, less that of as many real test images."""
    confidence: float
    """Mean confidence of the digit classifier."""


@dataclass(frozen=True)
class Preset:
    """A configuration, its budget, a description, and the results that it reached (from benchmarks/)."""

    name: str
    config: RunConfig
    max_time: str
    about: str
    expected: str
    curve: tuple[Reached, ...] = ()
    """Measured points of quality against images, from which a run foretells its own."""
    curve_data: str = "mnist"
    """The data of the curve."""


_MNIST = RunConfig(
    preset="mnist",
    network=NetworkConfig(channels=(48, 48), blocks=1, patch=2),
    process=ProcessConfig(schedule="cosine", steps=None),
    objective=ObjectiveConfig(precondition=True, weighting="edm", time_sampling="log-normal"),
    optim=OptimConfig(name="muon", lr=3e-3),
    train=TrainConfig(batch_size=64, evaluate_every=25_000),
    # A model of a few minutes gains most by a little guidance; digits and clothes alike (docs/speed.md).
    sample=SampleConfig(sampler="dpmpp-2m-sde-log-snr", guidance=1.15),
    conditions=(ConditionConfig("class", required=False),),
)

_MNIST_LONG = RunConfig(
    preset="mnist-long",
    network=NetworkConfig(channels=(64, 128), blocks=1, patch=2),
    process=_MNIST.process,
    objective=_MNIST.objective,
    optim=OptimConfig(name="muon", lr=3e-3, ema_images=50_000),
    train=TrainConfig(batch_size=64, preview_every=100_000, evaluate_every=50_000),
    conditions=_MNIST.conditions,
)

# A transformer that takes about as much time per image on a CPU as the U-Net (docs/networks.md).
_MNIST_DIT = replace(
    _MNIST,
    preset="mnist-dit",
    network=NetworkConfig("dit", channels=(160,), blocks=6, patch=4, heads=5, time_dim=160),
)

# Images of 32 x 32 in colour, on a few cores: twice the width of the mnist network, a third level of 4 x 4 with
# attention, and averages over many epochs, as such folders are small. No flips: icons often have a left and a right.
_ICONS = RunConfig(
    preset="icons",
    network=NetworkConfig(channels=(64, 128, 128), blocks=1, patch=2, attention=(2,)),
    process=_MNIST.process,
    objective=_MNIST.objective,
    optim=OptimConfig(name="muon", lr=3e-3, ema_images=50_000),
    train=TrainConfig(batch_size=64, preview_every=50_000, evaluate_every=50_000),
    sample=SampleConfig(sampler="deis"),  # which keeps colours best (docs/data.md)
    conditions=_MNIST.conditions,
)

# Latents of large pictures (docs/latent.md): grids of about 16 x 16 of standardised numbers, every one of which counts,
# so no patches.
_LATENTS = RunConfig(
    preset="latents",
    network=NetworkConfig(channels=(96, 192, 192), blocks=1, patch=1, attention=(1, 2)),
    process=_MNIST.process,
    objective=_MNIST.objective,
    optim=OptimConfig(name="muon", lr=3e-3, ema_images=50_000),
    train=TrainConfig(batch_size=64, preview_every=50_000, evaluate_every=50_000),
    sample=SampleConfig(sampler="dpmpp-2m-sde-half"),
    conditions=_MNIST.conditions,
)

_REPORT = RunConfig(
    preset="gendi-report",
    network=NetworkConfig(channels=(32, 64, 64), blocks=2, attention=(1,), time_dim=128, time_input="step", groups=8),
    process=ProcessConfig(schedule="linear", steps=1000),
    objective=ObjectiveConfig(prediction="eps", weighting="simple", time_sampling="discrete"),
    optim=OptimConfig(name="adamw", lr=2e-4, betas=(0.9, 0.999), weight_decay=0.01, warmup=0.0, decay=0.0, clip=1.0),
    train=TrainConfig(batch_size=128),
    sample=SampleConfig(sampler="ancestral", steps=1000, clip=True),
)

# The ablation of Ho et al. 2020, table 2, with four objectives, and the hybrid objective of Nichol & Dhariwal 2021, all
# with one network, one chain and one optimiser. They need fp32: mu must be right to a fraction of beta, and the eight
# bits of bf16 are too few for that.
_ABLATION = RunConfig(
    preset="ablation",
    network=NetworkConfig(channels=(48, 96), blocks=1, patch=2),
    process=ProcessConfig(schedule="linear", steps=1000),
    objective=ObjectiveConfig(prediction="eps", time_sampling="discrete"),
    optim=OptimConfig(name="muon", lr=3e-3),
    train=TrainConfig(batch_size=64, precision="fp32"),
    sample=SampleConfig(sampler="ancestral", steps=100, clip=True),
)


_ABLATIONS: dict[str, tuple[str, dict[str, str], str]] = {
    "mu": (
        "predicts the mean of a step; loss is the bound; fixed variance",
        {"prediction": "mu", "loss": "vlb"},
        "7.41 bits/dim, no digits yet",
    ),
    "vlb": ("predicts eps; loss is the bound; fixed variance", {"loss": "vlb"}, "2.17 bits/dim, FID 21.0"),
    "vlb-learned": (
        "predicts eps; loss is the bound; learned variance",
        {"loss": "vlb", "variance": "learned"},
        "2.05 bits/dim, FID 17.2",
    ),
    "simple": ("predicts eps; loss is L_simple; fixed variance", {}, "2.36 bits/dim, FID 4.2"),
    "hybrid": (
        "predicts eps; loss is L_simple, and the bound for the learned variance",
        {"loss": "hybrid", "variance": "learned"},
        "2.25 bits/dim, FID 4.3",
    ),
}


def _ablation(name: str) -> Preset:
    about, objective, scored = _ABLATIONS[name]
    changed = replace(_ABLATION.objective, **objective)  # type: ignore[arg-type]
    config = replace(_ABLATION, preset=f"ablation-{name}", objective=changed)
    return Preset(
        config.preset, config, "15m", f"ablation of Ho et al. 2020: {about}", f"after 40,000 images: {scored} on digits"
    )


# The continuous-time bound itself (VDM), up to the terms of prior and decoder. Noise goes down to sigma = 0.9e-3, well
# below half a byte (3.9e-3). The output is a mean of bytes (docs/likelihood.md says what this is worth), and Fourier
# features of the input show which byte is nearest where noise is low.
_MNIST_LIKELIHOOD = RunConfig(
    preset="mnist-likelihood",
    network=NetworkConfig(
        channels=(64, 128), blocks=1, patch=2, fourier_features=(4, 5, 6, 7, 8), fourier_fade=True, output="bytes"
    ),
    process=ProcessConfig(schedule="cosine", steps=None),
    objective=ObjectiveConfig(
        prediction="v", weighting="simple", time_sampling="log-snr", log_snr_min=-5.0, log_snr_max=14.0
    ),
    optim=OptimConfig(name="muon", lr=3e-3, ema_images=50_000),
    train=TrainConfig(batch_size=64, preview_every=100_000, evaluate_every=200_000),
)

# The same with a learned schedule, which minimises the variance of the loss. This loss is in nats: 22 / 2 times the
# mean squared error, for a range of log-SNR of 22. The clip is larger by the same factor.
_MNIST_LEARNED_SCHEDULE = replace(
    _MNIST_LIKELIHOOD,
    preset="mnist-learned-schedule",
    network=replace(_MNIST_LIKELIHOOD.network, fourier_fade=False, output="linear"),
    process=ProcessConfig(schedule="learned", steps=None),
    objective=ObjectiveConfig(prediction="v", weighting="bound", time_sampling="uniform", log_snr_max=14.0),
    optim=replace(_MNIST_LIKELIHOOD.optim, clip=11.0),
    train=TrainConfig(batch_size=64, preview_every=50_000, evaluate_every=50_000),
)

# Ho et al. 2020, appendix B: the 35.7M-parameter network of their CIFAR-10 (35,746,307), 800,000 steps of 128 images,
# Adam at 2e-4 after a warm-up of 5,000 steps, an average over 10,000 steps, variance beta.
_CIFAR10 = RunConfig(
    preset="cifar10",
    network=NetworkConfig(
        channels=(128, 256, 256, 256),
        attention=(1,),
        middle_attention=True,
        heads=1,
        resample="conv",
        inject="add",
        dropout=0.1,
        time_dim=512,
        time_features=128,
        groups=32,
        time_input="step",
    ),
    process=ProcessConfig(schedule="linear", steps=1000),
    objective=ObjectiveConfig(prediction="eps", weighting="simple", time_sampling="discrete"),
    optim=OptimConfig(lr=2e-4, betas=(0.9, 0.999), warmup=5 / 800, decay=0.0, ema_images=1_280_000),
    train=TrainConfig(batch_size=128, preview_every=500_000, evaluate_every=500_000),
    sample=SampleConfig(sampler="ancestral-large", steps=1000, clip=True),
)

# Dhariwal & Nichol 2021, table 4 and appendix I: their network for 64 x 64 pixels. They trained it on batches of 2048.
_ADM = RunConfig(
    preset="adm",
    network=NetworkConfig(
        channels=(192, 384, 576, 768),
        blocks=3,
        attention=(1, 2, 3),
        middle_attention=True,
        head_dim=64,
        resample="residual",
        dropout=0.1,
        time_dim=768,
        time_features=192,
        groups=32,
        time_input="step",
    ),
    process=ProcessConfig(schedule="cosine", steps=1000),
    objective=ObjectiveConfig(prediction="eps", loss="hybrid", variance="learned", time_sampling="discrete"),
    optim=OptimConfig(lr=1e-4, betas=(0.9, 0.999), warmup=0.0, decay=0.0, ema_images=2_560_000),
    train=TrainConfig(batch_size=256, preview_every=500_000, evaluate_every=500_000),
    sample=SampleConfig(sampler="ancestral", steps=250, clip=True),
    conditions=_MNIST.conditions,
)

# Vectors of some tens of numbers, from a thousand to a hundred thousand rows: minutes on a laptop.
_VECTORS = RunConfig(
    preset="vectors",
    network=NetworkConfig("mlp", channels=(256,), blocks=3),
    process=ProcessConfig(schedule="cosine", steps=None),
    objective=ObjectiveConfig(precondition=True, weighting="edm", time_sampling="log-normal"),
    optim=OptimConfig(name="adamw", lr=1e-3, ema_images=50_000),
    train=TrainConfig(batch_size=128, preview_every=50_000, evaluate_every=50_000),
)
# Cells have sixteen dimensions (depth and 15 factors) and are often few, so a wide network would memorise them. This
# one is small, has much dropout, and is preconditioned so that it begins as a Gaussian. Second-order stochastic steps
# give samples the spread of the data.
_CELLS = replace(
    _VECTORS,
    preset="cells",
    network=NetworkConfig("mlp", channels=(64,), blocks=2, expand=2, time_dim=64, dropout=0.5),
    sample=SampleConfig(sampler="dpmpp-2m-sde", steps=30),
)

# A table's codec starts the network at the Gaussian copula (gendi.data.tables.codec). The sampler is of high order:
# thirty steps of unipc draw a standard normal with a standard deviation of 1.00.
# Dropout and noise on few rows keep the network from learning a table of some hundred rows by heart.
_TABLE = replace(
    _VECTORS,
    preset="table",
    network=NetworkConfig("mlp", channels=(128,), blocks=3, expand=2, time_dim=128, dropout=0.2),
    optim=replace(_VECTORS.optim, lr=2e-3),
    train=replace(_VECTORS.train, batch_size=512, smoothing=-1.0),
    sample=SampleConfig(sampler="unipc", steps=30),
)

# Sequences of some tens of letters: masks, and one letter a call in sampling, which errs nowhere but in the network.
_SEQUENCE = RunConfig(
    preset="sequence",
    network=NetworkConfig("sequence", channels=(64,), blocks=4, time_dim=64, local_conv=7),
    process=ProcessConfig(schedule="cosine", steps=None),
    optim=OptimConfig(name="muon", lr=4e-3, ema_images=50_000),
    train=TrainConfig(batch_size=32, preview_every=50_000, evaluate_every=50_000),
    sample=SampleConfig(sampler="first-hitting", steps=64),
    tokens=TokensConfig(process="absorbing"),
)

# Points in the plane (gendi.data.toy). There are plenty of them, so nothing is memorised and there is no dropout.
_TOY = replace(
    _VECTORS,
    preset="toy",
    network=NetworkConfig("mlp", (64,), 3, expand=2, time_dim=64, fourier_features=(-1, 0, 1, 2), fourier_fade=True),
    optim=replace(_VECTORS.optim, lr=2e-3, ema_images=30_000),
    train=replace(_VECTORS.train, batch_size=512, preview_every=500_000, evaluate_every=0),
    sample=SampleConfig(sampler="dpmpp-2m-sde", steps=60),
    conditions=(ConditionConfig("class", required=False),),
)

# Images of 64 x 64 on a few cores: the network for icons with a narrow level of 32 x 32 above its three, which takes
# 1.4 times the operations of icons of 32 x 32 instead of four times.
_ICONS_64 = replace(
    _ICONS,
    preset="icons-64",
    network=NetworkConfig(channels=(32, 64, 128, 128), blocks=1, patch=2, attention=(3,)),
)

PRESETS: dict[str, Preset] = {
    preset.name: preset
    for preset in (
        Preset(
            "mnist",
            _MNIST,
            "8m",
            "the best digits per CPU minute we found; conditional on the class where the data have classes",
            "digit FID above its floor after 65,000 images: 0.25 (confidence 97.4%); 141,000: 0.09 (98.7%)",
            curve=(
                Reached(64_768, 0.249, 0.974),
                Reached(107_968, 0.136, 0.983),
                Reached(141_248, 0.093, 0.9874),
                Reached(387_008, 0.065, 0.9921),
            ),
        ),
        Preset(
            "mnist-long",
            _MNIST_LONG,
            "1h",
            "the same with a wider network, for an hour",
            "on 2 busy cores: FID 14.5 on Inception features (floor 11.8), confidence 98.9%",
        ),
        Preset(
            "gendi-report",
            _REPORT,
            "1h",
            "the GENDI report's DDPM: T = 1000, linear, eps, AdamW, 1.7M parameters",
            "on 2 busy cores: FID 25.3 on Inception features at 20 calls (floor 11.8), confidence 88.1%",
        ),
        Preset(
            "mnist-likelihood",
            _MNIST_LIKELIHOOD,
            "30m",
            "for bits per dimension: trained on the bound, without conditions",
            "after 360,000 images: 1.02 bits/dim by the bound, 1.01 by the ODE",
        ),
        Preset(
            "mnist-learned-schedule",
            _MNIST_LEARNED_SCHEDULE,
            "30m",
            "the same with a learned noise schedule, which minimises the variance of the loss",
            "",
        ),
        Preset("mnist-dit", _MNIST_DIT, "8m", "the same with a transformer of 4 x 4 patches in place of the U-Net", ""),
        Preset("cifar10", _CIFAR10, "48h", "Ho et al.'s network and recipe for 32 x 32 colour; 35.7M parameters", ""),
        Preset("adm", _ADM, "240h", "Dhariwal & Nichol's network for 64 x 64 colour; 296M parameters; a large GPU", ""),
        Preset(
            "icons",
            _ICONS,
            "60m",
            "small colour pictures, 32 x 32 (--size 32), on a few cores",
            "flags and faces in half an hour",
        ),
        Preset(
            "icons-64",
            _ICONS_64,
            "120m",
            "pictures of about 64 x 64 (--size 64), in colour or grey, on a few cores",
            "",
        ),
        Preset(
            "latents",
            _LATENTS,
            "60m",
            "large pictures in the latents of an autoencoder (gendi train DATA --autoencoder FOLDER)",
            "",
        ),
        Preset("cells", _CELLS, "1m", "counts of single cells (.h5ad)", ""),
        Preset("table", _TABLE, "1m", "tables (.csv, .parquet)", ""),
        Preset("sequence", _SEQUENCE, "5m", "sequences of letters (.fasta, .txt, .smi, a column of a CSV)", ""),
        Preset("toy", _TOY, "20s", "points in the plane: toy:swissroll, toy:moons, toy:gaussians and others", ""),
        *map(_ablation, _ABLATIONS),
    )
}


def get_preset(name: str) -> Preset:
    """Return the preset `name`. Raises `UsageError`, which suggests the nearest name, for an unknown one."""
    if name not in PRESETS:
        raise unknown_name("preset", name, PRESETS)
    return PRESETS[name]
