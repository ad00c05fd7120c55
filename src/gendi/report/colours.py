"""The colours of pictures in words and numbers: value and interval, the real pictures' value, gate and verdict."""

from gendi.evaluate.result import Evaluation, Metric
from gendi.report.gates import gate_in_words, verdict
from gendi.report.metrics import Meaning, with_interval
from gendi.report.page import Html, figures_table, fill

MEANINGS = {
    "mean": Meaning("Mean", "Mean of the channel over all pixels, from 0 to 255.", ".1f"),
    "tint": Meaning("Tint", "The channel's mean minus the mean of red, green and blue.", ".1f"),
    "spread-of-means": Meaning(
        "Spread of means",
        "How much pictures differ in their mean colour; if it is too small, all look alike.",
        ".1f",
    ),
    "grey-balance": Meaning("Grey balance", "The tint of nearly grey pixels, where a faint cast shows first.", ".2f"),
    "saturation": Meaning(
        "Saturation", "Mean difference between the largest and the smallest colour of a pixel.", ".1f"
    ),
    "black-point": Meaning("Black point", "Mean of the darkest 0.5% of the channel's values.", ".1f"),
    "white-point": Meaning("White point", "Mean of the brightest 0.5% of the channel's values.", ".1f"),
    "blacks": Meaning("Blacks", "Share of values within 8 of 0; crushed blacks make it large.", ".1%"),
    "whites": Meaning("Whites", "Share of values within 8 of 255; blown whites make it large.", ".1%"),
}
"""By the metric's name, without the channel at its end."""
HEADS = ("Samples", "Real images", "Gate")


def colour_table(evaluation: Evaluation) -> Html:
    """Return the table of the metrics that have gates; nothing where there are none."""
    gated = [metric for metric in evaluation.metrics if metric.gate is not None]
    if not gated:
        return Html("")
    return figures_table("Colours", HEADS, [_row(metric) for metric in gated])


def colours_in_words(evaluation: Evaluation) -> list[Html]:
    """Return the notes on that table: the gates that failed, and what a gate is."""
    judged = [metric for metric in evaluation.metrics if metric.passed is not None]
    if not judged:
        return []
    failed = [_title(metric) for metric in judged if not metric.passed]
    return [
        fill(
            "{k} of {m} gates of colour passed{failed}. A gate is the range in which the value of as many real images "
            "would lie; they fail one gate or another in one evaluation of a hundred.",
            k=len(judged) - len(failed),
            m=len(judged),
            failed=f" (failed: {', '.join(failed)})" if failed else "",
        )
    ]


def _row(metric: Metric) -> Html:
    meaning, _ = _split(metric)
    return fill(
        '<tr><th scope="row">{title}<p>{text}</p></th><td class="number value">{value}</td>'
        '<td class="number">{floor}</td><td class="number">{verdict}<br><span class="aim">{gate}</span></td></tr>',
        title=_title(metric),
        text=meaning.text,
        value=with_interval(metric.value, metric.interval, meaning),
        floor=with_interval(metric.floor, metric.floor_interval, meaning),
        gate=gate_in_words(metric, meaning),
        verdict=verdict(metric),
    )


def _title(metric: Metric) -> str:
    meaning, channel = _split(metric)
    return f"{meaning.title}, {channel}" if channel else meaning.title


def _split(metric: Metric) -> tuple[Meaning, str]:
    """Return the meaning of a metric, and its channel, which is empty for a metric of all channels."""
    if metric.name in MEANINGS:
        return MEANINGS[metric.name], ""
    for name, meaning in MEANINGS.items():
        if metric.name.startswith(f"{name}-"):
            return meaning, metric.name.removeprefix(f"{name}-")
    return Meaning(metric.name, ""), ""
