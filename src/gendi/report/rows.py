"""The sections of a page about data that are no pictures: samples beside real rows, and metrics with gates."""

from gendi.report.gates import gate_table, gates_in_words
from gendi.report.page import Gallery, Html, absent, figure, fill, row, section
from gendi.report.portrait import against_figure, flat_map, map_figure, mean_variance_figure
from gendi.report.run import Run

UNMEASURED = "Not measured yet: run `gendi evaluate` on this run, then `gendi report` again."


def portrait_section(run: Run, gallery: Gallery) -> Html:
    """A map of samples and real rows together, and what their columns do."""
    text = [
        "Samples and held-out rows, which the model never saw, in one picture. Where the colours do not mix, the model "
        "misses something, or invents it.",
        "A map cannot show that samples are right: class means pass in many. The measures below can.",
    ]
    record = run.evaluation.portrait if run.evaluation is not None else None
    if record is None:
        return section("portrait", "Beside the real ones", text, [absent(run.problems.get("evaluation") or UNMEASURED)])
    how, real, fake = flat_map(record)
    drawn = gallery.figure(
        "portrait-map", lambda theme: map_figure(how, real, fake, theme=theme), f"{how} of real rows and samples"
    )
    spread = gallery.figure(
        "portrait-variance",
        lambda theme: mean_variance_figure(record, theme=theme),
        "Variance against mean of each column",
    )
    captions = f"{how} of {len(real):,} held-out rows and {len(fake):,} samples together."
    body = [row(figure(drawn, captions), figure(spread, "Each column's variance against its mean, as measured."))]
    pairs = []
    if record.zeros_real:
        zeros = gallery.figure(
            "portrait-zeros",
            lambda theme: against_figure(record.zeros_real, record.zeros_fake, "share of zeros", theme=theme),
            "Share of zeros of each column, samples against real",
        )
        pairs.append(figure(zeros, "Share of zeros of each column. On the line they agree."))
    if record.correlation_real:
        correlation = gallery.figure(
            "portrait-correlation",
            lambda theme: against_figure(record.correlation_real, record.correlation_fake, "correlation", theme=theme),
            "Correlations of pairs of columns, samples against real",
        )
        pairs.append(
            figure(correlation, "Correlations of pairs of columns. Their scatter is mostly that of so few rows.")
        )
    return section("portrait", "Beside the real ones", text, [*body, row(*pairs)])


def gates_section(run: Run) -> Html:
    """The table of metrics with floors, gates and controls."""
    text: list[object] = [
        fill(
            "Every number stands beside what <b>real rows</b> score in the samples' place, and passes where they "
            "would, but for one report in a hundred."
        ),
        "The last column is the worst of four fakes: class means, a Gaussian mixture, columns shuffled within "
        "their class, and copies of training rows.",
    ]
    if run.evaluation is None:
        why = run.problems.get("evaluation") or UNMEASURED
        return section("measures", "How good is it?", text, [absent(why)])
    notes = [fill('<p class="note">{note}</p>', note=note) for note in gates_in_words(run.evaluation)]
    return section("measures", "How good is it?", text, [gate_table(run.evaluation), fill("<div>{n}</div>", n=notes)])
