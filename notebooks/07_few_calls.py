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
# # Few calls
#
# A sampler follows a curve from noise to data, in twenty or more small steps, each of which calls the network. A *student* learns to jump: it predicts in one call where the curve ends. This notebook trains students in plain PyTorch, in two ways, in a world whose teacher is a formula, and then
# looks at the shipped student of `digits`. It takes about a minute on two cores.
#
# Reference: [Distillation](../distillation.md).

# %%
import time

import matplotlib.pyplot as plt
import torch
from torch import nn

import gendi
from gendi.data.toy import world
from gendi.diffusion import make_schedule, sample
from gendi.evaluate.vectors.distances import energy_distance

torch.manual_seed(0)
started = time.time()
place = world("moons")
points = torch.from_numpy(place.points(10_000)[0]).float()
teacher = place.denoiser(make_schedule("cosine"))  # the exact denoiser: the best teacher there can be

# %% [markdown]
# ## Why one call is not enough
#
# From pure noise the best answer of a *denoiser* is the mean of all data. So one call of the best possible teacher gives one point. That is not a fault of the teacher: it was asked for a mean.

# %%
real = place.points(4000, seed=1)[0]
drawn = {n: sample(teacher, (2,), n=2000, steps=n, sampler="ddim").double().numpy() for n in (1, 2, 4, 8, 32)}
figure, axes = plt.subplots(1, 5, figsize=(13, 2.8), sharex=True, sharey=True)
for panel, (n, rows) in zip(axes, drawn.items(), strict=True):
    panel.scatter(*rows.T, s=2, alpha=0.5), panel.set_title(f"{n} calls: {energy_distance(rows, real):.3f}")
axes[0].set_xlim(-2.6, 2.6), axes[0].set_ylim(-2.6, 2.6)

# %% [markdown]
# (The numbers are energy distances to data: 0 would be right.)
#
# ## A student by examples
#
# Without fresh noise, every starting noise leads to an end of its own. So the simplest way is to make pairs with the teacher, (noise, end), and to learn the map from one to the other like any other regression.

# %% tags=["plain"]


class Student(nn.Module):
    """Maps x_t (B, 2) and the noise level's angle (B,) to the end of the curve through it."""

    def __init__(self, width=128):
        super().__init__()
        self.first = nn.Linear(2 + 16, width)
        self.register_buffer("frequencies", torch.arange(1, 9) * 2.0)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.SiLU(), nn.Linear(2 * width, width))
            for _ in range(3)
        )
        self.last = nn.Linear(width, 2)

    def forward(self, x, angle):
        """At angle 0 (no noise) this is x itself, whatever the network says."""
        waves = angle[:, None] * self.frequencies
        h = self.first(torch.cat([x, waves.sin(), waves.cos()], 1))
        for block in self.blocks:
            h = h + block(h)
        return torch.cos(angle)[:, None] * x - torch.sin(angle)[:, None] * self.last(h)


# %%
from gendi.diffusion.gaussian.samplers import trajectory

noise = torch.randn(4000, 2)
with torch.inference_mode():
    *_, last = trajectory(
        teacher, (2,), range(4000), steps=32, sampler="unipc", start=lambda drawn, alpha, sigma: noise
    )
    ends = last.x.clone()


def train(student, loss_of, steps, lr=2e-3):
    """Train a student, and return it with averaged weights."""
    adam = torch.optim.AdamW(student.parameters(), lr)
    schedule = torch.optim.lr_scheduler.OneCycleLR(adam, lr, total_steps=steps, pct_start=0.05)
    averaged = torch.optim.swa_utils.AveragedModel(
        student, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.99)
    )
    for step in range(steps):
        value = loss_of(student, step / steps)
        adam.zero_grad(), value.backward(), adam.step(), schedule.step()
        averaged.update_parameters(student)
    return averaged.module.eval()


half_turn = torch.pi / 2  # the angle of pure noise


def by_examples(student, progress):
    """Return the squared error on some of the pairs."""
    rows = torch.randint(len(noise), (512,))
    return (student(noise[rows], torch.full((512,), half_turn)) - ends[rows]).square().mean()


first = train(Student(), by_examples, 1000)

# %% [markdown]
# ## A student by consistency
#
# Making pairs is expensive when the teacher is a large network. *Consistency training* needs none. The end of a curve is the same from everywhere on it, so the student's answers at two neighbouring times must agree:
#
# $$f(x_t, t) = f(x_s, s) \qquad \text{if } x_t \text{ and } x_s \text{ lie on one curve}$$
#
# At $t = 0$ the answer is $x_0$ itself (look at the last line of `Student`), and from there agreement spreads to ever larger times. In the cosine schedule the noise level is an angle $\theta$: $x_t = \cos\theta\, x_0 + \sin\theta\, \epsilon$. The same $x_0$ and $\epsilon$ at two angles give two points that lie on one curve on average.
# The two angles begin far apart and move together.

# %% tags=["plain"]


def consistency_loss(student, x_0, eps, angle, gap):
    """Return the disagreement at angles (B,) and at `gap` less; the later answer is led to the earlier one."""
    before = (angle - gap).clamp(min=0)
    at = lambda a: a.cos()[:, None] * x_0 + a.sin()[:, None] * eps  # noqa: E731
    with torch.no_grad():
        target = student(at(before), before)
    off = (student(at(angle), angle) - target).square().sum(1)
    return (((off + 1e-4).sqrt() - 1e-2) / gap).mean()  # nearly a length, which forgives outliers


# %%


def by_consistency(student, progress):
    """Return the loss with a gap that shrinks from half of the way to a fortieth of it."""
    x_0 = points[torch.randint(len(points), (512,))]
    angle = half_turn * torch.rand(512).sqrt()
    return consistency_loss(student, x_0, torch.randn(512, 2), angle, half_turn * 0.5 * 0.05**progress)


second = train(Student(), by_consistency, 2500)

# %% [markdown]
# ## One call, and two
#
# A student can be called again: jump to the end, add noise of a smaller level, and jump again. The second jump begins nearer to the data, so it has more information.

# %% tags=["plain"]


@torch.no_grad()
def jumps(student, noise, angles, generator=None):
    """Return samples by one jump from each of falling angles, with new noise in between."""
    x = student(noise, torch.full((len(noise),), float(angles[0])))
    for angle in angles[1:]:
        now = torch.full((len(x),), float(angle))
        fresh = torch.randn(x.shape, generator=generator)
        x = student(now.cos()[:, None] * x + now.sin()[:, None] * fresh, now)
    return x


# %%
start = torch.randn(2000, 2)
results = {
    "by examples, 1 call": jumps(first, start, [half_turn]),
    "by consistency, 1 call": jumps(second, start, [half_turn]),
    "by consistency, 2 calls": jumps(second, start, [half_turn, 0.8]),
    "by consistency, 4 calls": jumps(second, start, [half_turn, 1.1, 0.8, 0.4]),
}
figure, axes = plt.subplots(1, 4, figsize=(12, 3), sharex=True, sharey=True)
for panel, (name, rows) in zip(axes, results.items(), strict=True):
    (
        panel.scatter(*rows.T, s=2, alpha=0.5),
        panel.set_title(f"{name}: {energy_distance(rows.double().numpy(), real):.3f}", fontsize=9),
    )
axes[0].set_xlim(-2.6, 2.6), axes[0].set_ylim(-2.6, 2.6)

# %% [markdown]
# The gap between the moons is hard: neighbouring noises must be sent to different sides of it, and a network is continuous. So a few points are left in the middle after one call. A second call sorts them out.
#
# ## Digits
#
# `digits-student` was made by `gendi distil` from `digits`. It draws the same kind of pictures in one or a few calls:

# %%
pictures, seconds = [], {}
for name, steps in (("digits", 20), ("digits-student", 1), ("digits-student", 2)):
    begun = time.time()
    pictures += list(gendi.sample(name, n=12, seed=4, steps=steps))
    seconds[name, steps] = time.time() - begun
print({f"{name}, {steps} calls": f"{value:.2f} s" for (name, steps), value in seconds.items()})
gendi.show(pictures, columns=12)

# %% [markdown]
# This has a price: training a student takes about as long as training its teacher, and a student can do less. It has no likelihood, and it cannot be guided, or used for editing, as freely. [Distillation](../distillation.md) has four methods, with figures.
#
# ## Exercises
#
# **1.** Why does the loss divide by the gap?
#
# :::{admonition} Answer
# :class: dropdown
# Neighbours that are nearer disagree less. Without the division the loss, and with it the step of learning, would vanish as the gap shrinks.
# :::
#
# **2.** Give `consistency_loss` the teacher's direction instead of `eps` (move `at(before)` along the teacher's curve). What improves?
#
# :::{admonition} Answer
# :class: dropdown
# The two points then lie on one curve exactly, and not only on average. The target has less noise, so learning is faster. This is called consistency *distillation*.
# :::

# %%
print(f"This notebook took {time.time() - started:.0f} s.")
