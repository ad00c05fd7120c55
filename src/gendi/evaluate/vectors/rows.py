"""Evaluation of rows of any kind, such as cells or rows of a table, with floors, gates and controls."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol, runtime_checkable

import numpy as np

from gendi.diffusion.randomness import stream
from gendi.errors import DataError, UsageError
from gendi.evaluate.clock import Clock
from gendi.evaluate.result import Evaluation
from gendi.evaluate.vectors import floors
from gendi.evaluate.vectors.deals import deals_of
from gendi.evaluate.vectors.errors import standard_errors
from gendi.evaluate.vectors.metrics import compute_metrics, judged
from gendi.evaluate.vectors.portrait import portrait
from gendi.evaluate.vectors.progress import Progress, Tell
from gendi.evaluate.vectors.records import row_digests
from gendi.evaluate.vectors.space import JUDGED_NUMBERS, Indices, LogCounts, Raw, RowSet, Space, Standardised, World
from gendi.evaluate.vectors.targets import Target, likely
from gendi.machine.stopping import Poll, may_stop

SPLITS, REPLICATES = 16, 200
CONTROLS, INTERVALS = 3, 4
"""About how many times as long as the samples' metrics the controls and the intervals take."""
TRAIN_MOST = 4000
"""Most training rows that are used; the search for copies alone uses all."""
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
    targets: Sequence[Target] = (),
    poll: Poll | None = None,
    tell: Tell | None = None,
) -> Evaluation:
    """Evaluate samples against held-out rows, as many of each: n, or fewer where there are not n.

    Every metric comes with its floor (real rows in the samples' place), a gate from the floor's spread, four
    controls, a 95% interval and a score; see `gendi.evaluate.vectors.floors`.

    Args:
        samples: the rows to evaluate.
        train: the training rows, or some thousands of them.
        heldout: rows of the same kind that were not trained on.
        space: how rows become features, or a function that fits such a space to pooled real rows. The default is
            `LogCounts.fit` for integers of 0 or more, and `Standardised.fit` for other numbers.
        n: number of rows of each set that are compared.
        seed: the seed of every draw.
        name: name of the data, for the record.
        fingerprint: fingerprint of the data, for the record.
        known: digests (`row_digests`) of all training rows, among which copies are searched; by default of `train`.
        classes: names of the classes, for notes.
        splits: number of deals of real rows behind floors and gates, at least 3; 16 by default.
        replicates: how often the judges' scores are drawn anew for their intervals, at least 2; 200 by default. The
            intervals of other metrics come from a quarter as many random splits.
        ema: whether the samples come from averaged weights, for the record.
        source: anything else that the record should say about the samples, JSON-safe.
        targets: columns that somebody may want to predict; the likely ones are (`targets.likely`).
        poll: called between parts; raise from it to stop.
        tell: given lines about the progress of a long evaluation.

    Raises:
        UsageError: n < 2, fewer than 2 samples, or splits, replicates or seed out of range.
        DataError: rows of differing widths, numbers that are not finite, too few real rows, or equal real rows.
    """
    splits = SPLITS if splits is None else splits
    replicates = REPLICATES if replicates is None else replicates
    notes: list[str] = []
    n = _checked(samples, train, heldout, n, splits, replicates, seed, notes)
    clock = Clock()
    known = row_digests(train.rows) if known is None else known
    rng = stream(seed, "evaluation rows")
    train, heldout, given = _some(train, TRAIN_MOST, rng), _some(heldout, TRAIN_MOST, rng), samples
    samples = _some(samples, n, rng)
    real = RowSet(
        np.concatenate([train.rows, heldout.rows]),
        _both(train.labels, heldout.labels),
        _both(train.groups, heldout.groups),
    )
    dealt = deals_of(real, heldout, n, splits, seed)
    n, samples = dealt.n, _first(samples, dealt.n)
    notes += dealt.notes
    rest = min(len(train), len(real) - 2 * n)

    def fit(rows: Raw) -> World:
        return World.fit(_space(space, rows), rows, seed, n)

    progress = Progress(1 + len(dealt.deals) + CONTROLS + INTERVALS, tell)
    with clock("samples"):
        world, roles = floors.setting(_first(train, rest), _first(heldout, n), fit)
        chosen = likely(targets, train, heldout, world.space)
        roles = replace(roles, known=known, targets=chosen)
        x = world.part(samples.rows, samples.labels)
        verdicts = judged(x, roles.reference, world, poll=poll)
        values = compute_metrics(x, roles, world, verdicts, poll=poll)
    progress.step("the samples are measured")
    with clock("floors"):
        deals = floors.real_deals(real, dealt.deals, fit, poll=poll, progress=progress, targets=chosen)
    with clock("controls"):
        parts = floors.control_parts(train, n, world)
        controls = {control: compute_metrics(part, roles, world, poll=poll) for control, part in parts.items()}
    progress.step("the controls are measured", CONTROLS)
    with clock("intervals"):
        groups, said = reference_groups(_first(heldout, n))
        notes += said
        errors = standard_errors(values, x, roles, world, verdicts, replicates, groups=groups, poll=poll)
    with clock("classes"):
        by_class, of_classes = floors.judged_classes(given, real, heldout, parts, world, len(values) + 1, classes, poll)
    gates = len(values) + len(of_classes)
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
        metrics=floors.judge(values, deals, controls, errors, dealt.share, gates, groups) + of_classes,
        by_class=by_class,
        portrait=portrait(x, roles.reference, world),
        ema=ema,
        source=dict(source or {}),
        seconds=clock.seconds,
    )
    notes += _notes(found, samples, heldout, world, classes)
    if targets and not chosen:
        notes.append("No column can be predicted from the others, so none is tried (tstr, r2).")
    return replace(found, notes=tuple(notes))


def reference_groups(reference: RowSet) -> tuple[Indices | None, list[str]]:
    """Return the groups whose draw intervals count, and what to say of them; None where they count rows."""
    if reference.groups is None:
        return None, []
    count = len(np.unique(reference.groups))
    if count < 2:
        return None, [
            "The held-out rows that are compared are all of one group, so intervals count the chance in drawing rows "
            "of this group. What another group would bring, they cannot say."
        ]
    return reference.groups, [
        f"The held-out rows that are compared are of {count} groups. Intervals draw whole groups anew, with Student's "
        f"quantile for {count - 1} degrees of freedom; those of closest-share, copies and single classes count rows."
    ]


def compute_row_metrics(
    samples: RowSet,
    train: RowSet,
    heldout: RowSet,
    *,
    space: Space | Callable[[Raw], Space] | None = None,
    seed: int = 0,
    poll: Poll | None = None,
) -> dict[str, float | None]:
    """Return the metrics alone, without floors, to compare models on as many rows as samples and held-out rows allow.

    A number says little without its floor. `evaluate_rows` computes floors too, but uses fewer rows where held-out rows
    are scarce. The errors are those of `evaluate_rows`.
    """
    _checked(samples, train, heldout, 2, SPLITS, REPLICATES, seed, [])
    n, rng = min(len(samples), len(heldout)), stream(seed, "evaluation rows")
    train, heldout, samples = _some(train, TRAIN_MOST, rng), _some(heldout, n, rng), _some(samples, n, rng)
    world, roles = floors.setting(train, heldout, lambda rows: World.fit(_space(space, rows), rows, seed, n))
    return compute_metrics(world.part(samples.rows, samples.labels), roles, world, poll=poll)


def loaded(split: RowSource, labels: Indices | None, seed: int, purpose: str) -> RowSet:
    """Return `TRAIN_MOST` random rows of a split, in their order, or all rows of a smaller split."""
    chosen = np.sort(stream(seed, purpose).permutation(len(split))[:TRAIN_MOST]).astype(np.int64)
    groups = getattr(split, "groups", None)
    return RowSet(
        split.batch(chosen), None if labels is None else labels[chosen], None if groups is None else groups[chosen]
    )


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
    for option, value, least in (("n", n, 2), ("splits", splits, 3), ("replicates", replicates, 2), ("seed", seed, 0)):
        if value < least:
            raise UsageError(f"{option} = {value} is out of range: it must be {least} or more.")
    if len(samples) < 2:
        raise UsageError(f"There are {len(samples)} samples; an evaluation needs at least 2.")
    if len(train) < 2 or len(heldout) < 2 or len(train) + len(heldout) < 6:
        raise DataError(
            f"There are {len(train)} training and {len(heldout)} held-out rows: at least 2 of each and 6 in all "
            "are needed for an evaluation. Give more data."
        )
    for what, part in (("samples", samples), ("training rows", train), ("held-out rows", heldout)):
        if part.rows.shape[1] != train.rows.shape[1]:
            raise DataError(f"The {what} have {part.rows.shape[1]} columns, the training rows {train.rows.shape[1]}.")
        if np.issubdtype(part.rows.dtype, np.floating) and not (fine := np.isfinite(part.rows)).all():
            i, j = np.argwhere(~fine)[0]
            raise DataError(
                f"The {what} hold {int((~fine).sum())} numbers that are NaN or infinite, the first in row {i}, column "
                f"{j}: metrics need finite numbers. Fill in missing values, and add a column that marks them."
            )
        if part.labels is not None and len(part.labels) != len(part):
            raise DataError(f"There are {len(part)} {what} with {len(part.labels)} labels: give one label per row.")
    used = min(n, len(samples), len(train), len(heldout), (len(train) + len(heldout)) // 3)
    if used < n:
        notes.append(
            f"n = {used} rows of each set are compared, not {n}: there are {len(samples)} samples, {len(train)} "
            f"training and {len(heldout)} held-out rows, sets must be equally large, and floors need three sets of "
            "real rows."
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
        f"The {world.pca.n_components_} principal components are those of pooled real rows. The width of the kernel of "
        f"mmd2 is the median distance between real rows, {world.sigma:.4g}. Real rows lie within all gates in 99 of "
        "100 evaluations. A score of 1 is the floor, a score of 0 the worst control."
    )
    if isinstance(world.space, LogCounts):
        yield (f"Features are log1p of counts, scaled to {world.space.target:,.0f} per cell, the median of real cells.")
    width = world.pca.n_features_in_
    if world.judged_rows < found.n or len(world.judged) < width:
        yield (
            f"The classifiers (auc-forest, auc-logistic, tstr) see at most {JUDGED_NUMBERS:,} numbers of each set: "
            f"{world.judged_rows:,} rows of the {len(world.judged):,} most variable columns; of {width:,} columns, "
            f"correlations are those of the {len(world.columns):,} most variable ones."
        )
    if few := [r.name for r in found.by_class if r.passed is None]:
        more = f" and {len(few) - 5} more" if len(few) > 5 else ""
        yield (
            f"Too few rows to tell whether they are right: {', '.join(few[:5])}{more}. Their intervals say how little "
            "is known of them."
        )
    if missing := [m.name for m in found.metrics if m.value is None]:
        yield (
            f"These rows do not allow some metrics: {', '.join(missing)}. There are too few different rows, only one "
            "class, or columns that do not vary."
        )
    if (samples.labels is None) != (heldout.labels is None):
        unlabelled = "samples" if samples.labels is None else "held-out rows"
        yield f"The {unlabelled} have no labels, so the metrics of classes are missing."
    if samples.labels is not None and heldout.labels is not None:
        absent = sorted(set(heldout.labels.tolist()) - set(samples.labels.tolist()))
        if absent:
            names = [classes[c] if c < len(classes) else str(c) for c in absent[:5]]
            count = "1 class" if len(absent) == 1 else f"{len(absent)} classes"
            verb = "has" if len(absent) == 1 else "have"
            yield (
                f"{count} of the held-out rows {verb} no sample ({', '.join(names)}), which makes every distance "
                "larger."
            )
    if missed := [name for name, gates in found.caught().items() if not gates]:
        yield (
            f"Controls that passed every gate: {', '.join(missed)}. With {found.n} rows, the metrics cannot tell such "
            "fakes from real rows. Hold out more rows."
        )
