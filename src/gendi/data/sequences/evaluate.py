"""Evaluation of drawn sequences, with floors, gates and controls, as for other kinds of data.

The measures are those of `gendi.data.sequences.measures`. Floors and gates are made as
`gendi.evaluate.vectors.floors` explains: pooled real sequences are dealt many times into samples, reference and
training rows. Four fakes must be caught:

    shuffled       training sequences with their letters in another order: lengths and composition are right
    independent    each position drawn by itself from its distribution: marginals are right, nothing else
    mutated        training sequences in which a tenth of the letters were replaced
    copies         training sequences
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

from gendi.data.sequences.alphabet import LetterError
from gendi.data.sequences.check import letter_entropy
from gendi.data.sequences.codec import SequenceCodec
from gendi.data.sequences.measures import Rows, closer, compared, copies, judged, known_rows
from gendi.data.sequences.output import read_texts
from gendi.diffusion.randomness import stream
from gendi.errors import DataError, UsageError
from gendi.evaluate.clock import Clock
from gendi.evaluate.intervals import around
from gendi.evaluate.result import Estimate, Evaluation, Metric
from gendi.evaluate.vectors.floors import floor_error, gate
from gendi.evaluate.vectors.metrics import About
from gendi.machine.stopping import Poll, may_stop

if TYPE_CHECKING:
    from gendi.data.dataset import Data
    from gendi.evaluate.gauge import Gauge

SPLITS, REPLICATES = 16, 60
TRAIN_MOST = 4000
FEW = 20
"""The fewest rows of which a share is computed."""
DISTANCES = ("length", "composition", "kmers-2", "kmers-3", "marginals", "pairs")
ABOUT = {
    **{name: About("lower", least=0) for name in DISTANCES},
    "auc-forest": About("lower", least=0, most=1),
    "closer": About("lower", least=0, most=1),
    "copies": About("lower", least=0, most=1),
}


def evaluate(
    samples: NDArray[Any] | Sequence[str] | Path,
    data: "Data",
    *,
    n: int = 1000,
    seed: int = 0,
    splits: int | None = None,
    replicates: int | None = None,
    ema: bool | None = None,
    source: Mapping[str, Any] | None = None,
    bits: Estimate | None = None,
    poll: Poll | None = None,
) -> Evaluation:
    """Evaluate texts against held-out sequences, as many of each: n, or fewer where there are not n.

    Args:
        samples: texts (n,), or a file of them.
        data: raw data, as `gendi.data.open_data` returns them.
        n: number of sequences of each set that are compared.
        seed: the seed of every draw.
        splits: deals of real sequences behind floors and gates, at least 3; 16 by default.
        replicates: how often samples are drawn anew for intervals, at least 2; 60 by default.
        ema: whether the samples come from averaged weights, for the record.
        source: anything else that the record should say about the samples.
        bits: what the model needs per letter of held-out sequences (`gendi.bits_per_letter`), which stands beside what
            a code for the frequencies of the letters needs.
        poll: called between parts; raise from it to stop.

    Raises:
        UsageError: numbers out of range, or fewer than 2 samples.
        DataError: samples that are not of the data's alphabet, or too few real sequences.
    """
    splits, replicates = splits or SPLITS, replicates or REPLICATES
    for option, value, least in (("n", n, 2), ("splits", splits, 3), ("replicates", replicates, 2), ("seed", seed, 0)):
        if value < least:
            raise UsageError(f"{option} = {value} is out of range: it must be {least} or more.")
    x, notes, clock = rows_of(samples, data), [], Clock()
    train, heldout = _real(data)
    used = min(n, len(x), len(heldout), (len(train) + len(heldout)) // 3)
    if used < 2 or len(train) < 2:
        raise DataError(
            f"There are {len(x)} samples, {len(train)} training and {len(heldout)} held-out sequences: at least 2 of "
            "each are needed for an evaluation."
        )
    if used < n:
        notes.append(
            f"{used} sequences of each set are compared, not {n}: sets are equally large, and floors need three."
        )
    rng = stream(seed, "evaluation sequences")
    train, x, reference = _some(train, TRAIN_MOST, rng), _some(x, used, rng), _some(heldout, used, rng)
    pool = Rows(np.concatenate([train.tokens, heldout.tokens]), x.codec)
    rest = min(len(train), len(pool) - 2 * used)
    train = train.take(np.arange(rest))
    with clock("samples"):
        values = _measured(x, reference, train, seed, poll)
    with clock("floors"):
        deals = []
        for _ in range(splits):
            order = rng.permutation(len(pool)).astype(np.int64)
            parts = (pool.take(order[a:b]) for a, b in ((0, used), (used, 2 * used), (2 * used, 2 * used + rest)))
            real, others, known = parts
            deals.append(_measured(real, others, known, seed, poll))
    with clock("controls"):
        fakes = controls(train, used, seed)
        caught = {name: _measured(rows, reference, train, seed, poll) for name, rows in fakes.items()}
    with clock("intervals"):
        errors = _errors(x, reference, train, seed, replicates, values, poll)
    share = 2 * used / len(pool)
    coded = () if bits is None else (Metric.of("bits-per-letter", bits, Estimate(None), "lower"),)
    names = [name for name in ABOUT if name in values]
    metrics = tuple(_metric(name, values[name], deals, caught, errors.get(name), len(names), share) for name in names)
    found = Evaluation(
        n=used,
        seed=seed,
        data=data.name,
        fingerprint=data.fingerprint,
        reference_split="heldout",
        reference_n=used,
        floor_split="real",
        floor_n=used,
        extractors=(),
        metrics=metrics + coded,
        ema=ema,
        source=dict(source or {}),
        seconds=clock.seconds,
    )
    if coded:
        notes.append(
            "bits-per-letter is no measure of samples: it says how well the model predicts held-out sequences. A "
            f"code that knows only the frequencies of the letters needs {_by_frequencies(data):.3f}."
        )
    notes.append("Real sequences lie within all gates in 99 of 100 evaluations. A score of 1 is the floor.")
    if missed := [name for name, gates in found.caught().items() if not gates]:
        notes.append(f"Controls that passed every gate: {', '.join(missed)}. Hold out more sequences to catch them.")
    if absent := [name for name in ABOUT if name not in values]:
        notes.append(f"These sequences do not allow some measures: {', '.join(absent)}.")
    return replace(found, notes=tuple(notes))


def _by_frequencies(data: "Data") -> float:
    """Return the bits per letter of a code that knows the frequencies of the letters, and of ends, alone."""
    codec = data.fitted
    assert isinstance(codec, SequenceCodec)
    rows = np.asarray(data.train.batch(range(len(data.train))), np.int64)
    counts = np.bincount(rows[rows < len(codec.alphabet)], minlength=len(codec.alphabet))
    return letter_entropy(counts.astype(np.int64), len(rows) if codec.ends else 0)


def rows_of(samples: NDArray[Any] | Sequence[str] | Path, data: "Data") -> Rows:
    """Return the tokens of samples. Raises `DataError` for one that is not of the data's alphabet or length."""
    codec = data.fitted
    assert isinstance(codec, SequenceCodec)
    texts = read_texts(samples) if isinstance(samples, Path) else np.asarray(samples, np.str_)
    found = []
    for i, text in enumerate(texts.tolist(), start=1):
        try:
            found.append(codec.row(text))
        except LetterError as error:
            raise DataError(
                f"Sample {i} has {error.found!r} at position {error.position}, which the alphabet of {data.name} "
                f"({codec.alphabet.in_words()}) does not have. Compare samples with data of their own alphabet."
            ) from None
        except UsageError as error:
            raise DataError(f"Sample {i} cannot be compared with {data.name}: {error} letters.") from None
    return Rows(np.array(found, np.int64).reshape(len(found), codec.length), codec)


def controls(train: Rows, n: int, seed: int) -> dict[str, Rows]:
    """Return the four fakes, n rows each."""
    rng, codec = stream(seed, "sequence controls"), train.codec
    chosen = rng.permutation(len(train))[:n] if n <= len(train) else rng.integers(0, len(train), n)
    real, lengths = train.tokens[chosen], train.lengths[chosen]
    shuffled, mutated = real.copy(), real.copy()
    for row, length in zip(shuffled, lengths, strict=True):
        row[:length] = rng.permutation(row[:length])
    places = (rng.random(real.shape) < 0.1) & (np.arange(real.shape[1]) < lengths[:, None])
    mutated[places] = rng.integers(0, len(codec.alphabet), int(places.sum()))
    independent = np.stack([rng.permutation(train.tokens[:, j])[:n] for j in range(real.shape[1])], axis=1)
    if len(independent) < n:
        independent = independent[rng.integers(0, len(independent), n)]
    if codec.ends:
        ended = np.cumsum(independent >= codec.end, axis=1)
        independent = np.where(
            ended == 0, independent, np.where(np.cumsum(ended > 0, axis=1) == 1, codec.end, codec.pad)
        )
    fakes = {"shuffled": shuffled, "independent": independent, "mutated": mutated, "copies": real}
    return {name: Rows(rows, codec) for name, rows in fakes.items()}


def gauge(data: "Data", seed: int) -> "Gauge":
    """Return the quick metrics of rows of tokens like those of `data`; see `gendi.evaluate.gauge`."""
    from gendi.evaluate.vectors import Standardised
    from gendi.evaluate.vectors.quick import row_gauge

    codec = data.fitted
    assert isinstance(codec, SequenceCodec)

    def numbers(rows: np.ndarray) -> np.ndarray:
        return Rows(np.asarray(rows, np.int64), codec).features().astype(np.float64)

    return row_gauge(data.train, data.heldout, seed, space=Standardised.fit, numbers=numbers)


def _real(data: "Data") -> tuple[Rows, Rows]:
    codec = data.fitted
    assert isinstance(codec, SequenceCodec)
    parts = (np.asarray(part.batch(range(len(part))), np.int64) for part in (data.train, data.heldout))
    train, heldout = (Rows(rows, codec) for rows in parts)
    return train, heldout


def _some(rows: Rows, most: int, rng: np.random.Generator) -> Rows:
    return rows.take(rng.permutation(len(rows))[:most].astype(np.int64))


def _measured(x: Rows, reference: Rows, train: Rows, seed: int, poll: Poll | None) -> dict[str, float]:
    may_stop(poll)
    found = compared(x, reference, seed)
    if (verdict := judged(x, reference, seed)) is not None:
        found["auc-forest"] = verdict.auc
    same, nearer = _against(x, reference, train, poll)
    found["copies"] = float(same.mean())
    if len(nearer) >= FEW:
        found["closer"] = float(nearer.mean())
    return found


def _against(x: Rows, reference: Rows, train: Rows, poll: Poll | None) -> tuple[np.ndarray, np.ndarray]:
    """Return which samples are copies of training rows, and which of those that copy no real row are nearer to them."""
    same = copies(x, known_rows(train))
    new = (same == 0) & (copies(x, known_rows(reference)) == 0)
    h = np.arange(min(len(train), len(reference)))
    return same, closer(x.take(np.flatnonzero(new)), train.take(h), reference.take(h), poll)


def _errors(
    x: Rows,
    reference: Rows,
    train: Rows,
    seed: int,
    replicates: int,
    values: Mapping[str, float],
    poll: Poll | None,
) -> dict[str, float]:
    """Return the standard error of each value, as far as it comes from the choice of the samples."""
    rng, found = stream(seed, "sequence intervals"), {}
    drawn = []
    for _ in range(replicates):
        may_stop(poll)
        drawn.append(compared(x, reference, seed, rng.multinomial(len(x), np.full(len(x), 1 / len(x))) / len(x)))
    for name in DISTANCES:
        if name in values:
            found[name] = float(np.std([each[name] for each in drawn], ddof=1))
    if "auc-forest" in values and (verdict := judged(x, reference, seed)) is not None:
        found["auc-forest"] = float(np.std(verdict.replicates(replicates, rng), ddof=1))
    same, nearer = _against(x, reference, train, poll)
    for name, rows in (("copies", same), ("closer", nearer)):
        if name in values:
            found[name] = float(rows.std(ddof=1) / np.sqrt(len(rows)))
    return found


def _metric(
    name: str,
    value: float,
    deals: Sequence[Mapping[str, float]],
    fakes: Mapping[str, Mapping[str, float]],
    error: float | None,
    gates: int,
    share: float,
) -> Metric:
    about = ABOUT[name]
    real = [deal[name] for deal in deals if name in deal]
    known = len(real) == len(deals)
    of_fakes = {fake: found[name] for fake, found in fakes.items() if name in found}
    metric = Metric(
        name,
        value,
        float(np.mean(real)) if known else None,
        about.better,
        standard_error=error,
        interval=about.estimate(value, error).interval,
        controls=of_fakes,
        gate=gate(real, about, gates, share) if known else None,
    )
    if metric.floor is None:
        return metric
    spread = floor_error(real, about, share)
    interval = around(metric.floor, spread, least=0, most=about.most, quantile=float(student.ppf(0.975, len(real) - 1)))
    worst = max(of_fakes.values(), default=metric.floor)
    score = (worst - value) / (worst - metric.floor) if worst > metric.floor else None
    return replace(metric, floor_error=spread, floor_interval=interval, score=score)
