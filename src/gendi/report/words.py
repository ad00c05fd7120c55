"""What a metric's value means beside its floor, in words: whether 2.20 against 0.25 is good."""

import math

from gendi.evaluate.result import Metric

DISTANCES = ("fid", "fid-infinity", "kid")
SHARES = ("precision", "recall", "density", "coverage", "confidence")
CLOSE, SOME = 2.0, 5.0
"""How many times the floor a distance may be to count as close, and as some way off. These are words, and no test."""
CLOSE_SHARE, SOME_SHARE = 0.95, 0.8
"""The same of shares, of which more is better, as parts of the floor."""


def in_words(metric: Metric, base: str) -> str:
    """Return a sentence about a metric, or an empty text where there is nothing to compare.

    Args:
        metric: the metric.
        base: its name without that of its features.
    """
    value, floor = metric.value, metric.floor
    if not metric.graded or base not in DISTANCES + SHARES or value is None or floor is None:
        return ""
    if not (math.isfinite(value) and math.isfinite(floor)):
        return ""
    higher = metric.better == "higher"
    if (value >= floor if higher else value <= floor) or _overlap(metric):
        if metric.check is not None and metric.check.passed is False:  # it knows more than the intervals of few rows
            return "Worse than as many real images, as far as these numbers can tell."
        return "As good as real images, as far as these numbers can tell."
    if floor <= 0:
        return "Worse than real images."
    ratio = value / floor
    if higher:
        how = "Close to" if ratio >= CLOSE_SHARE else "Some way below" if ratio >= SOME_SHARE else "Far below"
        return f"{how} real images, at {ratio:.0%} of their score."
    how = "Close to" if ratio <= CLOSE else "Some way from" if ratio <= SOME else "Far from"
    return (
        f"{how} real images: {ratio:.1f} times the floor."
        if ratio < 10
        else f"{how} real images: {ratio:.0f} times the floor."
    )


def _overlap(metric: Metric) -> bool:
    """Return whether the intervals of value and floor have a point in common."""
    if metric.interval is None or metric.floor_interval is None:
        return False
    return metric.interval[0] <= metric.floor_interval[1] and metric.floor_interval[0] <= metric.interval[1]
