# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---


# %% [markdown]
# # Single cells
#
# A cell is a vector of counts: how many molecules of each gene were seen. This notebook trains a model of 700 blood cells, asks it for cells of one type, and then spends most of its time on the question that matters: *how far can you trust them?*
# It takes about a minute on two cores and needs `pip install "gendi[cells]"`.
#
# Reference: [Single cells](../cells.md), [Measuring](../measuring.md).

# %%
import tempfile
import time
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import gendi
import gendi.cells
from gendi.data.cells.demo import demo_anndata

started = time.time()
folder = Path(tempfile.mkdtemp())
cells = demo_anndata()
gendi.cells.setup_anndata(cells, labels_key="bulk_labels")
print(cells)

# %% [markdown]
# Two things make counts different from pixels. They are whole numbers, most of them zero; and the *depth* of a cell, the sum of its counts, says more about the machine than about the cell.

# %%
counts = cells.X.toarray()
print(
    f"{100 * (counts == 0).mean():.0f}% of the counts are zero; depths go from {counts.sum(1).min()} to {counts.sum(1).max()}"
)
mean, variance = counts.mean(0), counts.var(0)
figure, axes = plt.subplots(figsize=(4.4, 3.4))
(
    axes.loglog(mean, variance, ".", ms=3, label="genes"),
    axes.loglog(mean, mean, "k--", lw=1, label="Poisson: variance = mean"),
)
axes.set_xlabel("mean"), axes.set_ylabel("variance"), axes.legend()

# %% [markdown]
# The variance is larger than the mean: counts are more spread out than pure chance of counting would make them. A *negative binomial* distribution has that extra spread. gendi's default model gives every gene such a distribution in every class, given the depth, and leaves
# the rest (which genes go up and down together, in which cells) to a diffusion. So zeros, depths and variances are right by construction, and the network has only the dependence to learn.
#
# ## Train, and draw

# %%
model = gendi.fit(cells, out=folder / "cells", condition="bulk_labels", seconds=20, quiet=True)
made = gendi.sample(model, n=len(cells), seed=0)
print(made)

# %% [markdown]
# The result is an AnnData that goes beside the real one. Let us look at both in the first two principal components of the real cells.

# %%


def logs(adata):
    """Return log counts per ten thousand, (n, genes)."""
    values = np.asarray(adata.layers["counts"].todense() if "counts" in adata.layers else adata.X.todense(), float)
    return np.log1p(1e4 * values / values.sum(1, keepdims=True))


real, fake = logs(cells), logs(made)
centre = real.mean(0)
_, _, directions = np.linalg.svd(real - centre, full_matrices=False)
names = list(cells.obs["bulk_labels"].cat.categories)
figure, axes = plt.subplots(1, 2, figsize=(9, 4), sharex=True, sharey=True)
for panel, rows, labels, title in zip(
    axes, (real, fake), (cells.obs, made.obs), ("real cells", "made cells"), strict=True
):
    at = (rows - centre) @ directions[:2].T
    for k, name in enumerate(names):
        chosen = (labels["bulk_labels"] == name).to_numpy()
        panel.scatter(*at[chosen].T, s=5, color=plt.cm.tab10(k), label=name)
    panel.set_title(title)
axes[1].legend(fontsize=7, bbox_to_anchor=(1, 1))
figure.tight_layout()

# %% [markdown]
# ## Ask for a type
#
# The label is a condition. Here are a hundred B cells, and the genes that should tell them from the rest:

# %%
wanted = "CD19+ B"
b_cells = gendi.sample(model, n=100, seed=1, condition={"bulk_labels": wanted})
is_b = (cells.obs["bulk_labels"] == wanted).to_numpy()
difference = real[is_b].mean(0) - real[~is_b].mean(0)
for gene in np.argsort(-difference)[:5]:
    print(
        f"{cells.var_names[gene]:10s} real B cells {real[is_b, gene].mean():.2f}, other cells {real[~is_b, gene].mean():.2f}, made B cells {logs(b_cells)[:, gene].mean():.2f}"
    )

# %% [markdown]
# ## How far to trust them
#
# A picture of two clouds proves little. `gendi.measure` compares generated cells with held-out cells, by many metrics. Each metric stands beside its *floor*, the value that real cells reach in the place of the generated ones, and beside the values of four kinds of fakes, which must be caught:

# %%
evaluation = gendi.measure(made, cells, n=len(cells))
print(evaluation.table())

# %% [markdown]
# Read it in this order. Is every fake caught? If not, the metric says nothing here, and there is no grade. Is the value within the gate, the range in which real cells fall? And last, `closest-share`: it is 0.5 if generated cells are as near to held-out cells as to training cells. Much above that
# means that the model has begun to copy its 700 cells.
#
# ## What is it good for?
#
# Generated cells hold no more information than the real ones they were learned from. They are useful where real cells cannot be shared, where a tool needs many cells of a known type to be tested, and, with [perturbations](../perturbation.md), where the question is what a cell *would* look like.
# They are not evidence: a *p*-value from generated cells is a *p*-value about the model.
#
# ## Exercises
#
# **1.** Ask for cells of twice the depth (`--condition depth` in training, `condition={"depth": ...}` in sampling). Which of the metrics should notice?
#
# :::{admonition} Answer
# :class: dropdown
# `depth` compares library sizes and fails. Genes are compared at equal depth, so means and variances hardly change; the share of zeros falls.
# :::
#
# **2.** Train for 3 seconds instead of 20, and measure again. Which numbers hardly change?
#
# :::{admonition} Answer
# :class: dropdown
# Means, variances and zeros: they come from the distributions of the genes, not from the network. Only what concerns several genes at once becomes worse.
# :::

# %%
print(f"This notebook took {time.time() - started:.0f} s.")
