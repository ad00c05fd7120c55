"""The metrics of images in words and numbers: what each one means, and what it may be compared with."""

import math
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from gendi.evaluate.fakes import fakes_in_words
from gendi.evaluate.result import GENDI_REPORT, GENDI_REPORT_SAMPLES, Better, Evaluation, Interval, Metric
from gendi.report.page import Html, figures_table, fill
from gendi.report.words import in_words


class Meaning(NamedTuple):
    """How a metric is shown: its title, an explanation in a sentence or two, and the format of its numbers."""

    title: str
    text: str
    form: str = ".3g"
    """Format of `factor` times the number."""
    factor: float = 1


MEANINGS = {
    "fid": Meaning(
        "Fréchet distance (FID)",
        "How far the features of the samples are from those of the training images, each taken as a Gaussian: blur, "
        "artefacts and missing variety all add to it.",
        ".2f",
    ),
    "latent-floor": Meaning(
        "Latent floor",
        "The Fréchet distance of real held-out images that the model's autoencoder encoded and decoded: what a perfect "
        "model of its latents would reach.",
        ".2f",
    ),
    "reconstruction-psnr": Meaning(
        "Reconstruction (dB)",
        "How well real held-out images come back from the model's autoencoder: the peak signal-to-noise ratio.",
        ".1f",
    ),
    "fid-infinity": Meaning(
        "Fréchet distance at infinity",
        "The Fréchet distance extrapolated to infinitely many samples, so that it does not depend on their number; "
        "chance can bring it below 0.",
        ".2f",
    ),
    "kid": Meaning(
        "Kernel distance (KID) × 1000",
        "The same question without the assumption of Gaussians. It is unbiased, so chance can bring it below 0.",
        ".2f",
        1000,
    ),
    "precision": Meaning("Precision", "Share of samples that lie where real images are.", ".1%"),
    "recall": Meaning("Recall", "Share of real images that lie where samples are.", ".1%"),
    "density": Meaning(
        "Density",
        "How many real images surround the samples; 1 is expected of a perfect model.",
        ".3f",
    ),
    "coverage": Meaning("Coverage", "Share of real images with a sample in their neighbourhood.", ".1%"),
    "asked-seen": Meaning(
        "Asked and seen",
        "Share of samples in which the classifier sees the class that was asked for; the floor is its share of right "
        "answers on real held-out images of these classes.",
        ".1%",
    ),
    "confidence": Meaning("Classifier confidence", "How sure the classifier is of its answers, on average.", ".2%"),
    "class-entropy": Meaning(
        "Class entropy",
        "How evenly the classes that the classifier sees are spread, in nats. The floor is what it would see, on "
        "average, in as many real images with the training set's shares.",
        ".3f",
    ),
    "class-chi-square": Meaning(
        "Class chi-square",
        "How much the shares of the classes deviate from those that the classifier sees in real images.",
        ".1f",
    ),
    "class-p-value": Meaning(
        "Class p-value",
        "Probability of such a deviation by chance alone, which is one half on average for real images; if it is "
        "small, the classes are out of balance.",
        ".2g",
    ),
    "nearest-train-ratio": Meaning(
        "Nearest-neighbour ratio",
        "Distance of samples to their nearest training image, divided by that of unseen images: 1 is right. If it is "
        "too small, the model remembers training images, or blurs, as blurred images are near to everything; if it is "
        "too large, samples are unlike any training image.",
        ".3f",
    ),
    "near-copies": Meaning(
        "Near-copies", "Share of samples that are nearer to a training image than 99 of 100 unseen images are.", ".1%"
    ),
}
"""By the metric's name without its features' name, in the order of the table."""

AIMS: dict[Better, str] = {
    "lower": "↓ lower is better",
    "higher": "↑ higher is better",
    "closest": "→ {ideal} is best",
}
GROUPS = {
    "inception": "On Inception features, the usual scale for photographs",
    "digits": "On features of gendi's own digit classifier",
    "learned": "On features of a network that learned from these data",
    "pixels": "On raw pixels",
}


def written(value: float | None, form: str, factor: float = 1) -> str:
    """Return `factor` times a number in the format `form`; an em dash stands for None and for infinite numbers."""
    if value is None or not math.isfinite(value):
        return "—"
    return f"{value * factor:{form}}".replace("%", " %").replace("-", "−")


def with_interval(value: float | None, interval: Interval | None, meaning: Meaning) -> Html:
    """Return a number, and its 95% interval in a line below it if it has one."""
    number = fill("{v}", v=written(value, meaning.form, meaning.factor))
    if interval is None or value is None:
        return number
    low, high = (written(end, meaning.form, meaning.factor) for end in interval)
    return fill('{v}<br><span class="aim">{low} to {high}</span>', v=number, low=low, high=high)


def split_name(metric: Metric) -> tuple[str, str]:
    """Split a metric's name: `fid-digits` gives ("fid", "digits"), and `confidence`, without features, gives
    ("confidence", "")."""
    base, _, features = metric.name.rpartition("-")
    if base and features == metric.extractor:
        return base, features
    return metric.name, ""


def best_fid(evaluation: Evaluation) -> Metric | None:
    """Return the Fréchet distance to show first: the one on Inception features, if the evaluation has it. One that is
    no grade comes last."""
    every = [m for m in evaluation.metrics if split_name(m)[0] == "fid" and m.value is not None]
    found = {split_name(m)[1]: m for m in every if m.graded} or {split_name(m)[1]: m for m in every}
    return found.get("inception") or next(iter(found.values()), None)


def metric_table(evaluation: Evaluation) -> Html:
    """Return the table of metrics, grouped by features: value, floor, and the GENDI report's figure for MNIST.

    Metrics with gates are not in it; `gendi.report.colours` has them.
    """
    about_mnist = evaluation.data == "mnist"
    groups: dict[str, list[Metric]] = {}
    order = {name: i for i, name in enumerate(MEANINGS)}
    shown = [metric for metric in evaluation.metrics if metric.gate is None]
    checked = any(metric.check is not None or metric.no_grade for metric in shown)
    for metric in sorted(shown, key=lambda m: order.get(split_name(m)[0], len(order))):
        groups.setdefault(split_name(metric)[1], []).append(metric)
    body: list[Html] = []
    for features in sorted(groups, key=lambda name: (name != "inception", name == "", name)):
        name = GROUPS.get(features, f"On features of {features}") if features else "On classes and single images"
        head = '<tr class="group"><th colspan="{n}" scope="rowgroup">{name}</th></tr>'
        body.append(fill(head, n=3 + about_mnist + checked, name=name))
        body += [_row(metric, about_mnist, checked) for metric in groups[features]]
    heads = ("Samples", "Floor", *(("GENDI report",) if about_mnist else ()), *(("As real?",) if checked else ()))
    return figures_table("Metric", heads, body)


def _row(metric: Metric, about_mnist: bool, checked: bool) -> Html:
    meaning = MEANINGS.get(split_name(metric)[0], Meaning(metric.name, ""))
    theirs = (
        fill('<td class="number">{v}</td>', v=written(metric.report, meaning.form, meaning.factor))
        if about_mnist
        else Html("")
    )
    return fill(
        '<tr{grey}><th scope="row">{title} <span class="aim">{better}</span><p>{text}{words}</p></th>'
        '<td class="number value">{value}</td><td class="number">{floor}</td>{theirs}{asked}</tr>',
        grey=Html("" if metric.graded else ' class="nograde"'),
        title=meaning.title,
        text=meaning.text,
        words=fill(" <b>{words}</b>", words=words) if (words := _in_words(metric)) else Html(""),
        better=AIMS[metric.better].format(ideal=written(metric.ideal, ".4g")),
        value=with_interval(metric.value, metric.interval, meaning),
        floor=with_interval(metric.floor, metric.floor_interval, meaning),
        theirs=theirs,
        asked=_asked(metric, meaning) if checked else Html(""),
    )


def _in_words(metric: Metric) -> str:
    return f"No grade: {metric.no_grade}." if metric.no_grade else in_words(metric, split_name(metric)[0])


def _asked(metric: Metric, meaning: Meaning) -> Html:
    """Return the cell that says whether samples pass as real images, or why the metric cannot tell."""
    check = metric.check
    if metric.no_grade:
        return fill('<td class="number">no grade</td>')  # why, the words on the metric say
    if check is None:
        return fill('<td class="number">—</td>')
    if check.missed:
        fakes = fakes_in_words(check.missed)
        return fill(
            '<td class="number">no grade<br><span class="aim wide">takes {fakes} for real images</span></td>',
            fakes=fakes,
        )
    low, high = (written(end, meaning.form, meaning.factor) for end in check.gate)
    gate = f"≤ {high}" if check.gate[0] is None else f"≥ {low}" if check.gate[1] is None else f"{low} to {high}"
    verdict = "—" if check.passed is None else "pass" if check.passed else "FAIL"
    # The gate is for other samples and another reference than the value of the row: what was measured there decides.
    there, here = (written(value, meaning.form, meaning.factor) for value in (check.value, metric.value))
    if check.value is not None and there != here:
        gate = f"{there} is {gate}" if check.passed else f"{there} is not {gate}"
    return fill('<td class="number">{v}<br><span class="aim">{g}</span></td>', v=verdict, g=gate)


def honesty(evaluation: Evaluation, run: Path) -> Sequence[Html]:
    """Return the notes below the table of a run's evaluation: what the numbers depend on, and which of them may be
    compared.
    """
    has_inception = any(record.name == "inception" for record in evaluation.extractors)
    notes = [
        fill(
            "{n} samples are compared with {m} {split} images; for the floor, {f} real {unseen} images stand in the "
            "samples' place. The second lines are 95% intervals: differences within them are ties. All of these "
            "metrics depend on the number of images, so compare them only at the same n.",
            n=f"{evaluation.n:,}",
            m=f"{evaluation.reference_n:,}",
            split="training" if evaluation.reference_split == "train" else evaluation.reference_split,
            f=f"{evaluation.floor_n:,}",
            unseen="held-out" if evaluation.floor_split == "heldout" else evaluation.floor_split,
        )
    ]
    notes += _of_checks(evaluation)
    if evaluation.data == "mnist":
        notes.append(
            fill(
                "The GENDI report gives an FID of {fid} on Inception features and a mean confidence of {confidence} "
                "for {n} samples. {inception} Its confidence comes from another classifier, so that comparison is a "
                "rough one.",
                fid=f"{GENDI_REPORT['fid-inception']:.2f}",
                confidence=written(GENDI_REPORT["confidence"], ".2%"),
                n=f"{GENDI_REPORT_SAMPLES:,}",
                inception=Html(
                    "Distances on other features are on other scales, so compare only the Inception row with it."
                )
                if has_inception
                else fill(
                    "Distances on other features are on other scales and cannot be compared with it; "
                    "<code>gendi evaluate {run} --extractor inception</code> computes the one that can.",
                    run=shlex.quote(str(run)),
                ),
            )
        )
    notes += [fill("{note}", note=note) for note in evaluation.notes]
    if evaluation.extractors:
        hashes = ", ".join(f"{r.name} {r.sha256[:12]} (resize: {r.resize})" for r in evaluation.extractors)
        text = "SHA-256 of the feature networks: {hashes}. Seed {seed}."
        notes.append(fill(text, hashes=hashes, seed=evaluation.seed))
    return notes


def _of_checks(evaluation: Evaluation) -> list[Html]:
    """Return the note on the last column, where there is one."""
    checks = [metric.check for metric in evaluation.metrics if metric.check is not None]
    checks = [check for check in checks if "noise" in check.controls]  # others, of copies and classes, use all
    sizes = sorted({check.n for check in checks})
    if not sizes:
        return []
    return [
        fill(
            "“As real?” says whether {n} samples lie where as many real images would; real ones fail some row of a "
            "group in one evaluation of a hundred. Every metric on features was asked about fakes first, {n} of each "
            "kind: {fakes}. One that takes any of them for real images is no grade on these data, and is greyed out.",
            n=" or ".join(f"{size:,}" for size in sizes),
            fakes=fakes_in_words(checks[0].controls),
        )
    ]
