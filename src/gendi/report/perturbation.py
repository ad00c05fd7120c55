"""The page of a fitted model of perturbations: for each drug a volcano plot, and the curves of its strongest genes.

What is observed is log-fold changes of conditions against controls with their errors
(`gendi.data.cells.perturbation.shifts`); the p-value of a gene is that of the normal distribution of change over error,
two-sided. Curves are what the model predicts between the tested doses. Where treatments have no doses, what it says of
the strongest genes is drawn with its 95% interval. Of combinations, it is what their parts do alone against what they
do together. Of each drug, the controls, the treated cells and the predicted ones are shown in one plane
(`gendi.report.cell_plane`).
"""

import base64
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from scipy import stats

from gendi.api.perturbation import Perturbation
from gendi.api.perturbation.table import Z
from gendi.data.cells.perturbation.held_out import HeldOut
from gendi.data.cells.perturbation.unseen import Unseen, shown
from gendi.report.cell_plane import PCA, UMAP, draw_plane, in_plane
from gendi.report.page import Html, figure, fill, page, section
from gendi.report.style import DARK, LIGHT, Theme, drawing, png
from gendi.storage.files import atomic_write

MOST_DRUGS, MOST_COMBINATIONS, MOST_GENES, MOST_CELLS, POINTS = 8, 4, 4, 300, 40
LOG2 = float(np.log(2))


def write_perturbation_page(model: Perturbation, path: Path, data: str = "", plane: str = PCA) -> Path:
    """Write one page, which opens offline, and return its path.

    Args:
        model: a fitted model. One that was stored has no treated cells, and these are then not shown.
        path: where to.
        data: what the model was fitted to, for the title.
        plane: "umap" or "pca", how cells are laid out in a plane.

    Raises `ResourceError` if the disk refuses.
    """
    e, sections = model.experiment, []
    observed = sorted(set(model.effects.shifts.drugs.tolist()))
    drugs = [d for d in observed if d not in e.combinations]
    for d in drugs[:MOST_DRUGS]:
        name, (c, x) = e.drug_names[d], _strongest(model, d)
        place = [e.type_names[c]] * (len(e.type_names) > 1) + [f"dose {x:g}"] * e.dosed
        where = f" ({', '.join(place)}, where the cells differ most from their controls)" if place else ""
        text = [
            f"Each point is a gene{where}: how much it changes, and how surely.",
            "The curves are what the model predicts for the strongest genes; points are what was observed, with two "
            "standard errors."
            if e.dosed
            else "What the model says of the strongest genes, with its 95% interval, is beside what was observed, with "
            "two standard errors.",
        ]
        shown, title = (_curves, "Dose curves") if e.dosed else (_strongest_genes, "Strongest genes")
        body = [
            figure(_picture(partial(_volcano, model, d, c, x), f"Volcano plot of {name}"), "Genes"),
            figure(_picture(partial(shown, model, d, c), f"{title} of {name}"), title),
            *_cells(model, d, c, x, plane),
        ]
        sections.append((f"drug{d}", name, section(f"drug{d}", name, text, body)))
    combined = [d for d in observed if model.effects.is_sum(d)]
    sections += [_combination(model, d) for d in combined[:MOST_COMBINATIONS]]
    if model.held_out is not None and model.held_out.lines():
        sections.insert(0, _measured(model.held_out))
    if model.effects.unseen is not None:
        sections.append(_descriptors(model.effects.unseen))
    lead = (
        f"{len(e.singles):,} {e.kind}{'s' if len(e.singles) > 1 else ''}, "
        f"{len(e.type_names):,} type{'s' if len(e.type_names) > 1 else ''} and "
        f"{len(e.genes):,} genes; "
        f"{int(e.control.sum()):,} control and {int((~e.control).sum()):,} treated cells."
    )
    if len(drugs) > MOST_DRUGS:
        lead += f" The first {MOST_DRUGS} {e.kind}s are shown; effects.csv has all."
    if len(combined) > MOST_COMBINATIONS:
        lead += f" The first {MOST_COMBINATIONS} of {len(combined)} combinations are shown."
    hero = fill(
        '<div class="hero"><div class="hero-text"><p class="kind">gendi · a model of perturbed cells</p>'
        '<h1>{name}</h1><p class="lead">{lead}</p></div></div>',
        name=Path(data).stem or "perturbations",
        lead=lead,
    )
    atomic_write(path, page("Perturbed cells", hero, sections, f"Made by gendi from {data or 'an AnnData'}."))
    return path


def _cells(model: Perturbation, drug: int, cell_type: int, dose: float, plane: str) -> list[Html]:
    """Return the figure of control, treated and predicted cells; none where the model has no treated cells.

    Cells are predicted from every second control, and the others are shown: a moved cell is near to the one that it was
    made of, and neighbours would show that in place of the effect.
    """
    e = model.experiment
    treated, every = e.of(cell_type, drug, dose)[:MOST_CELLS], e.controls(cell_type, drug)[: 2 * MOST_CELLS]
    controls, others = every[::2], every[1::2]
    if not (treated.any() and len(others)):
        return []
    change = model.effects.dispersion_change(cell_type, drug, dose)
    moved = model.effects.moved(others, cell_type, model.effects.lfc(cell_type, drug, dose), 0, change)
    points, how = in_plane([controls, treated, moved], plane)
    names = [f"{len(controls):,} controls", f"{len(treated):,} treated cells", f"{len(moved):,} predicted cells"]
    said = "Cells, in a UMAP" if how == UMAP else "Cells, in the plane of the first two principal components"
    if how != plane:
        said += " (a UMAP needs the package umap-learn, and more than 30 cells)"
    said += "; the model was fitted to the treated ones"
    picture = _picture(partial(draw_plane, points, names, how), f"Cells under {e.drug_names[drug]} in a plane")
    return [figure(picture, said)]


def _combination(model: Perturbation, d: int) -> tuple[str, str, Html]:
    """Return the anchor, the title and the section of a combination that cells had."""
    e, (c, _) = model.experiment, _strongest(model, d)
    name, joint = e.drug_names[d], model.effects.joint
    text = [
        f"Each point is a gene of {e.type_names[c]}: the sum of what the parts do alone, and what was observed of both "
        "together. Genes on the line do not tell that the parts interact; those whose interaction is clear (two "
        "standard errors) have another colour."
    ]
    if joint is not None and joint.scale != 1:
        text.append(f"Over all combinations, the effect is {joint.scale:.2f} times this sum.")
    body = [figure(_picture(partial(_together, model, d, c), f"Sum and effect of {name}"), "Sum and effect")]
    return f"drug{d}", name, section(f"drug{d}", name, text, body)


def _together(model: Perturbation, drug: int, cell_type: int, theme: Theme) -> Figure:
    shifts, treatment = model.effects.shifts, model.experiment.combinations[drug]
    i = int(np.flatnonzero((shifts.drugs == drug) & (shifts.types == cell_type))[0])
    total, more, error = (part / LOG2 for part in model.effects.beyond(cell_type, treatment))
    clear = np.abs(more) > Z * np.maximum(error, 1e-9)
    y = shifts.y[i] / LOG2
    with drawing(theme) as (drawn, axes):
        axes.axline((0, 0), slope=1, color=theme.muted, linewidth=0.7)
        axes.scatter(total[~clear], y[~clear], s=6, color=theme.muted, linewidths=0)
        axes.scatter(total[clear], y[clear], s=10, color=theme.orange, linewidths=0)
        for g in np.argsort(-np.abs(more) * clear)[: min(MOST_GENES, int(clear.sum()))]:
            gene = model.experiment.genes[g]
            axes.annotate(gene, (total[g], y[g]), xytext=(3, 3), textcoords="offset points", fontsize=7)
        axes.set(xlabel="sum of the parts, log2 fold change", ylabel="observed together")
        axes.set_title(f"{int(clear.sum())} genes interact clearly")
    return drawn


def _measured(held_out: HeldOut) -> tuple[str, str, Html]:
    """Return the anchor, the title and the section about conditions that were held out."""
    title = "How well it does"
    text = [
        "Some conditions were held out, and the model was fitted once more without them. It explains this share of "
        "their squared changes; 1 is perfect and 0 is no better than no change, and intervals are 95%.",
        *(f"{line[0].upper()}{line[1:]}." for line in held_out.lines()),
        "Changes of means were compared, and not those of variances or correlations.",
    ]
    return "measured", title, section("measured", title, text, [])


def _descriptors(unseen: Unseen) -> tuple[str, str, Html]:
    """Return the anchor, the title and the section about drugs that no cell had."""
    own, mean = unseen.quality()
    text = [
        f"Drugs were left out of the fit, and their effects predicted from their descriptors: they correlate at "
        f"{shown(own)} with what cells show. The mean effect of the other drugs correlates at {shown(mean)}.",
        unseen.warning() or "Each drug that was left out is a point for both.",
    ]
    title = "Drugs that no cell had"
    picture = _picture(partial(_left_out, unseen), "Correlations of drugs that were left out")
    return "descriptors", title, section("descriptors", title, text, [figure(picture, "Drugs that were left out")])


def _left_out(unseen: Unseen, theme: Theme) -> Figure:
    own, mean = unseen.correlations
    order = np.argsort(-own, kind="stable")
    with drawing(theme) as (drawn, axes):
        axes.plot(own[order], "o", markersize=4, color=theme.blue, label="descriptors")
        axes.plot(mean[order], "o", markersize=3, color=theme.muted, label="mean effect")
        axes.axhline(0, color=theme.muted, linewidth=0.7)
        axes.set(xlabel="drugs that were left out", ylabel="correlation of effects")
        axes.legend(fontsize=7, loc="best", frameon=False)
    return drawn


def _picture(draw: Callable[[Theme], Figure], alt: str) -> Html:
    """Return markup that holds a figure in both themes."""
    light, dark = (base64.b64encode(png(draw(theme), theme)).decode() for theme in (LIGHT, DARK))
    return fill(
        '<picture><source media="screen and (prefers-color-scheme: dark)" srcset="data:image/png;base64,{dark}">'
        '<img src="data:image/png;base64,{light}" width="560" alt="{alt}"></picture>',
        light=light,
        dark=dark,
        alt=alt,
    )


def _strongest(model: Perturbation, drug: int) -> tuple[int, float]:
    """Return the type and the dose at which a drug's observed change is the largest."""
    shifts = model.effects.shifts
    own = np.flatnonzero(shifts.drugs == drug).tolist()
    sizes = [np.square(shifts.y[i] / np.sqrt(_variance(model, i))).mean() for i in own]
    best = own[int(np.argmax(sizes))]
    return int(shifts.types[best]), float(shifts.doses[best])


def _variance(model: Perturbation, condition: int) -> np.ndarray:
    shifts = model.effects.shifts
    scale = float(getattr(model.effects, "noise", 1.0))
    return np.asarray(np.maximum(scale * (shifts.variance[condition] + shifts.control_variance[condition]), 1e-12))


def _volcano(model: Perturbation, drug: int, cell_type: int, dose: float, theme: Theme) -> Figure:
    shifts = model.effects.shifts
    own = (shifts.drugs == drug) & (shifts.types == cell_type) & (shifts.doses == dose)
    i = int(np.flatnonzero(own)[0])
    change, z = shifts.y[i] / LOG2, np.abs(shifts.y[i]) / np.sqrt(_variance(model, i))
    height = -(stats.norm.logsf(z) + LOG2) / np.log(10)
    found = stats.false_discovery_control(np.minimum(10.0**-height, 1.0)) <= 0.05
    with drawing(theme) as (drawn, axes):
        axes.scatter(change[~found], height[~found], s=6, color=theme.muted, linewidths=0)
        axes.scatter(change[found], height[found], s=10, color=theme.orange, linewidths=0)
        for g in np.argsort(-height * found)[: min(MOST_GENES, int(found.sum()))]:
            axes.annotate(
                model.experiment.genes[g], (change[g], height[g]), xytext=(3, 3), textcoords="offset points", fontsize=7
            )
        axes.set(xlabel="log2 fold change", ylabel="-log10 p", title=f"{int(found.sum())} genes, false discoveries 5%")
    return drawn


def _curves(model: Perturbation, drug: int, cell_type: int, theme: Theme) -> Figure:
    e, shifts = model.experiment, model.effects.shifts
    tested = np.unique(shifts.doses[shifts.drugs == drug])
    grid = np.geomspace(tested[0], tested[-1], POINTS) if len(tested) > 1 else tested
    lines = np.stack([model.effects.lfc(cell_type, drug, float(x)) for x in grid]) / LOG2
    chosen = np.argsort(-np.abs(lines).max(0), kind="stable")[:MOST_GENES]
    own = np.flatnonzero((shifts.drugs == drug) & (shifts.types == cell_type)).tolist()
    with drawing(theme) as (drawn, axes):
        for g, colour in zip(chosen, theme.colours, strict=False):
            axes.plot(grid, lines[:, g], color=colour, label=e.genes[g])
            error = [2 * float(np.sqrt(_variance(model, i)[g])) / LOG2 for i in own]
            axes.errorbar(
                shifts.doses[own], shifts.y[own, g] / LOG2, error, fmt="o", markersize=3, elinewidth=1, color=colour
            )
        axes.set(xscale="log", xlabel="dose", ylabel="log2 fold change", title=e.type_names[cell_type])
        axes.legend(fontsize=7, loc="best", frameon=False)
    return drawn


def _strongest_genes(model: Perturbation, drug: int, cell_type: int, theme: Theme) -> Figure:
    shifts = model.effects.shifts
    lfc, error = model.effects.lfc(cell_type, drug, 1.0), model.effects.standard_error(cell_type, drug, 1.0)
    chosen = np.argsort(-np.abs(lfc), kind="stable")[: 2 * MOST_GENES][::-1]
    i = int(np.flatnonzero((shifts.drugs == drug) & (shifts.types == cell_type))[0])
    observed, own = shifts.y[i][chosen], 2 * np.sqrt(_variance(model, i)[chosen])
    at = np.arange(len(chosen))
    with drawing(theme) as (drawn, axes):
        for y, values, half, colour, label in (
            (at + 0.15, lfc[chosen], Z * error[chosen], theme.blue, "model"),
            (at - 0.15, observed, own, theme.orange, "observed"),
        ):
            axes.errorbar(values / LOG2, y, xerr=half / LOG2, fmt="o", markersize=4, color=colour, label=label)
        axes.axvline(0, color=theme.muted, linewidth=0.7)
        axes.set_yticks(at, [model.experiment.genes[g] for g in chosen])
        axes.set(xlabel="log2 fold change", title=model.experiment.type_names[cell_type])
        axes.legend(fontsize=7, loc="best", frameon=False)
    return drawn
