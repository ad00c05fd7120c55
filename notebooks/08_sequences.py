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
# # Sequences
#
# Letters cannot be blurred. In *discrete* diffusion noise replaces a letter by a mask, and a network learns what was under it. This notebook writes masked diffusion in plain PyTorch, for sequences whose distribution is known, so that every claim can be checked: the bound against the entropy, the samples against the truth.
# It takes about a minute on two cores.
#
# Reference: [Sequences](../sequences.md).

# %%
import math
import time

import matplotlib.pyplot as plt
import torch
from torch import nn

torch.manual_seed(0)
started = time.time()

# %% [markdown]
# ## A world of letters
#
# Sequences of twelve letters from A, C, G and T, where each letter depends on the one before it (a *Markov chain*): C is nearly always followed by G, A and T mostly by another of the same kind, and after G every letter is equally likely.

# %%
from gendi.diffusion.discrete.exact import MarkovDenoiser
from gendi.diffusion.discrete.process import Absorbing
from gendi.diffusion.discrete.schedules import make_token_schedule

LETTERS, LENGTH = "ACGT", 12
transition = torch.tensor(
    [[0.7, 0.1, 0.1, 0.1], [0.02, 0.04, 0.92, 0.02], [0.25, 0.25, 0.25, 0.25], [0.1, 0.1, 0.1, 0.7]],
    dtype=torch.float64,
)
exact = MarkovDenoiser(
    Absorbing(4, make_token_schedule("linear")), torch.full((4,), 0.25, dtype=torch.float64), transition
)
data = exact.sample(20_000, LENGTH, torch.Generator().manual_seed(0))


def text(row):
    """Return a row of numbers as letters; a mask is a dot."""
    return "".join((LETTERS + ".")[k] for k in row)


print(*map(text, data[:6]))

# %% [markdown]
# ## Noise, and the loss
#
# Choose how many letters are hidden, $n$, evenly from 1 to $L$, and which ones at random. The network sees the rest and predicts a distribution for each hidden place. The loss is
#
# $$\frac{1}{n} \sum_{\text{hidden } i} -\log p_\theta(x^i \mid \text{the rest})$$
#
# Its mean, times $L$, is an upper bound on $-\log p(x)$, the cost of a sequence if its letters are sent in a random order. There is no other noise level than "how many are hidden", and the network can see that for itself.

# %% tags=["plain"]
MASK = 4


def hide(x, n, u):
    """Return x (B, L) with n (B,) of its letters hidden, the ones with the least u (B, L), and which ones are hidden."""
    hidden = u.argsort(1).argsort(1) < n[:, None]
    return torch.where(hidden, MASK, x), hidden


def any_order_loss(network, x, n, u):
    """Return the loss of each row (B,): mean cost in nats of a hidden letter."""
    seen, hidden = hide(x, n, u)
    cost = nn.functional.cross_entropy(network(seen).transpose(1, 2), x, reduction="none")
    return (cost * hidden).sum(1) / n


class Reader(nn.Module):
    """A small network that sees two letters further on each side with every layer, and says probabilities for each place, (B, L, 4)."""

    def __init__(self, width=96, layers=3):
        super().__init__()
        self.letter = nn.Embedding(5, width)
        self.layers = nn.ModuleList(
            nn.Sequential(
                nn.GroupNorm(1, width), nn.Conv1d(width, width, 5, padding=2), nn.SiLU(), nn.Conv1d(width, width, 1)
            )
            for _ in range(layers)
        )
        self.last = nn.Conv1d(width, 4, 1)

    def forward(self, x):
        h = self.letter(x).transpose(1, 2)
        for layer in self.layers:
            h = h + layer(h)
        return self.last(h).transpose(1, 2)


# %%
network = Reader()
adam = torch.optim.AdamW(network.parameters(), 3e-3)
STEPS = 1000
schedule = torch.optim.lr_scheduler.OneCycleLR(adam, 3e-3, total_steps=STEPS, pct_start=0.1)
losses = []
for _ in range(STEPS):
    x = data[torch.randint(len(data), (192,))]
    value = any_order_loss(network, x, torch.randint(1, LENGTH + 1, (192,)), torch.rand(x.shape)).mean()
    adam.zero_grad(), value.backward(), adam.step(), schedule.step()
    losses.append(value.item())

# %% [markdown]
# ## Against the truth
#
# The entropy of this chain is a formula. No model can have a smaller bound on new sequences, and the best possible network (here exact too, by the forward-backward algorithm) has just that.

# %%
new = exact.sample(4000, LENGTH, torch.Generator().manual_seed(1))
with torch.no_grad():
    costs = any_order_loss(network.eval(), new, torch.arange(4000) % LENGTH + 1, torch.rand(new.shape))
    bits = float(costs.mean()) / math.log(2)
print(
    f"the network needs {bits:.3f} bits per letter (a bound); the entropy is {exact.entropy(LENGTH) / LENGTH / math.log(2):.3f}"
)

# %% [markdown]
# ## Drawing
#
# Start from nothing but masks. In each step lift some of them: ask the network, and draw each of these letters from its predicted distribution. The letters of one step are drawn *independently* of each other, although they may depend on one another. So fewer steps make larger errors, and the network is not to blame for them.

# %% tags=["plain"]


@torch.no_grad()
def draw(laws, n, length, steps, generator=None):
    """Return n sequences, drawn in so many steps by laws(x) -> (n, length, 4) probabilities."""
    x = torch.full((n, length), MASK)
    order = torch.rand((n, length), generator=generator).argsort(1).argsort(1)
    for k in range(steps):
        p = laws(x)
        letters = torch.multinomial(p.reshape(-1, 4), 1, generator=generator).reshape(n, length)
        now = (order * steps // length == k) & (x == MASK)
        x = torch.where(now, letters, x)
    return x


# %%


def learned(x):
    """Return what the trained network says."""
    return network(x).softmax(2)


def best(x):
    """Return what the best possible network says."""
    return exact(x, torch.tensor(0.5)).exp()


def followers(x):
    """Return how often each letter follows each other one, (4, 4)."""
    pairs = torch.bincount((4 * x[:, :-1] + x[:, 1:]).flatten(), minlength=16).reshape(4, 4).double()
    return pairs / pairs.sum(1, keepdim=True)


wrong = {}
for name, laws in (("network", learned), ("best possible", best)):
    for steps in (1, 2, 4, 12):
        made = draw(laws, 2000, LENGTH, steps, torch.Generator().manual_seed(2))
        wrong[name, steps] = float((followers(made) - transition).abs().sum(1).mean() / 2)
figure, axes = plt.subplots(figsize=(5.6, 3.2))
for name in ("network", "best possible"):
    axes.plot([1, 2, 4, 12], [wrong[name, n] for n in (1, 2, 4, 12)], "o-", label=name)
axes.set_xlabel("steps (12 letters)"), axes.set_ylabel("error of what follows what"), axes.legend()

# %% [markdown]
# In one step nothing is known when the letters are drawn: C is followed by G only as often as G occurs anywhere. With one step for each letter the samples have the right distribution, and the remaining error is that of the network and of a set of 2000 samples.
#
# ## Filling in
#
# Given letters are letters that are not hidden, so a model that can draw can also fill in. No further training is needed:

# %%
given = "A...C..T...A"
x = torch.tensor([(LETTERS + ".").index(c) for c in given]).expand(8, -1)
for _ in range(LENGTH):
    hidden = (x == MASK).double()
    if hidden.sum() == 0:
        break
    chosen = torch.multinomial(hidden, 1)  # one hidden place in each row
    with torch.no_grad():
        letter = torch.multinomial(learned(x)[torch.arange(8), chosen[:, 0]], 1)
    x = x.scatter(1, chosen, letter)
print(given, *map(text, x), sep="\n")

# %% [markdown]
# After a C there is nearly always a G, although the network was given no rule, only examples.
#
# ## With the library
#
# `gendi.fit` does the same with a better network, for files of any letters, and `gendi.bits_per_letter` and `gendi.measure` say how good it is:
#
# ```python
# model = gendi.fit("seqs.fasta", out="runs/seqs", seconds=300)
# gendi.sample(model, n=10, infill="ACD??F")
# ```
#
# ## Exercises
#
# **1.** Why is the number of hidden letters drawn evenly, although almost all of a sequence is then hidden half of the time?
#
# :::{admonition} Answer
# :class: dropdown
# In a random order each letter is sent once, and before it 0, 1, ..., L - 1 others were sent. Each of these cases occurs equally often, so each number of hidden letters must.
# :::
#
# **2.** Draw with the likeliest letters first instead of in a random order. What happens to the entropy of the samples?
#
# :::{admonition} Answer
# :class: dropdown
# It falls: places of which the network is sure come first, and what comes later is pulled towards the typical. Each sample looks better on its own, but their distribution is wrong at any number of steps.
# :::

# %%
print(f"This notebook took {time.time() - started:.0f} s.")
