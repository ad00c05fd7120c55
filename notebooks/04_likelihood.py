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
# # Likelihood
#
# How probable is a picture under a diffusion model? There are two answers: a bound, which is a sum of the costs of all steps, and a density, which follows a curve from the picture to its noise. This notebook computes both by hand in a world where the
# truth is a formula, and then asks the model `digits` about pictures that it finds probable and pictures that it does not. It takes about half a minute on two cores.
#
# Chapters: [From the likelihood to the bound](../book/bound.md), [Likelihood](../likelihood.md), [Progressive coding](../book/coding.md).

# %%
import math
import time

import matplotlib.pyplot as plt
import numpy as np
import torch

import gendi
from gendi.diffusion import GaussianDenoiser, make_schedule

started = time.time()
torch.manual_seed(0)

# %% [markdown]
# ## The bound, term by term
#
# Here is a code for $x_0$: send the noisy end $x_T$, then each step, then the data. The cost of each part, in nats, is the Kullback-Leibler divergence between the encoder's distribution and the decoder's, which are Gaussians:
#
# $$-\log p(x_0) \le \underbrace{\mathrm{KL}(q(x_T \mid x_0) \,\|\, \mathcal{N}(0, I))}_{\text{prior}} + \sum_{t > 1} \underbrace{\mathrm{KL}(q(x_{t-1} \mid x_t, x_0) \,\|\, p(x_{t-1} \mid x_t))}_{\text{a step}} \; \underbrace{-\log p(x_0 \mid x_1)}_{\text{decoder}}$$
#
# Both distributions of a step have the same variance $\tilde\beta_t$, so only the means differ, and the divergence is a squared difference: $w_0^2 (x_0 - \hat x_0)^2 / (2 \tilde\beta_t)$.

# %% tags=["plain"]


def bound(denoiser, chain, x_0, noise):
    """Return the bound of rows x_0 (n, d) in nats per dimension: prior, steps (T - 1,), decoder.

    `noise` (T, n, d) has the noise of each step. The first step decodes with the variance of the second.
    """
    T = chain.steps
    abar = torch.cat([torch.ones(1, dtype=torch.float64), chain.alpha_bar])
    betas = chain.betas
    terms = []
    for i in range(1, T + 1):
        t = torch.tensor(i / T, dtype=torch.float64)
        x_t = abar[i].sqrt() * x_0 + (1 - abar[i]).sqrt() * noise[i - 1]
        guess = denoiser(x_t, t)
        if i == 1:  # the decoder: a Gaussian around the guess
            variance = betas[1] * (1 - abar[1]) / (1 - abar[2])
            decoder = ((x_0 - guess).square() / variance + torch.log(2 * math.pi * variance)).mean() / 2
        else:
            w_0 = abar[i - 1].sqrt() * betas[i - 1] / (1 - abar[i])
            variance = betas[i - 1] * (1 - abar[i - 1]) / (1 - abar[i])
            terms.append((w_0**2 * (x_0 - guess).square() / (2 * variance)).mean())
    prior = (abar[T] * x_0.square() + (1 - abar[T]) - 1 - torch.log(1 - abar[T])).mean() / 2
    return prior, torch.stack(terms), decoder


# %% [markdown]
# The world consists of rows of two numbers from a Gaussian, whose best denoiser is a formula. The truth to compare with is the entropy, the mean of $-\log p(x_0)$.

# %%
mean, covariance = torch.tensor([0.3, -0.2]), torch.tensor([[0.5, 0.3], [0.3, 0.4]])
law = torch.distributions.MultivariateNormal(mean.double(), covariance.double())
x_0 = law.sample((4000,))
truth = float(-law.log_prob(x_0).mean()) / 2
found = {}
for T in (10, 30, 100, 300, 1000):
    chain = make_schedule("linear", T)
    prior, steps, decoder = bound(
        GaussianDenoiser(chain, mean, covariance), chain, x_0, torch.randn(T, *x_0.shape, dtype=torch.float64)
    )
    found[T] = float(prior + steps.sum() + decoder)
    print(
        f"T = {T:4d}: prior {prior:.4f} + steps {steps.sum():.4f} + decoder {decoder:.4f} = {found[T]:.4f} nats per number; the truth is {truth:.4f}"
    )

# %% [markdown]
# More steps make the bound tighter, although the denoiser is the best there is: the reverse of a short step is nearly a Gaussian with variance $\tilde\beta$, that of a long one is not. Even 1000 steps leave more than half a nat, most of it in the very first steps of the chain, where $\tilde\beta$ is too small for data that are
# spread out ([Extensions](../book/extensions.md) shows what a learned variance does about it). The cost is spread very unevenly. Here is what each level of noise costs:

# %%
figure, axes = plt.subplots(figsize=(6.4, 3))
axes.semilogy(torch.arange(2, 1001) / 1000, steps), axes.set_xlabel("t"), axes.set_ylabel("nats per number and step")

# %% [markdown]
# That is why $L_{\text{simple}}$, which gives every step the same weight, draws better pictures than the bound: the bound gives nearly all its weight to the first steps, where noise is invisible.
#
# ## The density
#
# The other way follows the probability-flow equation from $x_0$ to its noise and adds up how much space is stretched on the way ([the notebook on differential equations](02_sde.py) writes it in plain code). There is no inequality in it, so in the same world it should
# give the truth itself:

# %%
from gendi.diffusion import log_density

cosine = GaussianDenoiser(make_schedule("cosine"), mean, covariance)
density = log_density(cosine, x_0[:500], divergence="exact")
print(
    f"by the flow {density.total.nats:.4f}, by the formula {float(-law.log_prob(x_0[:500]).mean()) / 2:.4f} nats per number"
)

# %% [markdown]
# ## Bits of a picture
#
# For bytes a density is turned into a code length: the bits that the model needs for each pixel. We let `digits` draw some pictures, so that no data set is needed, and ask what it thinks of them.

# %%
model = gendi.load("digits")
images = gendi.sample(model, n=40, seed=1)
own = gendi.bits_per_dim(model, images, n=40, draws=20)
print(own)

# %% [markdown]
# A pixel of 256 values costs 8 bits if nothing is known. Most pixels of a digit are black, and a model that knows it pays much less. But does the model find *digits* probable? Compare other pictures:

# %%
rng = np.random.default_rng(0)
others = {
    "its own samples": images,
    "turned by 90 degrees": np.rot90(images, axes=(1, 2)).copy(),
    "black and white exchanged": 255 - images,
    "halves of two digits": np.concatenate([images[:, :14], np.roll(images, 1, 0)[:, 14:]], 1),
    "pixels in random order": images.reshape(40, -1)[:, rng.permutation(784)].reshape(images.shape),
    "nothing at all": np.zeros_like(images),
}
costs = {name: gendi.bits_per_dim(model, pictures, n=20, draws=20).total.bits for name, pictures in others.items()}
figure, axes = plt.subplots(figsize=(7, 2.8))
axes.barh(list(costs), list(costs.values())), axes.invert_yaxis(), axes.set_xlabel("bits per pixel (an upper bound)")
figure.tight_layout()
gendi.show([pictures[0] for pictures in others.values()], columns=6, scale=3)

# %% [markdown]
# There are three lessons. The model knows at once that exchanged colours and shuffled pixels are no digits. It hardly notices that digits are turned, or that halves do not belong together: most of the bits are about edges and greys, not about what the picture *is*. And the cheapest picture of all is the empty one: *probable* is not *typical*.
# A distribution in many dimensions has nearly all its mass away from its most probable point, just as many throws of a loaded die hardly ever show its favourite number every time. So a likelihood alone is a bad judge of "does this look like the data?"; [`gendi likelihood RUN OTHER`](../likelihood.md) therefore prints how well it separates two sets.
#
# ## Where the bits are
#
# The bound of a picture is a sum over noise levels too. What costs most is not what the eye sees: the curve is highest where the noise is smaller than one level of a byte (a half level is 0.004 here), and the model has to say which byte it is.

# %%
bound_of_images = gendi.bits_per_dim(model, images, n=20, draws=60)
edges = torch.as_tensor(bound_of_images.edges)
level = torch.exp(-0.5 * model.schedule().log_snr(edges))
bits = bound_of_images.cost / math.log(2)
figure, axes = plt.subplots(figsize=(6.4, 3))
axes.stairs(bits / level.log().diff(), level), axes.set_xscale("log")
axes.set_xlabel("sigma / alpha (left is data, right is noise)"), axes.set_ylabel("bits per pixel and factor e")

# %% [markdown]
# ## Exercises
#
# **1.** Why is the bound with $T = 10$ so far from the truth, although the denoiser is perfect?
#
# :::{admonition} Answer
# :class: dropdown
# The step is a Gaussian of variance $\tilde\beta$, which is the best one for a single known point. For data that are spread out the true reverse variance lies between $\tilde\beta$ and $\beta$, and for long steps these two are far apart. Exercise: replace $\tilde\beta$ by $\beta$.
# :::
#
# **2.** A picture of noise costs more than 8 bits per pixel under some models. How can that be?
#
# :::{admonition} Answer
# :class: dropdown
# 8 bits are the cost under a model that knows nothing. A model that is sure of black backgrounds gives other values less than 1/256, and pays for it when they come.
# :::

# %%
print(f"This notebook took {time.time() - started:.0f} s.")
