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
# # Stochastic differential equations, learned and solved
#
# A chain of a thousand small steps is nearly a curve in time. This notebook takes that limit seriously: it writes the forward process as a differential equation, learns the one thing that is
# needed to turn it around (the *score*), and then solves the way back in two ways, with fresh noise and without. All of it is plain PyTorch for points in the plane, and takes about half a minute on two cores.
#
# The mathematics is in [The SDE view](../book/sde.md). The four lines that matter:
#
# $$dx = -\tfrac{1}{2} \beta(t)\, x\, dt + \sqrt{\beta(t)}\, dw \qquad \text{(destroy)}$$
#
# $$\text{loss} = \left\| \sigma_t\, s_\theta(x_t, t) + \epsilon \right\|^2 \qquad \text{(learn the score)}$$
#
# $$dx = \left[ -\tfrac{1}{2} \beta x - \beta\, \nabla \log q_t(x) \right] dt + \sqrt{\beta}\, d\bar w \qquad \text{(back, with noise)}$$
#
# $$\frac{dx}{dt} = -\tfrac{1}{2} \beta x - \tfrac{1}{2} \beta\, \nabla \log q_t(x) \qquad \text{(back, without)}$$

# %%
import itertools
import math
import time

import matplotlib.pyplot as plt
import torch
from torch import nn

torch.manual_seed(0)
started = time.time()

# %% [markdown]
# ## The way into noise
#
# The rate $\beta(t)$ grows from 0.1 to 20 while $t$ goes from 0 to 1. These are the betas of the DDPM paper, read as a rate. The equation is linear, so it has a solution: at time $t$ a point is
# $\alpha_t x_0 + \sigma_t \epsilon$ with $\alpha_t = \exp(-\tfrac12 \int_0^t \beta)$ and $\sigma_t^2 = 1 - \alpha_t^2$.

# %% tags=["plain"]
LOW, HIGH = 0.1, 20.0


def beta(t):
    """Return the rate at times t in [0, 1]."""
    return LOW + (HIGH - LOW) * t


def alpha_sigma(t):
    """Return how much of the data is left at times t, and the deviation of the noise."""
    integral = LOW * t + (HIGH - LOW) * t**2 / 2
    return torch.exp(-integral / 2), torch.sqrt(-torch.expm1(-integral))


def euler_maruyama(x, steps, generator=None):
    """Return x after following the forward equation from t = 0 to 1 in so many steps."""
    h = 1 / steps
    for k in range(steps):
        rate = beta((k + 0.5) * h)
        x = x - rate / 2 * x * h + math.sqrt(rate * h) * torch.randn(x.shape, generator=generator, dtype=x.dtype)
    return x


# %% [markdown]
# Is that true? We start 20,000 points at 1.5 and follow the equation in small steps. Halfway there and at the end, mean and deviation should be what the solution says.

# %%
many = torch.full((20_000, 1), 1.5)
end = euler_maruyama(many, 1000)
a, s = alpha_sigma(torch.tensor(1.0))
print(f"simulated: mean {end.mean():.3f}, deviation {end.std():.3f}; the solution: {1.5 * a:.3f}, {s:.3f}")

# %% [markdown]
# ## Learning the score
#
# To go back we need $\nabla \log q_t(x)$, the direction in which the density of noisy points grows. We cannot compute it, but we can learn it: given $x_0$, the gradient of $\log q(x_t \mid x_0)$ is $-\epsilon / \sigma_t$, and
# a network that predicts it with the least squared error predicts its mean over all $x_0$ that may have led to $x_t$, which is the score itself (*denoising score matching*).

# %% tags=["plain"]


class Score(nn.Module):
    """The score of points (B, 2) at times (B,), as minus a predicted noise over sigma."""

    def __init__(self, width=128):
        super().__init__()
        self.register_buffer("frequencies", torch.linspace(0.5, 16, 16))
        self.first = nn.Linear(2 + 32, width)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.SiLU()) for _ in range(3)
        )
        self.last = nn.Linear(width, 2)

    def noise(self, x, t):
        """Return the predicted noise."""
        angles = t[:, None] * self.frequencies
        h = self.first(torch.cat([x, angles.sin(), angles.cos()], 1))
        for block in self.blocks:
            h = h + block(h)
        return self.last(h)

    def forward(self, x, t):
        return -self.noise(x, t) / alpha_sigma(t)[1][:, None]


def matching_loss(score, x_0, t, eps):
    """Return the loss of denoising score matching, weighted by sigma squared."""
    a, s = (value[:, None] for value in alpha_sigma(t))
    return (s * score(a * x_0 + s * eps, t) + eps).square().sum(1).mean()


# %%
from gendi.data.toy import world

place = world("moons")
points = torch.from_numpy(place.points(10_000)[0]).float()
score = Score()
adam = torch.optim.Adam(score.parameters(), 2e-3)
schedule = torch.optim.lr_scheduler.OneCycleLR(adam, 2e-3, total_steps=2000, pct_start=0.05)
losses = []
for _ in range(2000):
    x_0 = points[torch.randint(len(points), (512,))]
    value = matching_loss(score, x_0, 0.001 + 0.999 * torch.rand(512), torch.randn(512, 2))
    adam.zero_grad(), value.backward(), adam.step(), schedule.step()
    losses.append(value.item())
print(f"loss at first {sum(losses[:50]) / 50:.2f}, at the end {sum(losses[-200:]) / 200:.2f}")

# %% [markdown]
# In this world the true score is a formula, so we can look at both. Blue is what the network says, orange the truth below it.

# %%
from gendi.diffusion import make_schedule
from gendi.diffusion import score as exact_score

exact = place.denoiser(make_schedule("linear"))
line = torch.linspace(-2.4, 2.4, 15)
grid = torch.cartesian_prod(line, line)
figure, axes = plt.subplots(1, 3, figsize=(11, 3.7))
for panel, t in zip(axes, (0.1, 0.25, 0.5), strict=True):
    with torch.no_grad():
        true, said = exact_score(exact, grid, t), score(grid, torch.full((len(grid),), t))
    length = float(true.norm(dim=1).max()) / 0.34
    for arrows, colour in ((true, "tab:orange"), (said, "tab:blue")):
        panel.quiver(
            *grid.T, *(arrows / length).T, color=colour, angles="xy", scale_units="xy", scale=1, width=0.005, alpha=0.8
        )
    noisy = alpha_sigma(torch.tensor(t))[0] * points[:500] + alpha_sigma(torch.tensor(t))[1] * torch.randn(500, 2)
    panel.scatter(*noisy.T, s=3, color="grey", alpha=0.4), panel.set_title(f"t = {t}"), panel.set_aspect("equal")
    panel.set_xlim(-2.8, 2.8), panel.set_ylim(-2.8, 2.8)

# %% [markdown]
# ## The way back, twice
#
# Both equations have the same densities at all times. The first one needs new noise in every step, the second is an ordinary differential equation. We solve both by the simplest method there is: small equal steps.

# %% tags=["plain"]


def reverse_drift(score, x, t):
    """Return the drift of the reverse equation with noise."""
    return -beta(t)[:, None] / 2 * x - beta(t)[:, None] * score(x, t)


def flow(score, x, t):
    """Return the velocity of the probability-flow equation, which has no noise."""
    return -beta(t)[:, None] / 2 * (x + score(x, t))


@torch.no_grad()
def go_back(score, x, steps, fresh, last=1e-3):
    """Return x at time `last`, from x at time 1, and all that came between."""
    times, states = torch.linspace(1, last, steps + 1), [x]
    for t, s in itertools.pairwise(times):
        now, h = torch.full((len(x),), float(t)), float(t - s)
        x = x - (reverse_drift if fresh else flow)(score, x, now) * h
        if fresh:
            x = x + math.sqrt(float(beta(t)) * h) * torch.randn_like(x)
        states.append(x)
    return x, torch.stack(states)


# %%
start = torch.randn(1500, 2)
results = {(fresh, n): go_back(score, start, n, fresh) for fresh in (True, False) for n in (20, 500)}
figure, axes = plt.subplots(1, 5, figsize=(13, 2.8), sharex=True, sharey=True)
for panel, ((fresh, n), (made, _)) in zip(axes, results.items(), strict=False):
    panel.scatter(*made.T, s=2, alpha=0.5), panel.set_title(f"{'with' if fresh else 'without'} noise, {n} steps")
axes[-1].scatter(*points[:1500].T, s=2, alpha=0.5, color="tab:orange"), axes[-1].set_title("data")
axes[0].set_xlim(-2.6, 2.6), axes[0].set_ylim(-2.6, 2.6)

# %% [markdown]
# With 500 steps both follow the moons; the way without noise leaves some points between them, where this small network is not quite right. With 20 steps the way with noise is much too noisy, and the way without is nearly as good as with 500: the paths of an ordinary differential equation
# are smooth, and few steps can follow them. That is why the fast samplers of [Sampling](../book/sampling.md) follow the second equation, or treat the noise exactly.
#
# And the paths look like this:

# %%
figure, axes = plt.subplots(1, 2, figsize=(8, 3.8), sharex=True, sharey=True)
for panel, fresh in zip(axes, (True, False), strict=True):
    way = results[fresh, 500][1][:, :40]
    panel.plot(way[..., 0], way[..., 1], color="tab:blue", lw=0.6, alpha=0.6)
    panel.scatter(*way[-1].T, s=12, color="tab:orange", zorder=3)
    panel.set_title("with noise" if fresh else "without noise"), panel.set_aspect("equal")

# %% [markdown]
# ## A density, at last
#
# A flow without noise stretches and squeezes space by known amounts. So the density of a point follows from that of its noise:
#
# $$\log p(x_0) = \log \mathcal{N}(x_1; 0, I) + \int_0^1 \nabla \cdot v(x_t, t)\, dt$$
#
# with $v$ the velocity above. In two dimensions the divergence is two derivatives, and automatic differentiation gives both.

# %% tags=["plain"]


def divergence(score, x, t):
    """Return the velocity and its divergence at points (B, 2)."""
    x = x.detach().requires_grad_()
    velocity = flow(score, x, t)
    total = sum(torch.autograd.grad(velocity[:, i].sum(), x, retain_graph=True)[0][:, i] for i in range(x.shape[1]))
    return velocity.detach(), total.detach()


def log_density(score, x, steps=100, first=1e-3):
    """Return the log density of points (B, 2), by Heun's method from time `first` to 1."""
    times, total = torch.linspace(math.sqrt(first), 1, steps + 1, dtype=x.dtype) ** 2, torch.zeros_like(x[:, 0])
    for t, s in itertools.pairwise(times):
        now, then = (torch.full_like(x[:, 0], float(value)) for value in (t, s))
        v, d = divergence(score, x, now)
        w, e = divergence(score, x + (s - t) * v, then)
        x, total = x + (s - t) * (v + w) / 2, total + (s - t) * (d + e) / 2
    return total - (x.square() + math.log(2 * math.pi)).sum(1) / 2


# %%
line = torch.linspace(-2.2, 2.2, 70)
grid = torch.stack(torch.meshgrid(line, line, indexing="xy"), -1).reshape(-1, 2)
found = log_density(score, grid, 60).exp().reshape(70, 70)
true = exact.log_density(grid, 1e-3).exp().reshape(70, 70)
figure, axes = plt.subplots(1, 2, figsize=(8, 3.6))
for panel, values, title in zip(axes, (found, true), ("density by the flow", "density of the world"), strict=True):
    panel.imshow(values, origin="lower", extent=(-2.2, 2.2, -2.2, 2.2), vmin=0, vmax=float(true.max()), cmap="Blues")
    panel.set_title(title)
print(f"the density by the flow sums to {float(found.sum()) * float(line[1] - line[0]) ** 2:.3f}")

# %% [markdown]
# ## Exercises
#
# **1.** Change only the *drift* to that of the way without noise: use `flow`, but still add the noise of each step. What do the samples look like, and why?
#
# :::{admonition} Answer
# :class: dropdown
# They are spread far too widely. The noise blurs the density at every step, and only the other half of the score term would have worked against it.
# :::
#
# **2.** Why are the times in `log_density` squares of equal steps?
#
# :::{admonition} Answer
# :class: dropdown
# Near $t = 0$ the score is long ($1 / \sigma_t$) and changes quickly, so small steps are needed there; near 1 nothing happens any more.
# :::

# %%
print(f"This notebook took {time.time() - started:.0f} s.")
