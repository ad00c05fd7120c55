"""Do samples give away which rows a model was trained on? Membership attacks, beside a copier and beside real rows.

An attacker has the samples, and rows of which half were trained on (*members*) and half were not. Who they think a
member is, they say by a score of each row i:

    distance      - d_i, the distance to the nearest sample                        [Chen et al. 2020, "GAN-Leaks"]
    calibrated    ln r_i - ln d_i, with r_i the distance to the nearest of other held-out rows, as rows in crowded
                  places are near to some sample in any case                       [van Breugel et al. 2023, "DOMIAS"]

The area under the ROC curve is 0.5 if the samples give nothing away. An attack on a few rows may succeed where the area
is small, so the share of members that are found at 1% false alarms is measured too [Carlini et al. 2022]; it is 1% by
chance. Three sets take the samples' place:

    samples    those of the model
    copier     as many rows, drawn from all training rows with replacement
    real       real rows that are neither members nor held out: 0.5 but for chance

Where whole groups such as donors were held out, members, others and real rows are of different groups: the question is
then whether samples give away which groups were trained on, rows of a group being alike. The error of the area is that
of sums over groups [Obuchowski 1997], and its interval Student's, with one degree of freedom fewer than the smaller
number of groups.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Float64
from scipy.stats import rankdata

from gendi.diffusion.randomness import stream
from gendi.errors import DataError, UsageError
from gendi.evaluate.intervals import around, of_dependent_share, of_groups, of_share
from gendi.evaluate.kernel_errors import mean_variance
from gendi.evaluate.metrics import Features
from gendi.evaluate.result import Estimate, Interval
from gendi.evaluate.vectors.records import closer, copies, nearest_distance, row_digests
from gendi.evaluate.vectors.space import Indices, Raw, RowSet, Space, World
from gendi.machine.stopping import Poll, may_stop

WIDE = 200
"""Rows with more features than this are compared in principal components."""
TINY = 1e-4
"""Distances below this count as this; features are rounded to it."""
LEAST = 15
"""Fewest members, and fewest held-out rows, of an attack."""
FALSE_ALARMS = 0.01
WEAK = 0.75
"""An area of the copier below which an attack says little."""
TIMES = 3
"""A copier that draws so many times as many samples as there are training rows has shown 95% of them."""
ATTACKS = ("distance", "calibrated")
Scores = Float64[np.ndarray, " _"]
Groups = Indices | None


@dataclass(frozen=True)
class Attack:
    """How well one score tells members from other rows."""

    auc: float
    """Area under the ROC curve."""
    error: float
    """Its standard error over fresh members and fresh other rows."""
    interval: Interval
    """Its 95% interval."""
    found: Estimate
    """Share of members above the score that 1% of the other rows exceed."""


@dataclass(frozen=True)
class Exposure:
    """What one set in the samples' place gives away."""

    attacks: dict[str, Attack]
    """By the name of the score."""
    closest_share: Estimate | None = None
    """Share of the set nearer to a training row than to any of equally many held-out rows, 0.5 is best; None for real
    training rows."""
    copies: Estimate | None = None
    """Share of the set that equals a training row in every number; None for real training rows."""


@dataclass(frozen=True)
class Privacy:
    """What samples give away of training rows; see the module's docstring."""

    data: str
    samples: int
    training: int
    """Training rows in all."""
    members: int
    others: int
    """Held-out rows among which the attacker has to find the members."""
    groups: tuple[int, int] | None
    """The numbers of groups of members and of others; None where rows were held out one by one."""
    sets: dict[str, Exposure]
    """By "samples", "copier" and "real"."""

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON-safe numbers and texts."""
        return {**asdict(self), "sets": {place: _exposure(of) for place, of in self.sets.items()}}

    def verdict(self) -> str:
        """Return what the attacks say, in sentences."""
        attacks = self.sets["samples"].attacks
        name = max(attacks, key=lambda each: attacks[each].auc)
        (low, high), copier = attacks[name].interval, self.sets["copier"].attacks[name].auc
        area = f"{attacks[name].auc:.3f} ({low:.3f} to {high:.3f}), where 0.5 is chance"
        power = f"A model that copies its training rows would have {copier:.2f}."
        if copier < WEAK:
            power = (
                f"But a model that copies its training rows would have {copier:.2f} with so few samples, so these "
                f"attacks could hardly find anything: draw {TIMES * self.training:,}."
            )
        whole = ""
        if self.groups is not None:
            a, b = self.groups
            whole = (
                f" Whole groups were held out: members are of {a} and the others of {b}, so this asks which groups "
                "were trained on" + (", and one group says nothing of the next." if min(a, b) < 2 else ".")
            )
        if low > 0.5:
            return (
                f"The samples give away some of the training rows: the attack by {name} has an area of {area}. {power} "
                f"Less training, more dropout or more rows help.{whole}"
            )
        return (
            f"Neither attack tells training rows from others: the better one has an area of {area}. {power} This is a "
            f"measurement of two attacks, not a guarantee.{whole}"
        )


def _exposure(of: Exposure) -> dict[str, Any]:
    attacks = {name: {**asdict(attack), "found": attack.found._asdict()} for name, attack in of.attacks.items()}
    shares = {"closest_share": of.closest_share, "copies": of.copies}
    return {"attacks": attacks} | {name: share._asdict() for name, share in shares.items() if share is not None}


def privacy_of_rows(
    samples: RowSet,
    train: RowSet,
    heldout: RowSet,
    *,
    space: Callable[[Raw], Space],
    known: np.ndarray,
    training: int | None = None,
    seed: int = 0,
    name: str = "rows",
    poll: Poll | None = None,
) -> Privacy:
    """Attack samples, a copier and real rows.

    Args:
        samples: the rows that a model drew. About three times as many as there are training rows show all that a
            model could copy.
        train: the training rows, or some thousands of them. Half of them are the members; the others are the real rows.
        heldout: rows of the same kind that were not trained on. Half of them are to be told from members, and the
            others calibrate.
        space: fits a space of features to pooled real rows.
        known: digests (`row_digests`) of all training rows, among which copies are searched.
        training: how many training rows there are in all; by default as many as `train` has.
        seed: the seed of the halves and of the copier.
        name: name of the data, for the record.
        poll: called between parts; raises to stop.

    Raises:
        UsageError: fewer than 2 samples.
        DataError: fewer than 30 training or held-out rows, or real rows that are all the same.
    """
    if len(samples) < 2:
        raise UsageError(f"There are {len(samples)} samples; an attack needs at least 2.")
    if min(len(train), len(heldout)) < 2 * LEAST:
        raise DataError(
            f"There are {len(train)} training and {len(heldout)} held-out rows: an attack needs at least {2 * LEAST} "
            "of each. Give more data."
        )
    training = len(train) if training is None else training
    rng = stream(seed, "privacy")
    (order, half), (rest, part) = (_halved(rows, rng) for rows in (train, heldout))
    real = np.concatenate([train.rows, heldout.rows])
    world = World.fit(space(real), real, seed)
    if len(train) - half < LEAST or half < LEAST:
        raise DataError(f"The groups of the training rows cannot be divided into two halves of at least {LEAST} rows.")
    first = train.take(order[:half]), heldout.take(rest[:part])
    of = [rows.groups for rows in first]
    shown = int(rng.binomial(len(samples), len(train) / training))  # of the copier's rows, those copied from `train`
    copied = train.take(rng.integers(0, len(train), max(shown, 2)).astype(np.int64))
    sets = {"samples": samples, "copier": copied, "real": train.take(order[half:])}
    trained, held = (_features(world, rows) for rows in (train.take(order), heldout.take(rest)))
    unseen = held[part:] if part < len(held) else trained[half:]
    usual = [_log_distance(each, unseen) for each in (trained[:half], held[:part])]
    h, found = min(len(train), len(heldout)), {}
    mixed = trained if train.groups is None else trained[stream(seed, "privacy closest").permutation(len(trained))]
    for place, rows in sets.items():
        may_stop(poll)
        x = _features(world, rows)
        near = [_log_distance(each, x) for each in (trained[:half], held[:part])]
        known_scores, other_scores = (_scores(*each) for each in zip(near, usual, strict=True))
        attacks = {attack: _attack(known_scores[attack], other_scores[attack], *of) for attack in ATTACKS}
        found[place] = Exposure(attacks)
        if place != "real":
            nearer = float(closer(x, mixed[:h], held[:h]).mean())
            same = float(copies(row_digests(rows.rows), known).mean())
            found[place] = Exposure(attacks, of_share(nearer, len(rows)), of_share(same, len(rows)))
    counts = [len(np.unique(each)) for each in of if each is not None]
    groups = (counts[0], counts[1]) if len(counts) == 2 else None
    return Privacy(name, len(samples), training, half, part, groups, found)


def _halved(rows: RowSet, rng: np.random.Generator) -> tuple[Indices, int]:
    """Return an order of rows, and how many of them, about half, are the first half.

    Whole groups are in one half. A single group is in the first: nothing of another group is left to compare it with.
    """
    order = rng.permutation(len(rows)).astype(np.int64)
    if rows.groups is None:
        return order, len(rows) // 2
    if len(names := np.unique(rows.groups)) < 2:
        return order, len(rows)
    places = np.empty(len(names), np.int64)
    places[rng.permutation(len(names))] = np.arange(len(names))
    place = places[np.searchsorted(names, rows.groups[order])]
    ends = np.cumsum(np.bincount(place))[:-1]
    half = int(ends[np.abs(ends - len(rows) / 2).argmin()])
    return order[np.argsort(place, kind="stable")], half


def _features(world: World, rows: RowSet) -> Features:
    """Return standardised features, rounded so that equal rows are equal; principal components of wide rows."""
    x = np.asarray(world.space.forward(rows.rows), np.float64)
    return np.round(x if x.shape[1] <= WIDE else np.asarray(world.pca.transform(x), np.float64), 4)


def _log_distance(rows: Features, records: Features) -> Scores:
    return np.asarray(np.log(np.maximum(nearest_distance(rows, records), TINY)))


def _scores(near: Scores, usual: Scores) -> dict[str, Scores]:
    """Return the attacker's scores of rows, by attack, from log distances to samples and to other held-out rows."""
    return {"distance": -near, "calibrated": usual - near}


def _attack(members: Scores, others: Scores, of_members: Groups = None, of_others: Groups = None) -> Attack:
    value, error = area_with_error(members, others, of_members, of_others)
    known = [len(np.unique(of)) for of in (of_members, of_others) if of is not None]
    several = [count for count in known if count > 1]
    interval = around(value, error, least=0, most=1, quantile=of_groups(min(several) if several else None))
    right = members > np.quantile(others, 1 - FALSE_ALARMS, method="higher")
    share, effect = float(right.mean()), 1.0
    if of_members is not None and len(np.unique(of_members)) > 1 and 0 < share < 1:
        effect = mean_variance(right.astype(np.float64), of_members) / (share * (1 - share) / len(members))
    return Attack(value, error, interval, of_dependent_share(share, effect, len(members)))


def area_with_error(
    positive: Scores, negative: Scores, of_positive: Groups = None, of_negative: Groups = None
) -> tuple[float, float]:
    """Return the share of pairs that scores order rightly, ties count half, and its standard error over fresh rows.

    The error is that of a two-sample U-statistic [DeLong et al. 1988]. With the group of each score, two or more on a
    side, it is that of whole groups drawn anew [Obuchowski 1997].
    """
    both = np.concatenate([positive, negative])
    m, n = len(positive), len(negative)
    ranks, own = rankdata(both), (rankdata(positive), rankdata(negative))
    right = (ranks[:m] - own[0]) / n, 1 - (ranks[m:] - own[1]) / m
    variance = sum(_variance(each, of) for each, of in zip(right, (of_positive, of_negative), strict=True))
    return float(right[0].mean()), float(np.sqrt(variance))


def _variance(values: Scores, groups: Groups) -> float:
    if groups is None or len(np.unique(groups)) < 2:
        return float(values.var(ddof=1)) / len(values)
    return mean_variance(values, groups)
