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
# # A complete DDPM in plain PyTorch
#
# This notebook writes a denoising diffusion model from nothing but PyTorch: first for points in the plane, then for handwritten digits, then for the gene expression of blood cells, where we
# ask for a cell type. It takes about a minute on two cores. The code is as short as it can be; one of gendi's tests compares it with the library, number for number.
#
# The mathematics is in [Foundations](../book/foundations.md). Here are the four lines that matter:
#
# $$x_t = \sqrt{\bar\alpha_t}\, x_0 + \sqrt{1 - \bar\alpha_t}\, \epsilon \qquad \text{(destroy)}$$
#
# $$\text{loss} = \left\| \epsilon - \epsilon_\theta(x_t, t) \right\|^2 \qquad \text{(learn)}$$
#
# $$\mu = \frac{1}{\sqrt{\alpha_t}} \left( x_t - \frac{\beta_t}{\sqrt{1 - \bar\alpha_t}}\, \epsilon_\theta(x_t, t) \right) \qquad \text{(repair)}$$
#
# $$x_{t-1} = \mu + \sqrt{\tilde\beta_t}\, z \qquad \text{(and add a little noise again)}$$

# %%
import math
import time

import matplotlib.pyplot as plt
import numpy as np
import torch
from torch import nn

torch.manual_seed(0)
started = time.time()

# %% [markdown]
# ## The process
#
# A chain of $T$ steps is a table of betas and what follows from it. The paper's betas grow from 0.0001 to 0.02 over $T = 1000$ steps; for fewer steps each has to do more, so they are multiplied by
# $1000 / T$. Tables are kept in double precision. Entry 0 of `abar` is 1: step 0 is the data.

# %% tags=["plain"]
T = 200
betas = torch.linspace(1e-4, 0.02, T, dtype=torch.float64) * (1000 / T)
alphas = 1 - betas
abar = torch.cat([torch.ones(1, dtype=torch.float64), alphas.cumprod(0)])


def shaped(values, x):
    """Return one number per row in x's type, with as many axes as x has."""
    return values.to(x).reshape(-1, *[1] * (x.ndim - 1))


def destroy(x_0, step, noise):
    """Return x_t for steps (B,) from 1 to T."""
    return shaped(abar[step].sqrt(), x_0) * x_0 + shaped((1 - abar[step]).sqrt(), x_0) * noise


def loss(network, x_0, step, noise, **condition):
    """Return the squared error of the predicted noise, a mean over rows and numbers (Algorithm 1)."""
    return (noise - network(destroy(x_0, step, noise), step, **condition)).square().mean()


def repair(predicted, x, step, noise):
    """Return x_{t-1} from x_t and the predicted noise in it (one step of Algorithm 2)."""
    beta, alpha, now, before = betas[step - 1], alphas[step - 1], abar[step], abar[step - 1]
    mean = (x - (beta / (1 - now).sqrt()).to(x) * predicted) / alpha.sqrt().to(x)
    spread = (beta * (1 - before) / (1 - now)).sqrt()  # beta-tilde, which is 0 at the last step
    return mean + spread.to(x) * noise


# %% [markdown]
# `sample` is Algorithm 2: begin with noise, and repair $T$ times.


# %% tags=["plain"]
@torch.no_grad()
def sample(network, shape, keep=()):
    """Return samples of a shape; and what they were at the steps in `keep`."""
    x, kept = torch.randn(shape), []
    for step in range(T, 0, -1):
        predicted = network(x, torch.full((shape[0],), step))
        x = repair(predicted, x, step, torch.randn(shape))
        if step - 1 in keep:
            kept.append(x.clone())
    return (x, kept) if keep else x


# %% [markdown]
# ## Points in the plane
#
# A network for points is a small multilayer perceptron. It must know how noisy its input is, so the step enters as sines and cosines of several frequencies (a bare number from 1 to 200 would be hard to read for it).


# %% tags=["plain"]
def embedding(step, dim):
    """Return sinusoidal features (B, dim) of steps (B,), scaled as if there were 1000 of them."""
    frequencies = torch.exp(-math.log(10_000) * torch.arange(dim // 2) / (dim // 2))
    angles = (step * (1000 / T))[:, None] * frequencies
    return torch.cat([angles.cos(), angles.sin()], 1)


class Perceptron(nn.Module):
    """Predicts the noise in vectors; `classes` = 0 means without a condition, and the last class means "any"."""

    def __init__(self, features, width=128, classes=0):
        super().__init__()
        self.label = nn.Embedding(classes + 1, 64) if classes else None
        self.time = nn.Sequential(nn.Linear(64, width), nn.SiLU())
        self.first = nn.Linear(features, width)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.SiLU()) for _ in range(3)
        )
        self.last = nn.Linear(width, features)

    def forward(self, x, step, label=None):
        e = embedding(step, 64)
        if self.label is not None:
            e = e + self.label(label)
        e, h = self.time(e), self.first(x)
        for block in self.blocks:
            h = h + block(h + e)
        return self.last(h)


# %% [markdown]
# Training is Algorithm 1: some rows, a step for each, noise for each, a gradient step on the error. An exponential moving average of the weights (EMA) gives better samples than the last weights, which still fluctuate.

# %%
from gendi.data.toy import world


def train(network, batches, steps, lr=2e-3):
    """Train and return the losses; the network ends with its averaged weights."""
    adam = torch.optim.Adam(network.parameters(), lr=lr)
    schedule = torch.optim.lr_scheduler.OneCycleLR(adam, lr, total_steps=steps, pct_start=0.05)
    averaged = torch.optim.swa_utils.AveragedModel(
        network, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.995)
    )
    losses = []
    for _ in range(steps):
        x_0, condition = batches()
        step = torch.randint(1, T + 1, (len(x_0),))
        value = loss(network, x_0, step, torch.randn_like(x_0), **condition)
        adam.zero_grad(), value.backward(), adam.step(), schedule.step()
        averaged.update_parameters(network)
        losses.append(value.item())
    network.load_state_dict(averaged.module.state_dict())
    return losses


points = torch.from_numpy(world("swissroll").points(10_000)[0]).float()
network = Perceptron(2)
losses = train(network, lambda: (points[torch.randint(len(points), (512,))], {}), 1000)
made, kept = sample(network, (1500, 2), keep=(150, 100, 50, 20, 0))

figure, axes = plt.subplots(1, 6, figsize=(12, 2.2), sharex=True, sharey=True)
for place, rows, title in zip(
    axes, [*kept, points[:1500]], ["t = 150", "100", "50", "20", "0: samples", "data"], strict=True
):
    place.scatter(*rows.T, s=2, alpha=0.5), place.set_title(title), place.set_aspect("equal")
    place.set_xlim(-2.8, 2.8), place.set_ylim(-2.8, 2.8)

# %% [markdown]
# The loss of a diffusion model never goes to zero: part of the noise cannot be known. In this world we can say how much, because the best possible prediction is a formula.

# %%
from gendi.diffusion import make_schedule
from gendi.diffusion.gaussian.process import eps_from_x0

chain = make_schedule("linear", T)
exact = world("swissroll").denoiser(chain)


def best(x, step):
    """Return the best prediction of the noise, E[eps | x_t]."""
    times = step.double() / T
    return eps_from_x0(x.double(), exact(x.double(), times), *chain(times)).float()


with torch.no_grad():
    x_0, step = points[:4000], torch.randint(1, T + 1, (4000,))
    noise = torch.randn_like(x_0)
    print(
        f"loss of the network {loss(network, x_0, step, noise):.4f}, of the best prediction {loss(best, x_0, step, noise):.4f}"
    )

# %% [markdown]
# ## Handwritten digits
#
# The process stays the same; only the network changes. Pictures have neighbours, so the network is a small U-Net: convolutions at two sizes, with a bridge between them. To stay within a minute the digits are shrunk to 14 by 14 pixels.

# %%
from gendi.data import open_data
from gendi.errors import GendiError

try:
    digits = open_data("mnist").train
    images = torch.from_numpy(digits.batch(range(20_000))).float()[..., 0] / 127.5 - 1
    images = nn.functional.avg_pool2d(images[:, None], 2)
except GendiError as error:
    images = None
    print(f"There are no digits here, so this part is left out. {error}")

# %% tags=["plain"]


class Block(nn.Module):
    """Two convolutions around which the input goes on unchanged; the step shifts the channels."""

    def __init__(self, into, out):
        super().__init__()
        self.one, self.two = nn.Conv2d(into, out, 3, padding=1), nn.Conv2d(out, out, 3, padding=1)
        self.norm1, self.norm2 = nn.GroupNorm(8, into), nn.GroupNorm(8, out)
        self.time, self.past = nn.Linear(64, out), nn.Conv2d(into, out, 1)

    def forward(self, x, e):
        h = self.one(nn.functional.silu(self.norm1(x))) + self.time(e)[:, :, None, None]
        return self.past(x) + self.two(nn.functional.silu(self.norm2(h)))


class UNet(nn.Module):
    """Predicts the noise in pictures (B, 1, 14, 14)."""

    def __init__(self, width=32):
        super().__init__()
        self.first = nn.Conv2d(1, width, 3, padding=1)
        self.down, self.middle, self.up = Block(width, width), Block(width, 2 * width), Block(3 * width, width)
        self.last = nn.Sequential(nn.GroupNorm(8, width), nn.SiLU(), nn.Conv2d(width, 1, 3, padding=1))

    def forward(self, x, step):
        e = embedding(step, 64)
        fine = self.down(self.first(x), e)
        coarse = self.middle(nn.functional.avg_pool2d(fine, 2), e)
        joined = torch.cat([fine, nn.functional.interpolate(coarse, scale_factor=2)], 1)
        return self.last(self.up(joined, e))


# %%
if images is not None:
    unet = UNet()
    train(unet, lambda: (images[torch.randint(len(images), (64,))], {}), 400)
    made = sample(unet, (40, 1, 14, 14))
    grid = made.reshape(4, 10, 14, 14).permute(0, 2, 1, 3).reshape(56, 140)
    figure, axes = plt.subplots(figsize=(8, 3.4))
    axes.imshow(grid.clamp(-1, 1), cmap="gray"), axes.axis("off")

# %% [markdown]
# Some seconds of training give strokes and the first digits. `gendi train mnist` does the same with a better network, better weights of the loss and a better sampler, and draws good digits after eight minutes.
#
# ## Gene expression, and a condition
#
# A blood cell is described here by the expression of 765 genes. We ask for a *cell type*: the network is told the label, and in one of ten rows the label is replaced by "any". So it learns to predict with and without the label, and at
# sampling time the difference can be exaggerated by a scale $w$ (*classifier-free guidance*; $w = 1$ is the plain conditional model):
#
# $$\epsilon = \epsilon(x_t, \text{any}) + w \left( \epsilon(x_t, c) - \epsilon(x_t, \text{any}) \right)$$
#
# Genes go up and down together, so the cells are described by their 30 principal components first; each is scaled to variance 1.

# %%
try:
    from gendi.data.cells.demo import demo_anndata

    cells = demo_anndata()
    counts, types = cells.X.toarray(), cells.obs["bulk_labels"].astype("category")
    names, label = list(types.cat.categories), torch.tensor(types.cat.codes.to_numpy().astype(np.int64))
    logs = torch.from_numpy(np.log1p(1e4 * counts / counts.sum(1, keepdims=True))).float()
except GendiError as error:
    logs = None
    print(f"There are no cells here, so this part is left out. {error}")


# %% tags=["plain"]
def guided(network, label, anything, scale):
    """Return a prediction with classifier-free guidance, as a function of x and the step."""

    def predict(x, step):
        without = network(x, step, label=torch.full_like(label, anything))
        return without + scale * (network(x, step, label=label) - without)

    return predict


# %%
if logs is not None:
    mean = logs.mean(0)
    _, spread, axes_ = torch.linalg.svd(logs - mean, full_matrices=False)
    scale = spread[:30] / math.sqrt(len(logs))
    rows = (logs - mean) @ axes_[:30].T / scale
    anything = len(names)
    network = Perceptron(30, classes=len(names))

    def batches():
        chosen = torch.randint(len(rows), (256,))
        told = torch.where(torch.rand(256) < 0.1, anything, label[chosen])
        return rows[chosen], {"label": told}

    train(network, batches, 800)
    wanted = label.clone()  # as many of each type as there are
    made = sample(guided(network, wanted, anything, 1.0), (len(rows), 30))
    genes = (made * scale) @ axes_[:30] + mean
    for name in ("CD19+ B", "CD14+ Monocyte", "CD56+ NK"):
        mine = wanted == names.index(name)
        marker = (logs[mine].mean(0) - logs[~mine].mean(0)).argmax()
        real, fake = logs[:, marker], genes[:, marker]
        print(
            f"{name:15s} marker {cells.var_names[int(marker)]:7s} real: {real[mine].mean():.2f} here, {real[~mine].mean():.2f} elsewhere;"
            f" made: {fake[mine].mean():.2f} and {fake[~mine].mean():.2f}"
        )
    figure, axes = plt.subplots(1, 2, figsize=(8, 3.6), sharex=True, sharey=True)
    for place, shown, title in zip(axes, (rows, made), ("real cells", "made cells"), strict=True):
        place.scatter(shown[:, 0], shown[:, 1], c=wanted, cmap="tab10", s=5), place.set_title(title)
        place.set_xlabel("component 1")

# %% [markdown]
# Means of genes are a beginning; whether cells are *good* is a harder question. Single cells in gendi have a codec that knows counts, and every metric stands beside what real cells reach: see [Single cells](../cells.md).
#
# ## Exercises
#
# **1.** Set `T = 20` and train the swiss roll again. What is lost, and which line is to blame?
#
# :::{admonition} Answer
# :class: dropdown
# The arms become thick and blurred. The reverse steps are no longer nearly Gaussian with variance beta-tilde, but `repair` still says they are. Samplers that solve the differential equation instead need few steps: [Samplers](../samplers.md).
# :::
#
# **2.** Sample cells with a scale of 3 instead of 1. What happens to the plot?
#
# :::{admonition} Answer
# :class: dropdown
# The types move apart, and each becomes narrower: more typical and less varied. Guidance pays for fidelity with diversity.
# :::

# %%
print(f"This notebook took {time.time() - started:.0f} s.")
