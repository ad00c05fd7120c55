"""In which metrics the mean of other perturbations is as good as a prediction, and why."""

from collections.abc import Mapping, Sequence

from gendi.data.cells.scoring.compare import PREDICTION, Comparison
from gendi.data.cells.scoring.intervals import Floats, difference, interval_of
from gendi.data.cells.scoring.metrics import BETTER, LEAST

MEAN = "training mean"


def verdict(one: Mapping[str, Sequence[Floats]], other: Mapping[str, Sequence[Floats]], metric: str) -> str | None:
    """Return whether `one` is "better", "worse" or a "tie" with `other`; None where it cannot be told.

    Nothing is better than a distance that is not shown to be above that of the right distribution.
    """
    found = difference(BETTER[metric], one[metric], other[metric])
    if found is None:
        return None
    _, (low, high) = found
    if low <= 0 <= high:
        return "tie"
    if metric in LEAST:
        loser = interval_of(one[metric] if low > 0 else other[metric])
        if loser is None or loser[0] <= LEAST[metric]:
            return "tie"
    return "worse" if low > 0 else "better"


def explained(comparison: Comparison) -> list[str]:
    """Return sentences on what a model that predicts the mean change can do here, and no change at all."""
    values, lines = comparison.values, []
    prediction = values[PREDICTION]
    if MEAN in values:
        found = {metric: verdict(prediction, values[MEAN], metric) for metric in BETTER}
        won = [metric for metric, each in found.items() if each == "worse"]
        tied = [metric for metric, each in found.items() if each == "tie"]
        if better := [metric for metric, each in found.items() if each == "better"]:
            lines.append(f"The prediction is better than the training mean in {', '.join(better)}.")
        if won:
            lines.append(f"The training mean is better than the prediction in {', '.join(won)}.")
        if tied:
            lines.append(f"The training mean ties with the prediction, within the interval, in {', '.join(tied)}.")
        lines += _why([*won, *tied], comparison)
        how = (
            "all other conditions (leave one out), of which the model may have seen fewer"
            if comparison.one_out
            else ("the real conditions that were not predicted")
        )
        lines.append(f"The references were made from {how}.")
    nothing = [metric for metric in BETTER if verdict(prediction, values["control"], metric) in ("worse", "tie")]
    if nothing:
        lines.append(f"The prediction is not shown to be better than no change at all in {', '.join(nothing)}.")
    return lines


def _why(metrics: Sequence[str], comparison: Comparison) -> list[str]:
    """Return why a mean can be good in some metrics, in numbers of these data."""
    lines = []
    of = set(metrics)
    if shared := [m for m in ("pearson", "pearson-changed", "overlap") if m in of]:
        both, apart = comparison.common
        alike = (
            f"two conditions of a type have changes with a correlation of {both:.2f} on average ({apart:.2f} where "
            "each is compared with controls of its own: the rest is the chance in the mean of the controls, which all "
            "changes share)"
            if both == both
            else "perturbations of the same cells often change the same genes"
        )
        lines.append(
            f"Why {', '.join(shared)}: {alike}, and the mean of others predicts what they have in common. Whether a "
            "prediction tells conditions apart is seen in rank, where a mean is no better than chance."
        )
    if "mae" in of:
        lines.append(
            f"Why mae: {100 * (1 - comparison.changed):.0f}% of the genes are not shown to change, and each counts as "
            "much as a gene that does; a mean of many conditions has little noise in them."
        )
    if "slope" in of:
        lines.append("Why slope: the mean change has the usual size, and a size says nothing about which genes change.")
    if far := [m for m in ("energy", "mmd") if m in of]:
        lines.append(
            f"Why {', '.join(far)}: the cells of the training mean are real controls that were moved, which differ "
            f"from each other as real cells do; the predicted cells have {comparison.spread:.2f} times their variance."
        )
    return lines
