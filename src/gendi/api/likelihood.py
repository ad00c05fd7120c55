"""Bits per dimension from Python."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gendi.api.held_out import held_out_rows, is_own_data
from gendi.data import Data, open_data
from gendi.data.images.codec import pictures_only
from gendi.diffusion.conditions import requested_conditions, to_tensor
from gendi.diffusion.gaussian.config import STUDENTS
from gendi.diffusion.gaussian.likelihood import Bound, Density, chain_times, log_density, variational_bound
from gendi.errors import UsageError, unknown_name
from gendi.train.kept.bundle import Bundle, load_bundle


def bits_per_dim(
    model: Bundle | str | Path,
    data: Data | str | Path | NDArray[np.uint8] | None = None,
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
        data: what to measure: a data set, of which n held-out images are taken (by default the data that the model was
            trained on), or bytes (N, H, W, C) of your own, of which the first n are taken.
        method: "elbo", an upper bound term by term, or "ode", the density of the probability-flow ODE.
        n: how many images.
        steps: elbo: steps of the chain; the model's own T, or the limit of many steps in continuous time, by default.
        draws: elbo: terms per image, an even number; None computes all of them.
        variance: elbo: "small", "large" or "learned"; what the model learned, or "small", by default.
        dequantisation: ode: "normal" or "uniform"; see `gendi.diffusion.gaussian.likelihood.dequantise`.
        condition: the conditions of a conditional model, as for `sample`; by default those of the images for the
            model's own data, and null for other data.
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
    refuse_student(bundle)
    codec = pictures_only(bundle.codec, "bits per dimension")
    images, own = _held_out(bundle, data, n, seed)
    cond = requested_conditions(bundle.config.conditions, condition, len(images)) if condition else own
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


def refuse_student(bundle: Bundle) -> None:
    """Raise `UsageError` for a student: its answers are not the means of x_0 that bound and density need."""
    objective = bundle.config.objective
    guided = objective.distil.guidance != 1 or objective.distil.guidance_range
    if objective.loss not in STUDENTS or (objective.parameterisation.flow_map and not guided):
        return
    start = bundle.meta.get("start")
    teacher = start.get("from") if isinstance(start, dict) else None
    where = f": {teacher}" if teacher else ""
    others = {"mean-flow": "guided velocities", "distribution-matching": "to draw samples"}
    learned = others.get(objective.loss, "where paths end")
    raise UsageError(
        f"the model is a student: it learned {learned}, not the mean of x_0 from which a likelihood is computed. Ask "
        f"its teacher{where}."
    )


def _held_out(
    bundle: Bundle, data: Data | str | Path | NDArray[np.uint8] | None, n: int, seed: int
) -> tuple[NDArray[np.uint8], dict[str, Tensor]]:
    """Return n held-out images of a data set, drawn by the seed, and their conditions."""
    if isinstance(data, np.ndarray):
        return data[:n], {}
    data = data or bundle.meta.get("data_spec")
    if data is None:
        raise UsageError("the model does not say what it was trained on: name the data: data='mnist', or a path.")
    if isinstance(data, str | Path):
        data = open_data(data, size=bundle.codec.size)
    rows = held_out_rows(data, n, seed)
    specs = bundle.config.conditions if is_own_data(bundle, data) else ()
    cond = {spec.name: to_tensor(spec, data.heldout.conditions[spec.name][rows]) for spec in specs}
    return data.heldout.batch(rows), cond
