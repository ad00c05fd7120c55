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
# # Sampling and guidance
#
# Training gives a denoiser: "this noisy picture probably was that one". Everything else is decided when you sample: how many calls of the network are made, whether fresh noise is added, and how strongly to guide towards a class.
# This notebook writes the two most useful samplers and classifier-free guidance in plain PyTorch, and tries them on the model `digits`, which comes with gendi. It takes about half a minute on two cores.
#
# Chapters: [Sampling](../book/sampling.md), [Guidance](../book/guidance.md).

# %%
import itertools
import time

import matplotlib.pyplot as plt
import torch

import gendi

started = time.time()
model = gendi.load("digits")
print(model)

# %% [markdown]
# `model.denoiser()` is a function: it takes noisy pictures, a time between 0 and 1, and conditions by name, and returns the expected clean pictures. Its `schedule` says how much picture (`alpha`) and noise (`sigma`) there is at a time.

# %%
denoiser = model.denoiser()
torch.manual_seed(0)
wanted = torch.arange(10)
noise = torch.randn(10, 1, 28, 28)


def show(*rows, titles=()):
    """Show rows of pictures (n, 1, 28, 28) in model space, one row under another."""
    figure, axes = plt.subplots(len(rows), 1, figsize=(9, 0.98 * len(rows)))
    for panel, row in zip([axes] if len(rows) == 1 else axes, rows, strict=True):
        panel.imshow(row[:, 0].clamp(-1, 1).permute(1, 0, 2).reshape(28, -1), cmap="gray"), panel.axis("off")
    for panel, title in zip([axes] if len(rows) == 1 else axes, titles, strict=False):
        panel.set_title(title, fontsize=9, loc="left")
    figure.tight_layout()


with torch.inference_mode():
    show(denoiser(noise, torch.tensor(1.0), **{"class": wanted}), titles=["expected of pure noise, if given the class"])

# %% [markdown]
# From pure noise the best answer is the mean of all digits of the class. That mean is blurred, and it is right: a denoiser does not draw pictures, it computes an expectation. A sampler makes pictures out of such expectations.
#
# ## DDIM
#
# From $x_t$ the denoiser gives $\hat x_0$, and with it the noise that must be in $x_t$. DDIM puts the same two together again, in the proportions of an earlier time $s$:
#
# $$\hat\epsilon = \frac{x_t - \alpha_t \hat x_0}{\sigma_t}, \qquad x_s = \alpha_s \hat x_0 + \sigma_s \hat\epsilon$$

# %% tags=["plain"]


def ddim(denoiser, x, times):
    """Return x at the last of falling times, from x at the first, without fresh noise."""
    for t, s in itertools.pairwise(times):
        (alpha_t, sigma_t), (alpha_s, sigma_s) = denoiser.schedule(t), denoiser.schedule(s)
        x_0 = denoiser(x, t)
        eps = (x - alpha_t.to(x) * x_0) / sigma_t.to(x)
        x = alpha_s.to(x) * x_0 + sigma_s.to(x) * eps
    return x


# %% [markdown]
# ## DPM-Solver++(2M)
#
# DDIM takes $\hat x_0$ for constant during a step. A better guess is a straight line through this answer and the one before. In $\lambda = \ln(\alpha / \sigma)$, with $h = \lambda_s - \lambda_t$,
#
# $$x_s = \frac{\sigma_s}{\sigma_t} x_t + \alpha_s \left(1 - e^{-h}\right) \left[ \hat x_0 + \frac{h}{2 h_{\text{before}}} \left(\hat x_0 - \hat x_0^{\text{before}}\right) \right]$$

# %% tags=["plain"]


def dpmpp_2m(denoiser, x, times):
    """Return x at the last of falling times, by a method of second order with one call a step."""
    before = h_before = None
    for t, s in itertools.pairwise(times):
        (alpha_t, sigma_t), (alpha_s, sigma_s) = denoiser.schedule(t), denoiser.schedule(s)
        x_0 = denoiser(x, t)
        if s == 0:  # all noise is gone
            return x_0
        h = torch.log(alpha_s / sigma_s) - torch.log(alpha_t / sigma_t)
        line = x_0 if before is None else x_0 + (h / (2 * h_before)).to(x) * (x_0 - before)
        x = (sigma_s / sigma_t).to(x) * x + (-alpha_s * torch.expm1(-h)).to(x) * line
        before, h_before = x_0, h
    return x


# %% [markdown]
# ## How many calls?
#
# Both follow the same curve, so with many calls both end at the same picture, and we can see how far few calls are from it. The times are even in $\lambda$, where the curve is smoothest.

# %%
from gendi.diffusion.gaussian.samplers import make_grid


class Told:
    """The denoiser with a class for every row, and with guidance of scale w."""

    def __init__(self, denoiser, label, w=1.0):
        self.denoiser, self.label, self.w, self.schedule, self.calls = denoiser, label, w, denoiser.schedule, 0

    @torch.inference_mode()
    def __call__(self, x, t):
        self.calls += 1
        return guided(self.denoiser, x, t, self.label, self.w)


# %% tags=["plain"]


def guided(denoiser, x, t, label, w):
    """Return the expectation under classifier-free guidance: w = 1 is the class alone, w = 0 no class."""
    if w == 1:
        return denoiser(x, t, **{"class": label})
    without = denoiser(x, t)
    return without + w * (denoiser(x, t, **{"class": label}) - without)


# %%
told = Told(denoiser, wanted)


def times(n):
    """Return the n + 1 times of n calls."""
    return make_grid(denoiser.schedule, n, "log-snr", model.bounds)


target = dpmpp_2m(told, noise, times(100))
rows, titles = [], []
for n in (3, 5, 10, 20):
    for name, sampler in (("DDIM", ddim), ("2M", dpmpp_2m)):
        made = sampler(told, noise, times(n))
        (
            rows.append(made),
            titles.append(f"{name}, {n} calls: {float((made - target).square().mean().sqrt()):.3f} from the limit"),
        )
show(*rows, target, titles=[*titles, "the limit (2M, 100 calls)"])

# %% [markdown]
# At ten calls the second-order method is already where DDIM arrives with twice as many. This is why gendi's models sample in about twenty calls and not in a thousand. `gendi samplers` lists all methods, and
# [Samplers](../samplers.md) measures them.
# ## Fresh noise
#
# The samplers above turn one noise into one picture. The ancestral sampler of the DDPM paper adds fresh noise in every step. It forgets its errors on the way, which often helps when the network is not perfect:

# %%
quick = {"n": 10, "seed": 3, "steps": 20, "condition": {"class": list(range(10))}}
gendi.show(
    [*gendi.sample(model, sampler="ddim", **quick), *gendi.sample(model, sampler="ancestral", **quick)], columns=10
)

# %% [markdown]
# ## Guidance
#
# A model that was trained with and without the class knows two expectations, and their difference points towards "more of this class". Guidance goes $w$ times as far:
#
# $$\hat x_0 = \hat x_0^{\text{without}} + w \left( \hat x_0^{\text{class}} - \hat x_0^{\text{without}} \right)$$

# %%
scales = (0.0, 1.0, 2.0, 5.0)
same = torch.randn(12, 1, 28, 28)
eights = torch.full((12,), 8)
show(
    *(dpmpp_2m(Told(denoiser, eights, w), same, times(15)) for w in scales),
    titles=[f"asked for an 8, w = {w:g}" for w in scales],
)

# %% [markdown]
# With $w = 0$ the request is ignored, with $w = 1$ it is a plain conditional model, and beyond that the eights become clearer and more alike. How much clearer and how much more alike can be measured: a classifier says how often a digit is
# what was asked for, and the spread of the pixels of one class says how varied it is.

# %%
from gendi.data.images.digit_classifier import class_probabilities, load_classifier

label = torch.arange(10).repeat(12)
start = torch.randn(len(label), 1, 28, 28)
right, spread = [], []
for w in scales:
    made = dpmpp_2m(Told(denoiser, label, w), start, times(10))
    probabilities = class_probabilities(load_classifier(), model.codec.decode(made).numpy())
    right.append(float((probabilities.argmax(1) == label.numpy()).mean()))
    spread.append(float(torch.stack([made[label == k].std(0).mean() for k in range(10)]).mean()))
figure, axes = plt.subplots(figsize=(5.2, 3.2))
axes.plot(spread, right, "o-")
for x, y, w in zip(spread, right, scales, strict=True):
    axes.annotate(f"w = {w:g}", (x, y), textcoords="offset points", xytext=(6, -10))
axes.set_xlabel("how varied the digits of a class are"), axes.set_ylabel("how often it is the digit asked for")

# %% [markdown]
# Diversity is the price of fidelity. Which point of the curve is best depends on what you want: for a faithful set of data stay near 1, for one convincing picture go to 2 or 3.
#
# ## Exercises
#
# **1.** Why does guidance cost twice as many calls, and when could you save some?
#
# :::{admonition} Answer
# :class: dropdown
# Each step asks the network with and without the class. At much noise and at little noise the difference hardly matters for the class, so guidance can be switched on only in between (`--guidance-interval`).
# :::
#
# **2.** Draw with `w = 20`. What happens, and what helps?
#
# :::{admonition} Answer
# :class: dropdown
# The expectations leave the range of pictures: contrast explodes and strokes break. Rescaling and dynamic thresholding bring them back; [Guidance](../guidance.md) has both.
# :::

# %%
print(f"This notebook took {time.time() - started:.0f} s.")
