"""The metrics of cells and tables in words and numbers: value and interval, floor, gate, verdict, worst control."""

from gendi.evaluate.result import Evaluation, Metric
from gendi.report.metrics import Meaning, with_interval, written
from gendi.report.page import Html, figures_table, fill

MEANINGS = {
    "energy": Meaning("Energy distance", "How far apart the two clouds of rows are; chance can bring it below 0."),
    "mmd2": Meaning("Kernel distance (MMD²) × 1000", "The same question, answered by a Gaussian kernel.", ".2f", 1000),
    "sliced-wasserstein": Meaning(
        "Sliced Wasserstein distance", "How far samples must move to become real rows, seen along random directions."
    ),
    "wasserstein": Meaning(
        "Wasserstein distance", "How far each sample must move, on average, to become a real row of its own."
    ),
    "auc-forest": Meaning(
        "Random forest's AUC",
        "Can a random forest tell samples from real rows that it has not seen? 0.5 means no, 1 means always.",
        ".3f",
    ),
    "auc-logistic": Meaning("Logistic regression's AUC", "Can a weighted sum of columns tell them apart?", ".3f"),
    "mean-r": Meaning("Means, correlation", "Correlation of the columns' means with the real ones.", ".4f"),
    "mean-error": Meaning("Means, error", "Mean absolute difference between the columns' means and the real ones."),
    "variance-r": Meaning("Variances, correlation", "Correlation of the columns' variances with the real ones.", ".4f"),
    "variance-error": Meaning(
        "Variances, error", "Mean absolute difference between the columns' variances and the real ones."
    ),
    "zeros-r": Meaning("Zeros, correlation", "Correlation of the columns' shares of zeros with the real ones.", ".4f"),
    "zeros-error": Meaning(
        "Zeros, error", "Mean absolute difference between the columns' shares of zeros and the real ones."
    ),
    "zero-fraction": Meaning(
        "Zeros in total", "Share of zeros among the samples, minus their share among real rows.", ".2%"
    ),
    "depth": Meaning("Depth", "Largest gap between the distributions of row totals (Kolmogorov-Smirnov)."),
    "correlation-error": Meaning(
        "Correlations, error", "Mean absolute difference between the columns' correlations and the real ones.", ".4f"
    ),
    "tstr": Meaning(
        "Train on samples, test on real",
        "Share of real rows whose class is recognised by a classifier that learned from samples.",
        ".1%",
    ),
    "fold-change-slope": Meaning(
        "Fold changes, slope",
        "Size of the differences between classes: 1 is right, and below 1 the differences are washed out.",
        ".3f",
    ),
    "fold-change-r": Meaning("Fold changes, correlation", "Whether the right columns differ between classes.", ".3f"),
    "density": Meaning("Density", "How many real rows surround the samples; 1 is expected of a perfect model.", ".3f"),
    "coverage": Meaning("Coverage", "Share of real rows with a sample in their neighbourhood.", ".1%"),
    "closest-share": Meaning(
        "Nearer to training",
        "Share of samples nearer to a training row than to any of equally many held-out rows.",
        ".1%",
    ),
    "column-shapes": Meaning(
        "Column shapes (SDMetrics)", "Mean over columns of one minus the distance of their distributions.", ".3f"
    ),
    "pair-trends": Meaning(
        "Pair trends (SDMetrics)", "Mean over pairs of columns of the agreement of their correlation or shares.", ".3f"
    ),
    "length": Meaning("Lengths", "How far apart the distributions of the lengths of sequences are."),
    "composition": Meaning("Composition", "How far the frequencies of letters are from the real ones."),
    "kmers-2": Meaning("Pairs of neighbours", "How far the frequencies of pairs of neighbouring letters are."),
    "kmers-3": Meaning("Three in a row", "How far the frequencies of three neighbouring letters are."),
    "marginals": Meaning("Letters by place", "How far the frequencies of letters at each place are."),
    "pairs": Meaning(
        "Pairs of places", "How far the mutual information of letters at two places is from the real one."
    ),
    "closer": Meaning(
        "Nearer to training",
        "Share of new samples nearer to a training sequence than to any of equally many held-out ones.",
        ".1%",
    ),
    "bits-per-letter": Meaning(
        "Bits per letter", "How many bits the model needs for each letter of held-out sequences, at most.", ".3f"
    ),
    "class-energy": Meaning(
        "The worst class",
        "How far the samples of the worst class are from its real rows, over the most that chance would explain.",
        ".2f",
    ),
    "copies": Meaning("Copies", "Share of samples that equal a training row to the last digit.", ".1%"),
}
"""By the metric's name."""
AIMS = {"lower": "↓ lower is better", "higher": "↑ higher is better"}
HEADS = ("Samples", "Real rows", "Gate", "Worst control")


def gate_table(evaluation: Evaluation) -> Html:
    """Return the table of metrics with gates."""
    return figures_table("Metric", HEADS, [_row(metric) for metric in evaluation.metrics])


def gates_in_words(evaluation: Evaluation) -> list[Html]:
    """Return the notes below the table: gates passed, gates that caught each control, and the evaluation's notes."""
    judged = [metric for metric in evaluation.metrics if metric.passed is not None]
    failed = [_meaning(metric).title for metric in judged if not metric.passed]
    notes = [
        fill(
            "{k} of {m} gates passed{failed}. {n} samples are compared with {r} held-out rows of {data}; for the "
            "column of real rows, equally many real rows stand in the samples' place.",
            k=len(judged) - len(failed),
            m=len(judged),
            failed=f" (failed: {', '.join(failed)})" if failed else "",
            n=f"{evaluation.n:,}",
            r=f"{evaluation.reference_n:,}",
            data=evaluation.data,
        )
    ]
    caught = [
        f"{name}: {f'caught by {len(gates)} gates' if gates else 'not caught'}"
        for name, gates in evaluation.caught().items()
    ]
    notes.append(fill("Fakes that must be caught, evaluated in the same way: {caught}.", caught="; ".join(caught)))
    return notes + [fill("{note}", note=note) for note in evaluation.notes]


def _row(metric: Metric) -> Html:
    meaning = _meaning(metric)
    aim = AIMS.get(metric.better, f"→ {written(metric.ideal, 'g')} is best")
    worst = metric.worst_control
    control = Html("—")
    if worst is not None:
        v = written(metric.controls[worst], meaning.form, meaning.factor)
        control = fill('{v}<br><span class="aim">{name}</span>', v=v, name=worst)
    return fill(
        '<tr><th scope="row">{title} <span class="aim">{aim}</span><p>{text}</p></th><td class="number value">{value}'
        '</td><td class="number">{floor}</td><td class="number">{verdict}<br><span class="aim">{gate}</span></td>'
        '<td class="number">{control}</td></tr>',
        title=meaning.title,
        aim=aim,
        text=meaning.text,
        value=with_interval(metric.value, metric.interval, meaning),
        floor=with_interval(metric.floor, metric.floor_interval, meaning),
        gate=gate_in_words(metric, meaning),
        control=control,
        verdict=verdict(metric),
    )


def verdict(metric: Metric) -> str:
    """Return "pass" or "FAIL"; a dash where there is no gate or no value."""
    return "—" if metric.passed is None else "pass" if metric.passed else "FAIL"


def gate_in_words(metric: Metric, meaning: Meaning) -> str:
    """Return the range of values that pass; a dash where there is no gate."""
    if metric.gate is None:
        return "—"
    low, high = (written(end, meaning.form, meaning.factor) for end in metric.gate)
    return f"≤ {high}" if metric.gate[0] is None else f"≥ {low}" if metric.gate[1] is None else f"{low} to {high}"


def _meaning(metric: Metric) -> Meaning:
    if metric.name.startswith("tstr:"):
        column = metric.name.removeprefix("tstr:")
        text = f"Balanced accuracy on real rows of a classifier that learned {column} from samples."
        return Meaning(f"Train on samples: {column}", text, ".1%")
    if metric.name.startswith("r2:"):
        column = metric.name.removeprefix("r2:")
        text = f"Share of the variance of {column} in real rows that a random forest explains which learned it from "
        return Meaning(f"Train on samples: {column}, R²", text + "samples.", ".3f")
    return MEANINGS.get(metric.name, Meaning(metric.name, ""))
