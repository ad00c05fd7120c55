"""Are two evaluations separable? Their metrics side by side, with ties called ties."""

from math import hypot
from typing import Literal, NamedTuple

from gendi.errors import UsageError
from gendi.evaluate.result import Evaluation, Interval, Metric

Z95 = 1.96
"""Two-sided 95% quantile of the standard normal distribution."""


class Difference(NamedTuple):
    """A metric of two evaluations on one scale."""

    name: str
    a: float | None
    b: float | None
    winner: Literal["a", "b"] | None
    """The better one; None for a tie, and where one of them has no value."""
    interval: Interval | None = None
    """95% interval of a - b; None where a standard error is missing, and the winner then goes by the values alone."""
    graded: bool = True
    """Whether the metric is a grade on these data. One that takes fakes for real rows has no winner and no ties."""

    @property
    def tie(self) -> bool:
        """Whether both have values, and neither is better than chance explains."""
        return self.graded and self.a is not None and self.b is not None and self.winner is None


def compare(a: Evaluation, b: Evaluation) -> list[Difference]:
    """Return the metrics of two evaluations side by side, and whether their intervals tell them apart.

    The evaluations are of samples drawn independently. Where both know the standard errors of a metric, the better
    one wins only if it is better by more than 1.96 of the difference's standard error, the root of the sum of both
    squares: two samplings of one model differ by so much once in twenty. Otherwise the metric is a tie. Evaluations
    of gendi 0.1.0 have no standard errors, and then the better value wins, unchecked. A metric that takes fakes for
    real rows on these data is no grade, and nobody wins it.

    Raises `UsageError` unless everything that fixes the scale is the same: data, n, reference, extractors and their
    hashes, and EMA if both evaluations know it. The error lists what differs.
    """
    differing = [
        f"{name} ({x} against {y})"
        for name, x, y in [
            ("data fingerprint", a.fingerprint[:12], b.fingerprint[:12]),
            ("n", a.n, b.n),
            ("reference split", a.reference_split, b.reference_split),
            ("reference n", a.reference_n, b.reference_n),
            ("seed of the reference", a.seed, b.seed),
        ]
        if x != y
    ]
    ours, theirs = ({r.name: r for r in e.extractors} for e in (a, b))
    if ours.keys() != theirs.keys():
        differing.append(f"extractors ({', '.join(ours)} against {', '.join(theirs)})")
    for name in ours.keys() & theirs.keys():
        if ours[name] != theirs[name]:
            differing.append(f"extractor {name} ({ours[name].sha256[:12]} against {theirs[name].sha256[:12]})")
    if a.classes and b.classes and a.classes.classifier_sha256 != b.classes.classifier_sha256:
        hashes = (found.classes.classifier_sha256[:12] for found in (a, b) if found.classes)
        differing.append(f"classifier ({' against '.join(hashes)})")
    if a.ema is not None and b.ema is not None and a.ema != b.ema:
        differing.append(f"EMA ({a.ema} against {b.ema})")
    if differing:
        raise UsageError(
            f"These evaluations are not on the same scale; they differ in {'; '.join(differing)}. Evaluate both with "
            "the same settings."
        )
    others = {m.name: m for m in b.metrics}
    return [_difference(m, others[m.name]) for m in a.metrics if m.name in others]


def _difference(a: Metric, b: Metric) -> Difference:
    if a.value is None or b.value is None:
        return Difference(a.name, a.value, b.value, None)
    if not (a.graded and b.graded):
        return Difference(a.name, a.value, b.value, None, graded=False)
    gap = a.loss(a.value) - a.loss(b.value)
    interval, margin = None, 0.0
    if a.standard_error is not None and b.standard_error is not None:
        margin = Z95 * hypot(a.standard_error, b.standard_error)
        interval = (a.value - b.value - margin, a.value - b.value + margin)
    winner: Literal["a", "b"] | None = None if abs(gap) <= margin else "a" if gap < 0 else "b"
    return Difference(a.name, a.value, b.value, winner, interval)
