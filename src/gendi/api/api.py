"""gendi from Python: fit, load, sample, measure and bits_per_dim, each in one call.

The names are not those of the commands because `gendi.train`, `gendi.evaluate` and
`gendi.diffusion.gaussian.likelihood` are the packages behind them.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

import gendi
from gendi.api.guided import guided
from gendi.data import Data, open_data
from gendi.data.codec import ImageCodec, picture_size, pictures_only
from gendi.data.images.evaluation import evaluate
from gendi.data.kinds import kind_of
from gendi.data.sources import default_preset
from gendi.data.vectors import VectorCodec
from gendi.diffusion.conditions import ask, take, to_tensor
from gendi.diffusion.gaussian.guidance import Guidance
from gendi.diffusion.gaussian.likelihood import Bound, Density, chain_times, log_density, variational_bound
from gendi.diffusion.gaussian.samplers import sample as draw
from gendi.diffusion.randomness import stream
from gendi.errors import UsageError, unknown_name
from gendi.evaluate import Evaluation
from gendi.machine.distributed import team
from gendi.train.budget import Budget
from gendi.train.bundle import Bundle, load_bundle
from gendi.train.config import RunConfig
from gendi.train.console import make_console
from gendi.train.loop import train
from gendi.train.presets import get_preset
from gendi.train.telling import Silent


def fit(
    data: Any,
    *,
    out: str | Path,
    preset: str | None = None,
    config: RunConfig | None = None,
    seconds: float | None = None,
    images: int | None = None,
    steps: int | None = None,
    quiet: bool = False,
    **options: Any,
) -> Bundle:
    """Train on `data` until the budget is spent, or go on where an earlier call stopped; return the bundle.

    Args:
        data: `mnist`, `fashion-mnist`, a path, an AnnData or a DataFrame: see `gendi.data.open_data`.
        out: the run's folder.
        preset: a preset's name, by default the one for such data; `config` overrides it altogether.
        seconds, images, steps: the budget, at most one of them; 8 minutes by default.
        quiet: say nothing.
        options: `size`, `max_bad`, `fresh`, `allow_data_change` of `gendi.train.loop.train`.

    Raises:
        GendiError: what its subclasses say.
    """
    if seconds is None and images is None and steps is None:
        seconds = 480.0
    budget = Budget(seconds=seconds, images=images, steps=steps)
    config = config or get_preset(preset or default_preset(data) or "mnist").config
    if quiet:
        train(data, config, Path(out), budget, console=Silent(), **options)
    else:
        with make_console() as console:
            train(data, config, Path(out), budget, console=console, **options)
    return load_bundle(out)


def load(path: str | Path) -> Bundle:
    """Return the bundle of a run's folder or of a bundle's folder, checked byte by byte. Raises `BundleError`."""
    return load_bundle(path)


def sample(
    model: Bundle | str | Path,
    n: int = 64,
    *,
    steps: int | None = None,
    sampler: str | None = None,
    seed: int = 0,
    condition: Mapping[str, Any] | None = None,
    guidance: Guidance | float | None = None,
    first_index: int = 0,
    device: str = "cpu",
    precision: str | None = None,
    **options: Any,
) -> Any:
    """Draw n samples; sample i of a seed is the same whatever n is.

    Pictures are bytes (n, H, W, C), cells an AnnData with integer counts, lines of a table a DataFrame like the
    training data's.

    Args:
        model: a bundle, or the folder of a run or bundle.
        n, steps, sampler, seed, first_index, options: see `gendi.diffusion.gaussian.samplers.sample`; the bundle's own
        are the defaults.
        condition: what to ask of a conditional model, by name: one value for all samples or n of them, as
            `gendi.diffusion.conditions.ask` reads them, for instance {"class": 7}; by default its classes in turn, and
            of cells and tables what nobody asks for as in training.
        guidance: how strongly to lead to it, 1 being no guidance and 2 to 3 usual; or all the settings, whose `bad` and
            `classifier` may be folders.
        device: where to compute.
        precision: "fp32" or "bf16"; what the training chose by default.
    """
    bundle = model if isinstance(model, Bundle) else load_bundle(model)
    config, codec = bundle.config, bundle.codec
    if isinstance(codec, VectorCodec):
        condition = codec.draw_conditions(config.conditions, condition, n, seed, first_index)
    denoiser, cond = guided(bundle, guidance, condition, n, first_index, device=device, precision=precision)

    def some(rows: slice) -> Tensor:
        """Draw the samples of some of the n rows."""
        return draw(
            denoiser,
            bundle.codec.shape,
            rows.stop - rows.start,
            steps=steps or config.sample.steps,
            sampler=sampler or config.sample.sampler,
            seed=seed,
            first_index=first_index + rows.start,
            device=device,
            cond=take(cond, rows),
            **options,
        )

    x = _shared(some, n, bundle.codec.shape, options.get("batch_size", 250))
    if isinstance(codec, ImageCodec):
        return np.asarray(codec.decode(x).numpy())
    how = {"sampler": sampler or config.sample.sampler, "steps": steps or config.sample.steps, "seed": seed}
    return present(bundle, x.cpu(), {name: rows.cpu() for name, rows in cond.items()}, first_index, how)


def _shared(some: Callable[[slice], Tensor], n: int, shape: tuple[int, ...], batch: int) -> Tensor:
    """Return n samples (n, *shape), of which each process draws whole batches: every batch is that of one process."""
    members = team()
    if members.size == 1 or n < 1 or batch < 1:
        return some(slice(0, n))
    shares = members.shares(n, batch)
    mine = shares[members.rank]
    return members.join_rows(some(mine) if mine.stop > mine.start else torch.zeros(0, *shape), shares)


def present(bundle: Bundle, x: Tensor, cond: Mapping[str, Tensor], first: int, how: Mapping[str, Any]) -> Any:
    """Return vectors x (n, D) of model space as an AnnData or a DataFrame; `how` they were drawn has their seed."""
    codec, meta = bundle.codec, bundle.meta
    assert isinstance(codec, VectorCodec)
    rows = codec.decode(x, cond, how["seed"], first)
    told = {name: value.numpy() for name, value in cond.items()}
    provenance: dict[str, Any] = {"gendi": gendi.__version__, "preset": bundle.config.preset, "first": first}
    provenance.update(how)
    provenance.update({key: meta[key] for key in ("data", "fingerprint", "step", "images") if key in meta})
    kind = kind_of(codec.kind)
    return kind.present(codec, rows.numpy(), told, bundle.config.conditions, x.numpy(), provenance)


def measure(
    samples: Any,
    data: Any = None,
    *,
    n: int = 1000,
    seed: int = 0,
    **options: Any,
) -> Evaluation:
    """Measure samples against data, every metric beside its floor.

    Args:
        samples: bytes (N, H, W, C), an AnnData or a DataFrame; or a model to draw n samples from.
        data: what to measure against; a model's own training data by default.
        n, seed, options: see `gendi.data.images.evaluation.evaluate`.
    """
    size = None
    if isinstance(samples, Bundle | str | Path):
        bundle = samples if isinstance(samples, Bundle) else load_bundle(samples)
        data = data or bundle.meta.get("data_spec")
        size = picture_size(bundle.codec)
        samples = sample(bundle, n, seed=seed)
    if data is None:
        raise UsageError("say which data to measure against: data='mnist', or a path.")
    opened = open_data(data, size=size)
    if opened.kind != "image":
        return kind_of(opened.kind).evaluate(samples, opened, n=n, seed=seed, **options)
    return evaluate(samples, opened, n=n, seed=seed, **options)


def bits_per_dim(
    model: Bundle | str | Path,
    data: Data | str | NDArray[np.uint8] | None = None,
    *,
    method: str = "elbo",
    n: int = 1000,
    steps: int | None = None,
    draws: int | None = 50,
    variance: str | None = None,
    dequantisation: str = "normal",
    condition: Mapping[str, Any] | None = None,
    seed: int = 0,
    device: str = "cpu",
    **options: Any,
) -> Bound | Density:
    """Return how many bits per dimension the model needs for data: `.total.bits`, with `.total.bits_error`.

    Args:
        model: a bundle, or the folder of a run or bundle.
        data: what to measure: of a data set n of its held-out images (the model's own by default), or bytes
            (N, H, W, C) of your own, the first n.
        method: "elbo", an upper bound term by term, or "ode", the density of the probability-flow ODE.
        n: how many images.
        steps: elbo: steps of the chain; the model's own T, or the limit of many steps in continuous time, by default.
        draws: elbo: terms per image, an even number; None computes all of them.
        variance: elbo: "small", "large" or "learned"; what the model learned, or "small", by default.
        dequantisation: ode: "normal" or "uniform"; see `gendi.diffusion.gaussian.likelihood.dequantise`.
        condition: what a conditional model is told, as for `sample`; of its own data what they are, of others null,
            by default.
        options: passed to `gendi.diffusion.gaussian.likelihood.variational_bound` or
            `gendi.diffusion.gaussian.likelihood.log_density`.

    Raises:
        UsageError: n below 1, an unknown method, variance or dequantisation, conditions that do not fit.
        DataError: images that the model's codec does not handle.
    """
    if n < 1:
        raise UsageError(f"n = {n} is out of range: it must be 1 or more.")
    if method not in ("elbo", "ode"):
        raise unknown_name("method", method, ("elbo", "ode"))
    bundle = model if isinstance(model, Bundle) else load_bundle(model)
    codec = pictures_only(bundle.codec, "bits per dimension")
    images, own = _held_out(bundle, data, n, seed)
    cond = ask(bundle.config.conditions, condition, len(images)) if condition else own
    x_0 = codec.encode(torch.from_numpy(images)).to(device)
    denoiser = bundle.denoiser(device, clip=1.0 if bundle.config.sample.clip and method == "elbo" else None)
    denoiser.precision = "fp32"
    shared: dict[str, Any] = {"half_bin": codec.half_bin, "seed": seed, "cond": cond, **options}
    if method == "ode":
        return log_density(denoiser, x_0, dequantisation=dequantisation, **shared)
    learned = bundle.config.objective.variance == "learned"
    times = None if steps is None else chain_times(denoiser.schedule, steps)
    return variational_bound(
        denoiser, x_0, times=times, draws=draws, variance=variance or ("learned" if learned else "small"), **shared
    )


def held_out_rows(data: Data, n: int, seed: int) -> NDArray[np.int64]:
    """Return which n held-out images (n,) a likelihood is measured on, drawn by the seed, in rising order."""
    return np.sort(stream(seed, "likelihood images").permutation(len(data.heldout))[:n])


def told(bundle: Bundle, data: Data) -> bool:
    """Whether the model can be told of these data what it was told in training: they are its own."""
    return bool(bundle.config.conditions) and data.fingerprint == bundle.meta.get("fingerprint")


def _held_out(
    bundle: Bundle, data: Data | str | NDArray[np.uint8] | None, n: int, seed: int
) -> tuple[NDArray[np.uint8], dict[str, Tensor]]:
    """Return n held-out images of a data set, drawn by the seed, and what the model is told of them."""
    if isinstance(data, np.ndarray):
        return data[:n], {}
    data = data or bundle.meta.get("data_spec")
    if data is None:
        raise UsageError("the model does not say what it was trained on: say which data, data='mnist' or a path.")
    if isinstance(data, str):
        data = open_data(data, size=picture_size(bundle.codec))
    rows = held_out_rows(data, n, seed)
    specs = bundle.config.conditions if told(bundle, data) else ()
    cond = {spec.name: to_tensor(spec, data.heldout.conditions[spec.name][rows]) for spec in specs}
    return data.heldout.batch(rows), cond
