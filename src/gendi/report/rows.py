"""The sections of a page about data other than images: samples beside real rows, and metrics with gates."""

from collections.abc import Sequence

from gendi.report.by_class import by_class_in_words, by_class_table
from gendi.report.gates import gate_table, gates_in_words
from gendi.report.others import others_table
from gendi.report.page import Gallery, Html, absent, figure, fill, row, section
from gendi.report.portrait import against_figure, flat_map, map_figure, mean_variance_figure
from gendi.report.run import Run, advice


def portrait_section(run: Run, gallery: Gallery) -> Html:
    """Return the section with a map of samples and real rows together, and with statistics of their columns."""
    text = [
        "Samples stand beside held-out rows, which the model never saw. Where the colours do not mix, the model misses "
        "something or invents it.",
        "A map cannot show that samples are right: on many maps, mere class means look right too. The metrics below "
        "can.",
    ]
    record = run.evaluation.portrait if run.evaluation is not None else None
    if record is None:
        return section("portrait", "Beside the real ones", text, [absent(_why(run))])
    method, real, fake = flat_map(record)
    drawn = gallery.figure(
        "portrait-map", lambda theme: map_figure(method, real, fake, theme=theme), f"{method} of real rows and samples"
    )
    spread = gallery.figure(
        "portrait-variance",
        lambda theme: mean_variance_figure(record, theme=theme),
        "Variance against mean of each column",
    )
    caption = f"{method} of {len(real):,} held-out rows and {len(fake):,} samples together."
    body = [
        row(
            figure(drawn, caption),
            figure(spread, "Each column's variance against its mean, in the units of the metrics."),
        )
    ]
    pairs = []
    if record.zeros_real:
        zeros = gallery.figure(
            "portrait-zeros",
            lambda theme: against_figure(record.zeros_real, record.zeros_fake, "share of zeros", theme=theme),
            "Share of zeros of each column, samples against real",
        )
        pairs.append(figure(zeros, "Share of zeros in each column. On the line, both agree."))
    if record.correlation_real:
        correlation = gallery.figure(
            "portrait-correlation",
            lambda theme: against_figure(record.correlation_real, record.correlation_fake, "correlation", theme=theme),
            "Correlations of pairs of columns, samples against real",
        )
        pairs.append(
            figure(
                correlation,
                "Correlations of pairs of columns. Most of their scatter comes from the small number of rows.",
            )
        )
    return section("portrait", "Beside the real ones", text, [*body, row(*pairs)])


def gates_section(run: Run) -> Html:
    """Return the section with the table of metrics, floors, gates and controls."""
    text: list[object] = [
        fill(
            "Beside every number stands the number that <b>real rows</b> have in the samples' place. A metric passes "
            "its gate where real rows would; real rows fail a gate in one report of a hundred."
        ),
        fill("The last column shows the worst of the fakes that must be caught: {names}.", names=_fakes(run)),
    ]
    if run.evaluation is None:
        why = _why(run)
        return section("metrics", "How good is it?", text, [absent(why)])
    notes, classes = gates_in_words(run.evaluation), by_class_table(run.evaluation)
    body = [gate_table(run.evaluation), others_table(run.others), _noted(notes), classes]
    if classes:
        body.append(_noted(by_class_in_words(run.evaluation)))
    return section("metrics", "How good is it?", text, body)


def _noted(notes: Sequence[Html]) -> Html:
    return fill("<div>{n}</div>", n=[fill('<p class="note">{note}</p>', note=note) for note in notes])


def _fakes(run: Run) -> str:
    names = [] if run.evaluation is None else list(run.evaluation.caught())
    if not names or "class-means" in names:
        return "class means, a Gaussian mixture, columns shuffled within their class, and copies of training rows"
    return ", ".join(names)


def _why(run: Run) -> str:
    return run.problems.get("evaluation") or advice(run, "This run has no metrics yet.", "evaluate", "report")
