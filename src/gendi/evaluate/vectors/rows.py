"""Measure rows of any kind, cells or lines of a table, against held-out rows, with floors, gates and controls."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Protocol, runtime_checkable

import numpy as np

from gendi.diffusion.randomness import stream
from gendi.errors import DataError, UsageError
from gendi.evaluate.result import Evaluation
from gendi.evaluate.vectors import floors
from gendi.evaluate.vectors.measures import measure, standard_errors
from gendi.evaluate.vectors.portrait import portrait
from gendi.evaluate.vectors.records import row_digests
from gendi.evaluate.vectors.space import Indices, LogCounts, Raw, RowSet, Space, Standardised, World
from gendi.machine.stopping import Poll, may_stop

SPLITS, REPLICATES = 16, 200
TRAIN_MOST = 4000
"""Training rows that are looked at, but for copies, which are looked for among all."""
BLOCK_BYTES = 1 << 26


@runtime_checkable
class RowSource(Protocol):
    """Rows (N, G) that are read a part at a time, as `gendi.data.split.Split` gives them."""

    @property
    def rows(self) -> Any: ...
    def __len__(self) -> int: ...
    def batch(self, indices: Any, /) -> np.ndarray: ...


def evaluate_rows(
    samples: RowSet,
    train: RowSet,
    heldout: RowSet,
    *,
    space: Space | Callable[[Raw], Space] | None = None,
    n: int = 1000,
    seed: int = 0,
    name: str = "rows",
    fingerprint: str = "",
    known: np.ndarray | None = None,
    classes: Sequence[str] = (),
    splits: int | None = None,
    replicates: int | None = None,
    ema: bool | None = None,
    source: Mapping[str, Any] | None = None,
    poll: Poll | None = None,
) -> Evaluation:
    """Measure n samples against n held-out rows; n is the least of what is asked and what there is of either.

    Every metric comes with its floor (real rows in the samples' place), a gate from the floor's spread, four
    controls, a 95% interval and a score; see `gendi.evaluate.vectors.floors`.

    Args:
        samples: what to measure.
        train: the rows that were trained on, or some thousands of them.
        heldout: rows of the same kind that nothing was trained on.
        space: how rows become features, or what fits it to pooled real rows; by default `LogCounts.fit` for whole
            numbers of 0 or more, `Standardised.fit` for others.
        n: rows of each set that are compared.
        seed: of every draw.
        name: of the data, for the record.
        fingerprint: of the data, for the record.
        known: digests (`row_digests`) of all training rows, to look for copies in; by default those of `train`.
        classes: names of the classes, for notes.
        splits: deals of real rows that floors and gates are made of, at least 3; 16 by default.
        replicates: of the bootstrap behind the intervals, at least 2; 200 by default.
        ema: whether the samples come from averaged weights, for the record.
        source: anything else worth recording about the samples, JSON-safe.
        poll: called between parts; raise from it to stop.

    Raises:
        UsageError: n < 2, fewer than 2 samples, splits or replicates out of range.
        DataError: rows of differing widths, rows that are not finite, too few real rows, or real rows all the same.
    """
    splits = SPLITS if splits is None else splits
    replicates = REPLICATES if replicates is None else replicates
    notes: list[str] = []
    n = _checked(samples, train, heldout, n, splits, replicates, seed, notes)
    clock = _Clock()
    known = row_digests(train.rows) if known is None else known
    rng = stream(seed, "evaluation rows")
    train, heldout, samples = _some(train, TRAIN_MOST, rng), _some(heldout, TRAIN_MOST, rng), _some(samples, n, rng)
    real = RowSet(np.concatenate([train.rows, heldout.rows]), _both(train.labels, heldout.labels))
    rest = min(len(train), len(real) - 2 * n)

    def fit(rows: Raw) -> World:
        return World.fit(_space(space, rows), rows, seed)

    with clock("samples"):
        world, roles = floors.setting(_first(train, rest), _first(heldout, n), fit)
        roles = replace(roles, known=known)
        x = world.part(samples.rows, samples.labels)
        values = measure(x, roles, world, poll=poll)
    with clock("floors"):
        deals = floors.real_deals(real, n, rest, splits, fit, seed, poll=poll)
    with clock("controls"):
        controls = {
            who: measure(part, roles, world, poll=poll) for who, part in floors.control_parts(train, n, world).items()
        }
    with clock("intervals"):
        errors = standard_errors(x, roles, world, replicates, poll=poll)
    found = Evaluation(
        n=n,
        seed=seed,
        data=name,
        fingerprint=fingerprint,
        reference_split="heldout",
        reference_n=n,
        floor_split="real",
        floor_n=n,
        extractors=(),
        metrics=floors.judge(values, deals, controls, errors, 2 * n / (2 * n + rest)),
        portrait=portrait(x, roles.reference, world),
        ema=ema,
        source=dict(source or {}),
        seconds=clock.seconds,
    )
    notes += _notes(found, samples, heldout, world, classes)
    return replace(found, notes=tuple(notes))


def measure_rows(
    samples: RowSet,
    train: RowSet,
    heldout: RowSet,
    *,
    space: Space | Callable[[Raw], Space] | None = None,
    seed: int = 0,
    poll: Poll | None = None,
) -> dict[str, float | None]:
    """Return the metrics alone, of as many rows as there are of samples and held-out rows: for comparing models.

    Without floors a number says little; `evaluate_rows` has them, of fewer rows where held-out ones are scarce. Raises
    as that does.
    """
    _checked(samples, train, heldout, 2, SPLITS, REPLICATES, seed, [])
    n, rng = min(len(samples), len(heldout)), stream(seed, "evaluation rows")
    train, heldout, samples = _some(train, TRAIN_MOST, rng), _some(heldout, n, rng), _some(samples, n, rng)
    world, roles = floors.setting(train, heldout, lambda rows: World.fit(_space(space, rows), rows, seed))
    return measure(world.part(samples.rows, samples.labels), roles, world, poll=poll)


def loaded(split: RowSource, labels: Indices | None, seed: int, purpose: str) -> RowSet:
    """Return some thousands of a split's rows at random, read in their order; all where there are fewer."""
    chosen = np.sort(stream(seed, purpose).permutation(len(split))[:TRAIN_MOST]).astype(np.int64)
    return RowSet(split.batch(chosen), None if labels is None else labels[chosen])


def all_digests(split: RowSource, poll: Poll | None = None) -> np.ndarray:
    """Return the digests of all rows of a split, read block by block."""
    block = max(1, BLOCK_BYTES // (8 * int(split.rows.shape[1])))
    found = []
    for start in range(0, len(split), block):
        may_stop(poll)
        found.append(row_digests(split.batch(range(start, min(start + block, len(split))))))
    return np.concatenate(found)


def _checked(
    samples: RowSet, train: RowSet, heldout: RowSet, n: int, splits: int, replicates: int, seed: int, notes: list[str]
) -> int:
    for what, value, least in (("n", n, 2), ("splits", splits, 3), ("replicates", replicates, 2), ("seed", seed, 0)):
        if value < least:
            raise UsageError(f"{what} = {value} is out of range: it must be {least} or more.")
    if len(samples) < 2:
        raise UsageError(f"There are {len(samples)} samples; a set of rows needs at least 2 to be measured.")
    if len(train) < 2 or len(heldout) < 2 or len(train) + len(heldout) < 6:
        raise DataError(
            f"There are {len(train)} training and {len(heldout)} held-out rows: at least 2 of each and 6 in all "
            "are needed to measure anything. Give more data."
        )
    for what, part in (("samples", samples), ("training rows", train), ("held-out rows", heldout)):
        if part.rows.shape[1] != train.rows.shape[1]:
            raise DataError(f"The {what} have {part.rows.shape[1]} columns, the training rows {train.rows.shape[1]}.")
        if np.issubdtype(part.rows.dtype, np.floating) and not (fine := np.isfinite(part.rows)).all():
            i, j = np.argwhere(~fine)[0]
            raise DataError(
                f"The {what} hold {int((~fine).sum())} numbers that are NaN or infinite, the first in row {i}, column "
                f"{j}: metrics need finite ones. Fill in what is missing, with a column that says where."
            )
        if part.labels is not None and len(part.labels) != len(part):
            raise DataError(f"The {what} are {len(part)}, and their labels {len(part.labels)}: one each is wanted.")
    used = min(n, len(samples), len(train), len(heldout), (len(train) + len(heldout)) // 3)
    if used < n:
        notes.append(
            f"n = {used} rows of each set are compared, not {n}: there are {len(samples)} samples, {len(train)} "
            f"training and {len(heldout)} held-out rows, sets must be equally large, and floors need three real sets."
        )
    return used


def _some(part: RowSet, most: int, rng: np.random.Generator) -> RowSet:
    """Return `most` rows at random, in random order; all of them where there are fewer."""
    return part.take(rng.permutation(len(part))[:most].astype(np.int64))


def _first(part: RowSet, n: int) -> RowSet:
    return part.take(np.arange(n, dtype=np.int64))


def _both(a: Indices | None, b: Indices | None) -> Indices | None:
    return None if a is None or b is None else np.concatenate([a, b])


def _space(space: Space | Callable[[Raw], Space] | None, real: Raw) -> Space:
    if isinstance(space, Space):
        return space
    if space is not None:
        return space(real)
    whole = np.issubdtype(real.dtype, np.integer) and real.min(initial=0) >= 0
    return LogCounts.fit(real) if whole else Standardised.fit(real)


def _notes(found: Evaluation, samples: RowSet, heldout: RowSet, world: World, classes: Sequence[str]) -> Iterator[str]:
    yield (
        f"Principal components ({world.pca.n_components_}) are of pooled real rows; the kernel of mmd2 has the median "
        f"distance of real rows as its width, {world.sigma:.4g}. Gates are where real rows come out, but for one "
        "evaluation in a hundred; a score of 1 is the floor, 0 the worst control."
    )
    if isinstance(world.space, LogCounts):
        yield (
            f"Features are log1p of counts scaled to {world.space.target:,.0f} per cell, the median of the real cells."
        )
    if missing := [m.name for m in found.metrics if m.value is None]:
        yield (
            f"Not to be had of these rows: {', '.join(missing)}. Too few different rows, a single class, or nothing "
            "that varies."
        )
    if (samples.labels is None) != (heldout.labels is None):
        who = "samples" if samples.labels is None else "held-out rows"
        yield f"The {who} have no labels, so nothing is said of classes."
    if samples.labels is not None and heldout.labels is not None:
        absent = sorted(set(heldout.labels.tolist()) - set(samples.labels.tolist()))
        if absent:
            names = [classes[c] if c < len(classes) else str(c) for c in absent[:5]]
            yield (
                f"{len(absent)} of the held-out rows' classes have no sample ({', '.join(names)}); "
                "every distance counts that against the samples."
            )
    if missed := [name for name, gates in found.caught().items() if not gates]:
        controls = "control" if len(missed) == 1 else "controls"
        yield (
            f"The {controls} {', '.join(missed)} passed every gate: with {found.n} rows these "
            "numbers cannot tell such fakes from real rows. Hold out more."
        )


class _Clock:
    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        began = time.perf_counter()
        yield
        self.seconds[name] = round(time.perf_counter() - began, 3)
