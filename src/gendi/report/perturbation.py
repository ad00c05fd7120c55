"""The page of a fitted model of perturbations: a volcano plot for each drug, and dose curves of its strongest genes.

What is observed is log-fold changes of conditions against controls with their errors
(`gendi.data.cells.perturbation.shifts`); the p-value of a gene is that of the normal distribution of change over error,
two-sided. Curves are what the model predicts between the tested doses.
"""

import base64
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from scipy import stats

from gendi.api.perturbation import Perturbation
from gendi.report.page import Html, figure, fill, page, section
from gendi.report.style import DARK, LIGHT, Theme, drawing, png
from gendi.storage.files import atomic_write

MOST_DRUGS, MOST_GENES, POINTS = 8, 4, 40
LOG2 = float(np.log(2))


def write_perturbation_page(model: Perturbation, path: Path, data: str = "") -> Path:
    """Write one page, which opens offline, and return its path. Raises `ResourceError` if the disk refuses."""
    e, sections = model.experiment, []
    drugs = sorted(set(model.effects.shifts.drugs.tolist()))
    for d in drugs[:MOST_DRUGS]:
        name, (c, x) = e.drug_names[d], _strongest(model, d)
        text = [
            f"Each point is a gene of {e.type_names[c]} at dose {x:g}, where the cells differ most from their "
            "controls: how much it changes, and how surely.",
            "The curves are what the model predicts for the strongest genes; points are what was observed, with two "
            "standard errors.",
        ]
        body = [
            figure(_picture(partial(_volcano, model, d, c, x), f"Volcano plot of {name}"), "Genes"),
            figure(_picture(partial(_curves, model, d, c), f"Dose curves of {name}"), "Dose curves"),
        ]
        sections.append((f"drug{d}", name, section(f"drug{d}", name, text, body)))
    lead = (
        f"{len(e.drug_names):,} drugs, {len(e.type_names):,} types and {len(e.genes):,} genes; "
        f"{int(e.control.sum()):,} control and {int((~e.control).sum()):,} treated cells."
    )
    if len(drugs) > MOST_DRUGS:
        lead += f" The first {MOST_DRUGS} drugs are shown; effects.csv has all."
    hero = fill(
        '<div class="hero"><div class="hero-text"><p class="kind">gendi · a model of perturbed cells</p>'
        '<h1>{name}</h1><p class="lead">{lead}</p></div></div>',
        name=Path(data).stem or "perturbations",
        lead=lead,
    )
    atomic_write(path, page("Perturbed cells", hero, sections, f"Made by gendi from {data or 'an AnnData'}."))
    return path


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
