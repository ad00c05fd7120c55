"""The sections of the page. Each is a function that turns a run into markup; where its material is missing, the
section says so."""

import numpy as np
import torch
from numpy.typing import NDArray

from gendi.diffusion.gaussian.schedule import make_schedule
from gendi.evaluate.nearest import nearest_images
from gendi.evaluate.result import ClassesRecord
from gendi.machine.stopping import Poll
from gendi.report import processes
from gendi.report.classes import class_figure
from gendi.report.colours import colour_table, colours_in_words
from gendi.report.confusion import MOST_NUMBERED, asked_in_words, confusion_figure
from gendi.report.curves import column, heldout_figure, loss_figure
from gendi.report.density import density_figure, process_pair
from gendi.report.evaluations import evaluation_row, verdict_text
from gendi.report.film import film, frames_of
from gendi.report.metrics import honesty, metric_table, written
from gendi.report.others import others_table
from gendi.report.page import Gallery, Html, absent, aside, figure, fill, row, section
from gendi.report.processes import Film
from gendi.report.run import Run, advice
from gendi.report.tiles import film as gif
from gendi.report.tiles import grid

GRID, FILM_ROWS, FILM_COLUMNS, STAGES, NEIGHBOURS, NEAREST = 64, 4, 8, 11, 8, 3


def math(letter: str, index: str = "") -> Html:
    """Return the markup of a variable, set as in mathematics, with an optional index."""
    sub = fill("<sub>{i}</sub>", i=index) if index else ""
    return fill('<i class="math">{letter}{sub}</i>', letter=letter, sub=sub)


X_T, X_0, X0_HAT, T = math("x", "t"), math("x", "0"), math("x̂", "0"), math("t")


def tile_side(images: NDArray[np.uint8], columns: int) -> int:
    """Return how many pixels wide a tile may be in a picture of `columns`; tiles in colour are smaller, as their files
    are larger."""
    return min(112 if images.shape[3] == 1 else 84, 1100 // columns)


def _guided(run: Run) -> str:
    """Return how strongly the samples were guided, in words; nothing where they were not, or by several scales."""
    guidance = None if run.drawn is None else run.drawn.guidance
    if guidance is None or guidance.scales or guidance.scale == 1:
        return ""
    return f", guidance {guidance.scale}"


def samples_section(run: Run, gallery: Gallery, film: Film | None) -> Html:
    """Return the section with the first 64 samples in their order."""
    images = run.samples if run.samples is not None else film.noisy[-1] if film is not None else None
    if images is None or not len(images):
        body = absent(_why(run, "samples", advice(run, "There are no samples yet.", "evaluate", "report")))
        return section("samples", "Samples", [], [body])
    n = min(GRID, len(images))
    shown = grid(images[:n], 8, side=tile_side(images, 8))
    picture = gallery.image("samples", shown, f"A grid of {n} samples")
    how = None if run.drawn is None else run.drawn.how
    calls = "" if how is None else f" Each took {how.steps} calls of the network ({how.sampler}{_guided(run)})."
    of = f" of {len(images):,}" if len(images) > n else ""
    text = [
        f"Samples 0 to {n - 1}{of}, in the order in which they were drawn.{calls}",
        "None was picked or left out, so failures are in view.",
    ]
    if "samples" in run.problems:
        text.append(f"The run's own samples could not be read, so these were drawn again: {run.problems['samples']}")
    return section("samples", "Samples", text, [picture])


def metrics_section(run: Run) -> Html:
    """Return the section with the table of metrics."""
    text: list[object] = [
        fill(
            "Every number stands beside its <b>floor</b>: the same metric with real images that the model never saw in "
            "the samples' place. No model is better than its floor, except by luck or by remembering."
        )
    ]
    if run.evaluation is None:
        why = _why(run, "evaluation", advice(run, "This run has no metrics yet.", "evaluate", "report"))
        return section("metrics", "How good is it?", text, [absent(why)])
    said = [*colours_in_words(run.evaluation), *honesty(run.evaluation, run.folder)]
    notes = [fill('<p class="note">{note}</p>', note=note) for note in said]
    weights = None if run.drawn is None else run.drawn.weights
    tables = [metric_table(run.evaluation), colour_table(run.evaluation), others_table(run.others, weights)]
    return section("metrics", "How good is it?", text, [*tables, fill("<div>{n}</div>", n=notes)])


def training_section(run: Run, gallery: Gallery) -> Html:
    """Return the section with the loss curves, and what the evaluations during training found."""
    text = [
        "The network learns to undo noise; the loss is its weighted squared error. It never reaches zero, because no "
        "network can know what the noise covers.",
        f"The held-out loss is computed from {run.noun} that are never trained on, always with the same noise and with "
        "the averaged weights. Its quarters divide the noise levels from the least to the most.",
    ]
    figures = []
    if len(column(run.lines, "loss")[0]) > 1:
        curve = gallery.figure(
            "loss", lambda theme: loss_figure(run.lines, theme=theme, noun=run.noun), "Training loss, log axis"
        )
        zoom = gallery.figure(
            "loss-zoom",
            lambda theme: loss_figure(run.lines, zoom=True, theme=theme, noun=run.noun),
            "Training loss, linear axis",
        )
        figures.append(
            row(
                figure(curve, "The whole training on a logarithmic axis: the logged loss (pale) and its running mean."),
                figure(zoom, "The last four fifths on a linear axis."),
            )
        )
    if len(column(run.lines, "heldout")[0]):
        heldout = gallery.figure(
            "heldout",
            lambda theme: heldout_figure(run.lines, theme=theme, noun=run.noun),
            "Held-out loss by noise level",
        )
        figures.append(aside(heldout, "Held-out loss: over all noise levels, and over each quarter of them."))
    if frames := frames_of(run.folder, run.lines):
        figures.append(film(frames, run.noun))
        text.append(
            "The film shows the previews made on the way: the same noises every time, turned into samples by the "
            "averaged weights."
        )
    if (evaluated := evaluation_row(run.lines, gallery, run.noun)) is not None:
        figures.append(evaluated)
        if (verdict := verdict_text(run.lines, run.noun)) is not None:
            text.append(verdict)
    none = "The run's metrics.jsonl holds no losses."
    if run.shipped is not None:
        none = "The curves of its training did not come with the model: the command at the end of the page makes them."
    return section("training", "Training", text, figures or [absent(none)])


def forward_section(run: Run, gallery: Gallery) -> Html:
    """Return the section that shows one image on its way into noise."""
    text = [
        fill(
            "The forward process {xt} = α{x0} + σε drowns an image in Gaussian noise. Nothing is learned here: a "
            "single step leads to any {t}.",
            xt=X_T,
            x0=X_0,
            t=T,
        )
    ]
    if run.bundle is None or run.data is None:
        what = "bundle" if run.bundle is None else "data"
        return section("forward", "Into noise", text, [absent(_why(run, what, "There is no trained model yet."))])
    times = torch.linspace(0, 1, STAGES, dtype=torch.float64)
    images = processes.forward_strip(run.bundle, run.data.heldout.batch([0])[0], times)
    picture = gallery.image(
        "forward", grid(images, STAGES, side=tile_side(images, STAGES)), "One image with more and more noise"
    )
    schedule = run.bundle.config.process.schedule
    caption = fill("A held-out image under the {name} schedule, from {t} = 0 to 1.", name=schedule, t=T)
    return section("forward", "Into noise", text, [figure(picture, caption, [f"{t:.1f}" for t in times])])


def density_section(run: Run, gallery: Gallery) -> Html:
    """Return the section on a one-dimensional distribution under the process, and under noise without scaling."""
    own = None
    if run.bundle is not None:
        own = run.bundle.schedule()
    elif run.config is not None and run.config.process.schedule != "learned":
        own = make_schedule(run.config.process.schedule, run.config.process.steps)
    preserving, exploding = process_pair(own)
    text: list[object] = [
        "The pictures show what happens to a distribution with two peaks. Colour is the exact density of a mixture of "
        "two Gaussians; dashed lines stand at ±2 standard deviations.",
        fill(
            "If the signal shrinks while noise is added, the <b>variance stays at 1</b>, and every distribution ends "
            "as the same standard normal. If the same noise is added without shrinking, the <b>variance explodes</b>, "
            "here to {v}.",
            v=f"{1 + exploding.variance:.1f}",
        ),
    ]
    kept = gallery.figure(
        "density-preserving",
        lambda theme: density_figure(preserving, theme=theme),
        "Density over time, scaled",
        gradients=True,
    )
    grown = gallery.figure(
        "density-exploding",
        lambda theme: density_figure(exploding, theme=theme),
        "Density over time, unscaled",
        gradients=True,
    )
    body = row(
        figure(
            kept, fill("With scaling ({name}): {x} = α{x0} + σε, α² + σ² = 1.", name=preserving.name, x=X_T, x0=X_0)
        ),
        figure(grown, fill("Without: {x} = {x0} + √({t} · {v}) ε.", x=X_T, x0=X_0, t=T, v=f"{exploding.variance:.1f}")),
    )
    return section("density", "Why the signal shrinks", text, [body])


def reverse_section(run: Run, gallery: Gallery, film: Film | None) -> Html:
    """Return the section on the way from noise to samples: a strip of one sample, and a film of many."""
    text: list[object] = [
        fill(
            "Sampling starts from pure noise. At every step the network predicts the clean image, {guess}, and the "
            "sampler moves a little towards it.",
            guess=X0_HAT,
        ),
        "Early predictions are blurred means of all possible images; details come last.",
    ]
    if film is None:
        return section("reverse", "Out of noise", text, [absent(_why(run, "bundle", "There is no trained model yet."))])
    stages = np.unique(np.linspace(0, film.steps, STAGES).round().astype(int))
    pair = np.concatenate([film.noisy[stages, 0], film.guesses[stages, 0]])
    strip = gallery.image(
        "reverse", grid(pair, len(stages), side=tile_side(pair, len(stages))), "One sample emerging from noise"
    )
    caption = fill(
        "Sample 0: {xt} above, the network's prediction {guess} below; the numbers are {t}.",
        xt=X_T,
        guess=X0_HAT,
        t=T,
    )
    n = FILM_ROWS * FILM_COLUMNS
    side = 56 if film.noisy.shape[-1] == 1 else 32
    moving = gallery.film(
        "reverse-grid",
        gif(list(film.noisy[:, :n]), FILM_COLUMNS, side=side),
        grid(film.noisy[-1, :n], FILM_COLUMNS, side=side, gap=2),
        f"{n} samples emerging from noise",
    )
    return section(
        "reverse",
        "Out of noise",
        text,
        [
            figure(strip, caption, [f"{film.times[i]:.2f}" for i in stages]),
            figure(moving, f"Samples 0 to {n - 1} in {film.steps} steps of {film.sampler}."),
        ],
    )


def classes_section(run: Run, gallery: Gallery) -> Html | None:
    """Return the section on the classes of the samples; None for data without classes."""
    record = run.evaluation.classes if run.evaluation is not None else None
    if record is None:
        if run.evaluation is None and run.data is not None and run.data.class_names:
            unknown = "The classes of the samples are not known yet."
            why = _why(run, "evaluation", advice(run, unknown, "evaluate", "report"))
            return section("classes", "Classes", [], [absent(why)])
        return None
    assert run.evaluation is not None, "it has the record"
    n, asked = sum(record.histogram), asked_in_words(run.evaluation)
    seen = record.expected is not None
    frequencies = np.asarray(record.expected if record.expected is not None else record.frequencies)
    picture = gallery.figure(
        "classes",
        lambda theme: class_figure(record.histogram, frequencies, record.names, theme=theme),
        "Share of samples in each class",
    )
    text = ["A faithful model draws every class as often as it occurs in the training set, apart from chance."]
    if record.right is not None:
        text[0] += f" This classifier is right on {_right(record)} of real held-out images."
    text += asked
    how = ""
    if record.told:
        how = " They were drawn class by class, so these shares are right by construction, and no merit of the model."
    elif asked:
        how = " They were drawn without a class, so that the model itself chose."
    caption = (
        f"Bars: the classes of {n:,} samples, according to the classifier.{how} Crosses: "
        + ("the shares that it sees in real images" if seen else "the shares in the training set")
        + ", and the range into which 95 of 100 such sets of faithful draws would fall."
    )
    body = [aside(picture, caption)]
    if record.confusion is not None:
        confusion = record.confusion
        darker = "" if len(confusion) <= MOST_NUMBERED else ": the darker a square, the more, and the darkest is 100"
        matrix = gallery.figure(
            "asked-seen",
            lambda theme: confusion_figure(confusion, record.names, theme=theme),
            "Classes that were asked for against classes that are seen",
        )
        caption = (
            f"Asked against seen, in percent of the samples asked to be of a class ({sum(map(sum, confusion)):,} in "
            f"all){darker}. What is off the diagonal is a mistake of the model, or of the classifier."
        )
        body.append(aside(matrix, caption))
    return section("classes", "Classes", text, body)


def _right(record: ClassesRecord) -> str:
    """Return the share of real pictures that the classifier names right, with its interval where it is known."""
    value = written(record.right, ".1%")
    if record.right_interval is None:
        return value
    return f"{value} ({' to '.join(written(end, '.1%') for end in record.right_interval)})"


def neighbours_section(run: Run, gallery: Gallery, film: Film | None, poll: Poll | None = None) -> Html:
    """Return the section with the training images nearest to the first samples."""
    text = [
        "Has the model learned, or does it remember? Below each sample stand the training images that are most like "
        "it, pixel by pixel.",
        "A copy would have a distance near 0.",
    ]
    samples = run.samples if run.samples is not None else film.noisy[-1] if film is not None else None
    if samples is None or run.data is None or samples.shape[1:] != run.data.train.rows.shape[1:]:
        missing = "data" if run.data is None else "samples"
        why = _why(run, missing, "There are no samples that can be compared with the training images.")
        return section("neighbours", "Nearest neighbours", text, [absent(why)])
    queries = samples[:NEIGHBOURS]
    distance, index = nearest_images(queries, run.data.train.rows, NEAREST, poll=poll)
    nearest = run.data.train.batch(index.T.reshape(-1))
    columns = len(queries)
    side = tile_side(samples, 8)
    above = gallery.image("neighbours-samples", grid(queries, columns, side=side), f"{columns} samples")
    below = gallery.image("neighbours", grid(nearest, columns, side=side), "Their nearest training images")
    caption = (
        f"Their {index.shape[1]} nearest training images, the closest first. The numbers are the distances of the "
        "closest ones (Euclidean, with pixels from 0 to 1)."
    )
    if run.evaluation is not None and run.evaluation.memorisation is not None:
        record = run.evaluation.memorisation
        ours, real = record.median, record.heldout_median
        caption += f" Their median over all samples is {ours:.2f}; over unseen real images it is {real:.2f}."
    body = [
        figure(above, f"Samples 0 to {columns - 1}"),
        figure(below, caption, [f"{d:.2f}" for d in distance[:, 0]]),
    ]
    return section("neighbours", "Nearest neighbours", text, body)


def _why(run: Run, what: str, otherwise: str) -> str:
    return run.problems.get(what) or otherwise
