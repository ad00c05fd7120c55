"""Drawing samples from Python; the commands that draw use the same functions."""

import dataclasses
import hashlib
import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gendi.api.guidance import Guidance
from gendi.api.models import Models
from gendi.api.prepared import Prepared, prepare
from gendi.api.request import Request
from gendi.data.kinds import kind_of
from gendi.data.tables.given import Given
from gendi.diffusion.conditions import take
from gendi.diffusion.gaussian.guidance import Strength
from gendi.diffusion.gaussian.inverse.box import in_box
from gendi.errors import DataError, UsageError
from gendi.machine.distributed import team
from gendi.machine.stopping import Poll
from gendi.machine.version import __version__
from gendi.train.kept.bundle import Bundle, load_bundle
from gendi.train.kept.start import digest
from gendi.train.weights.families import family_of

ATTEMPTS = 50
"""How often a sample that breaks a rule of the data is drawn anew."""


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
    infill: str | None = None,
    profiles: str | None = None,
    where: Mapping[str, Any] | None = None,
    **options: Any,
) -> Any:
    """Draw n samples; sample i of a seed is the same whatever n is.

    Pictures are bytes (n, H, W, C), cells an AnnData with integer counts, lines of a table a DataFrame like the
    training data's, sequences an array of texts (n,).

    Args:
        model: a bundle, or the folder of a run or bundle.
        n: how many samples.
        steps, sampler: network calls per sample, and the sampler's name; the bundle's own by default.
        seed, first_index: samples first_index, ..., first_index + n - 1 of a seed are drawn.
        condition: the conditions to request of a conditional model, by name: one value for all samples or n of them, as
            `gendi.diffusion.conditions.requested_conditions` reads them, for instance {"class": 7}. By default the
            classes come in turn, and for cells and tables every condition left out is drawn as in training.
        guidance: how strongly to guide towards the conditions: 1 is no guidance, 2 to 3 are usual; or all the settings,
            whose `bad` and `classifier` may be folders; the bundle's own by default, often none.
        device: where to compute.
        precision: "fp32" or "bf16"; what the training chose by default.
        infill: for sequences, which letters are given, "ACD??F": a question mark is a letter that is drawn, and a
            star at the end lets the sequence go on.
        profiles: for cells, how the mean expression of each class is drawn: "estimated" (the default), or from what is
            not known of it, "per-cell" or "per-seed"; see `gendi.data.cells.copula.CopulaCodec.with_profiles`.
        where: for tables, the cells that are given in every row, by the name of the column: {"age": 40, "sex": "F"};
            None is a missing cell, and {"age": (30, 40)} a range of numbers or dates, whose ends belong to it and may
            be None. The other cells are drawn from their distribution given these, by any model of a
            table (`gendi.diffusion.gaussian.inverse.box`). `steps` are noise levels then, 200 by default, and there is
            no sampler to choose. Conditions that are neither given here nor requested are null.
        options: `grid`, `bounds` and `batch_size` of `gendi.diffusion.gaussian.samplers.Drawing`, the sampler's own
            options, and `poll`, which is called after every network call and raises to stop.

    A requested or given number outside the training data is drawn with a `UserWarning` that says how far outside it is.
    How many training cells each class has stands in `uns["gendi"]` of an AnnData.

    Raises:
        UsageError, ResourceError: as `gendi.api.prepared.prepare` does.
        DivergedError: a denoiser that returns NaN or infinity.
    """
    bundle = model if isinstance(model, Bundle) else load_bundle(model)
    poll: Poll | None = options.pop("poll", None)
    if where and (sampler is not None or options.keys() - {"batch_size", "bounds"}):
        raise UsageError(
            "rows with given cells (where) are drawn in a way of their own: leave sampler and options out."
        )
    how = {"steps": steps, "sampler": sampler or None, "seed": seed, "first_index": first_index}
    request = Request.of(
        bundle,
        n,
        {**how, "device": device, **options},
        run="" if isinstance(model, Bundle) else str(model),
        condition=condition,
        guidance=guidance,
        precision=precision,
        infill=infill,
        profiles=profiles,
        where=where,
    )
    ready = prepare(request, Models.read(bundle, request.guidance))
    for text in ready.warnings:
        warnings.warn(text, stacklevel=2)
    return draw(ready, poll)


def draw(prepared: Prepared, poll: Poll | None = None) -> Any:
    """Return the samples of a request, in the form that `sample` describes.

    `poll` is called after every network call and stops the drawing by raising.
    """
    bundle, request, cond = prepared.models.own, prepared.request, prepared.cond
    x = keeping_rules(prepared, _shared(prepared, poll), poll)
    cond = {name: rows.cpu() for name, rows in cond.items()}
    return present(bundle, x.cpu(), cond, request, prepared.cells)


def keeping_rules(prepared: Prepared, x: Tensor, poll: Poll | None) -> Tensor:
    """Return samples x (n, *shape) of model space with others in the place of those that break a rule of the data.

    The others have the same conditions and given cells. Attempt k of sample i has the index i + k 2^48, so a sample
    does not depend on its neighbours. Raises `DataError` where the attempts do not suffice.
    """
    codec, request = prepared.models.own.codec, prepared.request
    family, cells, x = family_of(prepared.models.own.config), prepared.cells, x.clone()
    box = None if cells is None else cells.box()

    def broken(rows: Tensor) -> Tensor:
        cond = {name: value.cpu()[rows] for name, value in prepared.cond.items()}
        decoded = codec.decode(x[rows].cpu(), cond, request.how.seed, request.how.first_index)
        if cells is not None:
            decoded = torch.from_numpy(cells.rows(rows.numpy()).put(decoded.numpy()))
        return rows[codec.broken(decoded)]

    bad = broken(torch.arange(request.n)) if codec.has_rules else torch.zeros(0, dtype=torch.int64)
    for attempt in range(1, ATTEMPTS + 1):
        if not len(bad):
            return x
        numbers = tuple(request.how.first_index + i + (attempt << 48) for i in bad.tolist())
        how = dataclasses.replace(request.how, numbers=numbers)
        cond = {name: value[bad.to(value.device)] for name, value in prepared.cond.items()}
        if box is not None:
            x[bad] = in_box(prepared.denoiser, box.some(bad), how, cond=cond, poll=poll).to(x)
        else:
            x[bad] = family.draw(prepared.denoiser, codec.shape, len(bad), how, cond, poll).to(x)
        bad = broken(bad)
    if not len(bad):
        return x
    raise DataError(
        f"{len(bad):,} of {request.n:,} rows break the rules of the table after {ATTEMPTS} attempts: with what was "
        "requested hardly any row keeps them. Request other conditions or cells, or train the model for longer."
    )


def _shared(prepared: Prepared, poll: Poll | None) -> Tensor:
    """Return the samples (n, *shape) in model space. Each process draws whole batches, so that the batches are the
    same as those of one process alone.
    """
    request, shape, members = prepared.request, prepared.models.own.codec.shape, team()
    family, codec = family_of(prepared.models.own.config), prepared.models.own.codec
    box = None if prepared.cells is None else prepared.cells.box()
    none = torch.zeros(0, *shape, dtype=torch.float32 if codec.tokens is None else torch.int64)

    def some(rows: slice) -> Tensor:
        part = request.part(rows.stop - rows.start, request.how.first_index + rows.start)
        if box is not None:
            return in_box(
                prepared.denoiser, box.rows(rows), part.how, cond=take(prepared.cond, rows), poll=poll
            ).float()
        given = None if prepared.given is None else prepared.given.expand(part.n, *shape)
        return family.draw(prepared.denoiser, shape, part.n, part.how, take(prepared.cond, rows), poll, given)

    if members.size == 1:
        return some(slice(0, request.n))
    shares = members.shares(request.n, request.how.batch_size)
    mine = shares[members.rank]
    return members.join_rows(some(mine) if mine.stop > mine.start else none, shares)


def source_of(bundle: Bundle, request: Request) -> str:
    """Return twelve hex digits for the model and the settings, apart from conditions, seed and numbers, that decide how
    samples look."""
    how, guidance = request.how, request.guidance
    settings = [how.sampler, how.steps, how.grid, how.bounds, how.temperature, how.noise_scale, dict(how.options)]
    strength = (
        None
        if guidance is None
        else {field.name: getattr(guidance, field.name) for field in dataclasses.fields(Strength)}
    )
    known = [bundle.sha256 or digest(bundle.state), *settings, strength, request.profiles]
    text = json.dumps(known, sort_keys=True, default=lambda value: type(value).__name__)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def present(bundle: Bundle, x: Tensor, cond: Mapping[str, Tensor], request: Request, cells: Given | None = None) -> Any:
    """Return samples x (n, *shape) of model space in the form of the user's data, with the given `cells` in them."""
    codec, meta, how = bundle.codec, bundle.meta, request.how
    if request.profiles is not None:
        codec = codec.with_profiles(request.profiles)
    rows = codec.decode(x, cond, how.seed, how.first_index)
    if cells is not None:
        rows = torch.from_numpy(cells.put(rows.numpy()))
    known = {name: value.numpy() for name, value in cond.items()}
    provenance: dict[str, Any] = {"gendi": __version__, "preset": bundle.config.preset, "first": how.first_index}
    provenance |= {"sampler": how.sampler, "steps": how.steps, "seed": how.seed}
    provenance |= {} if request.profiles is None else {"profiles": request.profiles}
    provenance |= {key: meta[key] for key in ("data", "fingerprint", "step", "images") if key in meta}
    provenance |= {"source": source_of(bundle, request), "requested": _requested(request)}
    kind = kind_of(codec.kind)
    return kind.present(codec, rows.numpy(), known, bundle.config.conditions, x.numpy(), provenance)


def _requested(request: Request) -> list[str]:
    """Return the names of the conditions that a request decides, in order."""
    shares = () if request.proportions is None else request.proportions.names
    return sorted({*request.condition, *shares})
