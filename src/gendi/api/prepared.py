"""Preparing a request: everything that can be wrong with it is found here, before the drawing starts."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import psutil
from torch import Tensor

from gendi.api.conditions import read_conditions
from gendi.api.impute import cells_of, told_by
from gendi.api.models import Models, null_where_silent
from gendi.api.outside import outside, rare
from gendi.api.request import Request
from gendi.data.tables.given import Given
from gendi.diffusion.conditions import is_null, requested_conditions
from gendi.diffusion.gaussian.config import ObjectiveConfig
from gendi.diffusion.gaussian.samplers import GRIDS
from gendi.diffusion.gaussian.samplers.temperature import check_heat
from gendi.errors import ResourceError, UsageError, unknown_name
from gendi.train.weights.families import family_of


@dataclass(frozen=True)
class Prepared:
    """A request that was checked, with the denoiser and the conditions of its samples."""

    request: Request
    models: Models
    denoiser: Any
    """The model's denoiser, with guidance; see `Models.denoiser`."""
    cond: dict[str, Tensor]
    """Conditions by name, n rows each."""
    given: Tensor | None = None
    """Parts of a sample that are given, (*shape), where the request has any."""
    warnings: tuple[str, ...] = ()
    """What to say before drawing: requested numbers far from the training data (`gendi.api.outside`)."""
    notes: tuple[str, ...] = ()
    """What else to say: requested classes of few training rows."""
    cells: Given | None = None
    """The cells of a table that are given, where the request has any."""


def prepare(request: Request, models: Models) -> Prepared:
    """Check a request and return what it takes to draw it.

    Raises:
        UsageError: n, a batch size or a seed out of range, an unknown sampler, grid, option or condition, a value that
            does not fit it, more calls than the chain has, guidance that the model cannot be given.
        DataError: a condition's picture that cannot be read.
        ResourceError: so many samples do not fit in the memory; says how many do.
    """
    _check(request, models)
    own, how = models.own, request.how
    wanted = read_conditions(models.conditions, request.condition, request.indices, request.per_class)
    if request.proportions is not None and not wanted:
        wanted = dict(request.proportions.values(request.indices))
    if request.profiles is not None:
        own.codec.with_profiles(request.profiles)  # raises where there are none
    if request.where:
        return _with_cells(request, models, wanted)
    cond = own.codec.draw_conditions(models.conditions, wanted, request.n, how.seed, how.first_index)
    given = None if request.infill is None else own.codec.infilled(request.infill)
    _check_memory(request, own.codec.shape)
    denoiser = models.denoiser(request.guidance, cond, device=str(how.device), precision=request.precision)
    asked = {name: rows for name, rows in cond.items() if name in wanted}
    warnings, notes = (say(own.codec, models.conditions, asked) for say in (outside, rare))
    return Prepared(request, models, denoiser, cond, given, warnings, notes)


def _with_cells(request: Request, models: Models, wanted: Mapping[str, Any]) -> Prepared:
    """Return a request for rows of a table of which some cells are given.

    The network is told the given cells that are conditions, and what was requested besides; of other conditions it is
    told nothing, as their distribution depends on the given cells.
    """
    own, n = models.own, request.n
    cells = cells_of(own.codec, request.where, n)
    if broken := cells.broken():
        raise UsageError(f"the given cells break the rule {broken[0][0]}, which every row of the table keeps.")
    told = told_by(cells.codec, models.conditions, cells)
    told = {name: rows for name, rows in told.items() if not bool(is_null(rows).any())}
    if twice := sorted(set(told) & set(wanted)):
        raise UsageError(f"{twice[0]} was given twice, as a condition and as a cell: say it once.")
    values = null_where_silent(models.conditions, {**wanted, **dict.fromkeys(told, 0)})  # 0 is replaced by what is told
    cond = requested_conditions(models.conditions, values, n) | told if values else {}
    _check_memory(request, own.codec.shape)
    denoiser = models.denoiser(request.guidance, cond, device=str(request.how.device), precision=request.precision)
    asked = {name: rows for name, rows in cond.items() if name in wanted}
    said = (*outside(own.codec, models.conditions, asked), *cells.warnings())
    return Prepared(request, models, denoiser, cond, None, said, cells=cells)


def _check(request: Request, models: Models) -> None:
    n, how, chain = request.n, request.how, family_of(models.own.config).steps(models.own.config)
    if n < 1 or how.batch_size < 1:
        raise UsageError(
            f"the number of samples and the batch size must be at least 1; got n = {n}, batch size {how.batch_size}."
        )
    if not 0 <= how.seed < 2**63 or not 0 <= how.first_index < 2**63:
        raise UsageError(f"a seed and an index are whole numbers from 0 to {2**63 - 1}; got seed {how.seed}.")
    info = family_of(models.own.config).find_sampler(how.sampler)
    for option in how.options:
        info.check_option(how.sampler, option)
    if how.grid is not None and how.grid not in GRIDS:
        raise unknown_name("time grid", how.grid, GRIDS)
    check_heat(how.temperature, how.noise_scale)
    if how.steps < 1:
        raise UsageError(f"sampling needs at least 1 step; got {how.steps}.")
    if chain is not None and how.steps > chain and not getattr(info, "adaptive", False):
        raise UsageError(
            f"steps = {how.steps} is out of range: this model's chain has {chain} steps; choose 1 to {chain}."
        )
    check_steps_of(models.own.config.objective, how.steps)
    if request.precision not in (None, "fp32", "bf16"):
        raise unknown_name("precision", request.precision or "", ("fp32", "bf16"))


def check_steps_of(objective: ObjectiveConfig, calls: int) -> None:
    """Raise `UsageError` if a student is asked for a number of calls that it did not learn."""
    if objective.knows(calls):
        return
    known = objective.distil.calls
    if objective.loss == "progressive":
        learned = f"a progressive student of {known} call{'s' if known > 1 else ''}, which learned these {known} steps"
    else:
        some = " or ".join(str(n) for n in range(1, known + 1) if known % n == 0)
        learned = f"a student by distribution matching, which learned {some} call{'s' if known > 1 else ''}"
    raise UsageError(
        f"steps = {calls}: this model is {learned} and no others. Leave the steps out, or ask its teacher."
    )


def _check_memory(request: Request, shape: tuple[int, ...]) -> None:
    each = 9 * math.prod(shape)  # float32 twice while batches are joined, and the bytes
    available = psutil.virtual_memory().available
    if each * request.n > available:
        raise ResourceError(
            f"{request.n:,} samples need about {each * request.n / 1e9:,.1f} GB of memory and {available / 1e9:.1f} "
            f"GB are free. Draw at most {available // each:,} at a time (--n), with another --seed each time."
        )
