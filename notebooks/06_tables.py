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
# # Tables
#
# A table has columns of different kinds: numbers, words, dates, yes and no, and gaps. This notebook trains a model of such a table, draws rows that look like the originals, cell by cell, and
# checks whether they *are* like them: column by column, in pairs of columns, and as training data for another model. It takes about a minute on two cores and needs `pip install "gendi[tables]"`.
#
# Reference: [Tables](../tables.md).

# %%
import tempfile
import time
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import gendi
from gendi.data.tables.example import mixed_table

started = time.time()
folder = Path(tempfile.mkdtemp())
table = mixed_table(2000)
table.head()

# %% [markdown]
# This table is made by formulas, so we know what is hidden in it: older people earn more, savings are exactly zero for many, blood pressure is missing more often for the old, `signal` and `echo` lie on a circle.
#
# ## From a row to numbers and back
#
# A network wants vectors of about variance 1. The usual trick (subtract the mean, divide by the deviation) fails for savings that are zero or large, for words and for gaps. gendi sends every column through its own distribution function to a standard normal number, and back through the same function: values, frequencies and gaps come out
# as they were, whatever the network does. Here is the idea for one column, in six lines:

# %% tags=["plain"]
from statistics import NormalDist


def to_scores(values, u):
    """Return normal scores of numbers: a tie is spread evenly (by u in [0, 1)) over its share of the distribution."""
    order = np.sort(values)
    low, high = np.searchsorted(order, values, "left"), np.searchsorted(order, values, "right")
    share = (low + u * (high - low)) / len(values)
    return np.array([NormalDist().inv_cdf(min(max(p, 1e-6), 1 - 1e-6)) for p in share])


def from_scores(scores, values):
    """Return the numbers at these normal scores: quantiles of the observed values."""
    share = np.array([NormalDist().cdf(z) for z in scores])
    return np.sort(values)[np.minimum((share * len(values)).astype(int), len(values) - 1)]


# %%
savings = table["savings"].to_numpy()
scores = to_scores(savings, np.random.default_rng(0).random(len(savings)))
figure, axes = plt.subplots(1, 2, figsize=(8, 2.6))
axes[0].hist(savings, 60), axes[0].set_title("savings"), axes[1].hist(scores, 60), axes[1].set_title("their scores")
print("exactly as they were:", bool((from_scores(scores, savings) == savings).all()))

# %% [markdown]
# ## Train, and draw

# %%
model = gendi.fit(table, out=folder / "people", seconds=25, quiet=True)
fake = gendi.sample(model, len(table), seed=1)
fake.head()

# %% [markdown]
# The columns, their order, their types and their formats are the same. Here is each column on its own:

# %%
figure, axes = plt.subplots(1, 4, figsize=(12, 2.7))
for panel, name in zip(axes, ("income", "savings", "region", "pressure"), strict=True):
    if name == "region":
        shares = [part[name].value_counts(normalize=True).sort_index() for part in (table, fake)]
        for shift, share in zip((-0.2, 0.2), shares, strict=True):
            panel.bar(np.arange(len(share)) + shift, share, 0.4)
        panel.set_xticks(range(len(shares[0])), shares[0].index, rotation=45, fontsize=7)
    else:
        both = [part[name].dropna().astype(float) for part in (table, fake)]
        panel.hist(both, 30, range=(both[0].min(), both[0].quantile(0.99)), density=True, label=("real", "made"))
    panel.set_title(name, fontsize=10)
axes[0].legend()
figure.tight_layout()
print(
    f"savings of zero: {(table.savings == 0).mean():.3f} and {(fake.savings == 0).mean():.3f}; pressure missing: {table.pressure.isna().mean():.3f} and {fake.pressure.isna().mean():.3f}"
)

# %% [markdown]
# This is no achievement: it is right by construction. What the network had to learn is how columns belong together.

# %%
figure, axes = plt.subplots(1, 4, figsize=(12, 3))
for panel, part, title in zip(axes[:2], (table, fake), ("real", "made"), strict=True):
    (
        panel.scatter(part.signal, part.echo, s=3, alpha=0.4),
        panel.set_title(f"signal and echo, {title}", fontsize=10),
        panel.set_aspect("equal"),
    )
for part, title in ((table, "real"), (fake, "made")):
    old = part.assign(decade=(part.age // 10 * 10).clip(20, 70)).groupby("decade")
    (
        axes[2].plot(old.income.median(), "o-", label=title),
        axes[3].plot(old.pressure.apply(lambda v: v.isna().mean()), "o-", label=title),
    )
(
    axes[2].set_title("median income by age", fontsize=10),
    axes[3].set_title("pressure missing by age", fontsize=10),
    axes[2].legend(),
)
figure.tight_layout()

# %% [markdown]
# ## Is it good? Is it safe?
#
# `gendi.measure` asks a random forest to tell generated rows from real ones (0.5 means that it cannot), trains a forest on generated rows and tests it on real ones, and looks for copies. Every value stands beside its floor, which is the same metric with real rows in the place of the generated ones:

# %%
print(gendi.measure(model, table, n=400).table())

# %% [markdown]
# A `closest-share` above one half means that generated rows are nearer to training rows than to others: the model has begun to learn rows by heart, which matters if they are about people. Less training or more rows help. It is a measurement, not a proof of privacy.
#
# ## Exercises
#
# **1.** Train with `--condition region` (in Python: a preset with the condition) and ask for a thousand islanders. Why is `score` missing in all of them?
#
# :::{admonition} Answer
# :class: dropdown
# In the data, `score` is never recorded on the islands. The network learned the gap as it learns everything else: whether a cell is there is a score of its own.
# :::
#
# **2.** Why can a generated income never exceed the largest real one? When would that be wrong?
#
# :::{admonition} Answer
# :class: dropdown
# The way back uses observed quantiles, so nothing lies beyond the extremes. For questions about extremes (floods, losses) that is wrong, and a model of the tail is needed.
# :::

# %%
print(f"This notebook took {time.time() - started:.0f} s.")
