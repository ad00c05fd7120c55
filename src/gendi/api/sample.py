"""Draw samples from Python."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gendi.api.guidance import guided
from gendi.data.kinds import kind_of
from gendi.diffusion.conditions import take
from gendi.diffusion.gaussian.guidance import Guidance
from gendi.diffusion.gaussian.samplers import sample as draw
from gendi.machine.distributed import team
from gendi.machine.version import __version__
from gendi.train.bundle import Bundle, load_bundle


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
    config = bundle.config
    how: dict[str, Any] = {"device": device, "precision": precision, "seed": seed}
    denoiser, cond = guided(bundle, guidance, condition, n, first_index, **how)

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
    """Return samples x (n, *shape) of model space in the user's own form; `how` they were drawn has their seed."""
    codec, meta = bundle.codec, bundle.meta
    rows = codec.decode(x, cond, how["seed"], first)
    told = {name: value.numpy() for name, value in cond.items()}
    provenance: dict[str, Any] = {"gendi": __version__, "preset": bundle.config.preset, "first": first}
    provenance.update(how)
    provenance.update({key: meta[key] for key in ("data", "fingerprint", "step", "images") if key in meta})
    kind = kind_of(codec.kind)
    return kind.present(codec, rows.numpy(), told, bundle.config.conditions, x.numpy(), provenance)
