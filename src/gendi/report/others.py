"""The evaluations of a run that stand beside the newest one, in one small table."""

from collections.abc import Sequence

from gendi.evaluate.result import Evaluation
from gendi.report.metrics import MEANINGS, Meaning, best_fid, split_name, with_interval
from gendi.report.page import Html, figures_table, fill

HEADS = ("Metric", "Samples", "Floor")


def others_table(others: Sequence[Evaluation], weights: object = None) -> Html:
    """Return a table with one row for each evaluation; nothing if there is none.

    `weights` is the hash of the run's own weights: evaluations of other weights are marked.
    """
    if not others:
        return Html("")
    return figures_table("Evaluated before, otherwise", HEADS, [_row(each, weights) for each in others])


def _row(evaluation: Evaluation, weights: object) -> Html:
    metric = best_fid(evaluation) or next(iter(evaluation.metrics), None)
    meaning = MEANINGS.get(split_name(metric)[0], Meaning(metric.name, "")) if metric is not None else Meaning("", "")
    source = evaluation.source
    how = [f"{evaluation.n:,} samples"]
    if source.get("sampler") is not None:
        how.append(f"{source.get('steps')} calls of {source['sampler']}")
    how.append(f"seed {evaluation.seed}")
    if (guidance := source.get("guidance")) and isinstance(guidance, dict) and "scale" in guidance:
        how.append(f"guidance {guidance['scale']}")
    if weights is not None and source.get("weights") not in (None, weights):
        how.append("earlier weights")
    value = None if metric is None else metric.value
    return fill(
        '<tr{grey}><th scope="row">{how}</th><td class="number">{name}</td><td class="number value">{value}</td>'
        '<td class="number">{floor}</td></tr>',
        grey=Html("" if metric is None or metric.graded else ' class="nograde"'),
        how=", ".join(how),
        name="—" if metric is None else metric.name,
        value=with_interval(value, None if metric is None else metric.interval, meaning),
        floor=with_interval(
            None if metric is None else metric.floor, None if metric is None else metric.floor_interval, meaning
        ),
    )
