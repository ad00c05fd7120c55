"""Masked categories beside Gaussian numbers in one network: a prototype that benchmarks/categories.py compares.

Numbers have the scores of the table's codec and Gaussian noise, words have masks, and one MLP sees both: it answers
with the mean of the numbers and with the logits of each masked word. Its loss is EDM's squared error, summed over
numbers, and the cross-entropy of masked words, summed over columns.

    joint     one time for both: a word is masked with probability 2 arctan(sigma / alpha) / pi. Sampling takes 60
              ancestral steps, in which words lose their masks as time falls
    first     half of the rows have pure noise for numbers and any share of words masked, the others have all words and
              noisy numbers. Sampling draws the words first, one column a call, and then the numbers
"""

import copy
import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gendi.data.tables.codec import TableCodec
from gendi.data.tables.points import nearest
from gendi.diffusion.gaussian.samplers import sample
from gendi.diffusion.gaussian.schedule import make_schedule
from gendi.diffusion.networks.mlp import MLP
from gendi.train.config import RunConfig
from gendi.train.step.optim import learning_rate_factor, make_optimizers, update_weights
from gendi.train.weights.ema import EMA

STEPS, FIRST = 60, 0.005


class Masked:
    """A model of the table of a codec; `how` is joint or first."""

    def __init__(self, config: RunConfig, codec: TableCodec, rows: np.ndarray, how: str) -> None:
        self.config, self.codec, self.how, self.schedule = config, codec, how, make_schedule("cosine", None)
        x = codec.encode(torch.from_numpy(rows), {}, torch.arange(len(rows)))
        self.points = list(codec.points.values())
        self.sizes = [len(each) for each in self.points]
        self.d = codec.shape[0] - sum(each.shape[1] for each in self.points)
        self.numbers = x[:, : self.d]
        words = [nearest(codec.points[j], x[:, codec.coordinates[j]].double().numpy()) for j in codec.points]
        self.words = torch.from_numpy(np.stack(words, 1))
        self.shares = [torch.from_numpy(-np.log1p(np.square(each).sum(1))).float() for each in self.points]
        inputs, outputs = self.d + sum(self.sizes) + len(self.sizes), self.d + sum(self.sizes)
        torch.manual_seed(config.train.seed)
        self.generator = torch.Generator().manual_seed(config.train.seed)
        self.network = MLP(config.network, inputs, (), outputs)
        self.optimizers = make_optimizers(self.network, config.optim)
        self.ema, self.seen = EMA(self.network, config.optim.ema_images), 0

    def uniform(self, *shape: int) -> Tensor:
        return torch.rand(*shape, generator=self.generator)

    def noise(self, t: Tensor) -> tuple[Tensor, Tensor]:
        alpha, sigma = self.schedule(t)
        return alpha.float()[:, None], sigma.float()[:, None]

    def answer(
        self, network: nn.Module, x_t: Tensor, t: Tensor, words: Tensor, masked: Tensor
    ) -> tuple[Tensor, list[Tensor]]:
        """Return the output F (B, D) for numbers, for data of unit variance, and the logits (B, K) of each column."""
        shown = [
            torch.cat([F.one_hot(words[:, i], k) * ~masked[:, i, None] * math.sqrt(k), masked[:, i, None]], 1)
            for i, k in enumerate(self.sizes)
        ]
        value = (self.schedule.log_snr(t) / -8).float()
        out = network(torch.cat([x_t, *(each.float() for each in shown)], 1), value)
        logits = out[:, self.d :].split(self.sizes, 1)
        return out[:, : self.d], [a + b for a, b in zip(logits, self.shares, strict=True)]

    def step(self, progress: float) -> None:
        n, columns, optim = self.config.train.batch_size, len(self.sizes), self.config.optim
        rows = torch.randint(len(self.numbers), (n,), generator=self.generator)
        x_0, words = self.numbers[rows], self.words[rows]
        u = ((torch.randperm(n, generator=self.generator) + self.uniform(n)) / n).double().clamp(1e-9, 1 - 1e-9)
        options = self.config.objective
        log_noise = options.log_sigma_mean + options.log_sigma_std * torch.special.ndtri(u)
        t, counted = self.schedule.time(-2 * log_noise), torch.ones(n)
        share = (2 / math.pi * torch.atan(log_noise.exp())).float()
        if self.how == "first":
            counted = (torch.arange(n) % 2).float()
            share = torch.where(counted == 1, 0.0, self.uniform(n))
            t = torch.where(counted == 1, t, 1 - FIRST)
        masked = self.uniform(n, columns) < share[:, None]
        alpha, sigma = self.noise(t)
        noise = torch.randn(x_0.shape, generator=self.generator)
        x_t = (alpha * x_0 + sigma * noise) * (counted[:, None] if self.how == "first" else 1)
        self.network.train()
        out, logits = self.answer(self.network, x_t, t, words, masked)
        target = sigma * x_0 - alpha * noise
        loss = ((out - target).square().sum(1) * counted).sum() / counted.sum()
        for i, each in enumerate(logits):
            entropy = F.cross_entropy(each, words[:, i], reduction="none")
            loss = loss + (entropy * masked[:, i]).sum() / masked[:, i].sum().clamp(min=1)
        (loss / (self.d + columns)).backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), optim.clip or math.inf)
        update_weights(self.optimizers, optim.lr * learning_rate_factor(progress, optim))
        self.seen += n
        self.ema.update(self.network, self.seen, n)

    @torch.no_grad()
    def draw(self, n: int) -> np.ndarray:
        """Return n rows of the table."""
        network = copy.deepcopy(self.network)
        network.load_state_dict(self.ema.weights)
        x, words = (self._first if self.how == "first" else self._jointly)(network.eval(), n)
        parts = [torch.from_numpy(each)[words[:, i]] for i, each in enumerate(self.points)]
        whole = torch.cat([x.double(), *parts], 1)
        return self.codec.decode(whole, {}, self.config.train.seed, 0).numpy()

    def drawn(self, logits: Tensor) -> Tensor:
        return torch.multinomial(logits.softmax(1), 1, generator=self.generator)[:, 0]

    def _first(self, network: nn.Module, n: int) -> tuple[Tensor, Tensor]:
        columns = len(self.sizes)
        words, masked = torch.zeros(n, columns, dtype=torch.int64), torch.ones(n, columns, dtype=torch.bool)
        order, start = self.uniform(n, columns).argsort(1), torch.full((n,), 1 - FIRST, dtype=torch.float64)
        for i in range(columns):
            _, logits = self.answer(network, torch.zeros(n, self.d), start, words, masked)
            for j, each in enumerate(logits):
                now = order[:, i] == j
                if now.any():
                    words[now, j] = self.drawn(each[now])
            masked[torch.arange(n), order[:, i]] = False
        model = self

        class Given:
            schedule = self.schedule

            def __call__(self, x_t: Tensor, t: Tensor, /, words: Tensor) -> Tensor:
                times = torch.as_tensor(t, dtype=torch.float64).expand(len(x_t))
                alpha, sigma = model.noise(times)
                out, _ = model.answer(network, x_t, times, words, torch.zeros_like(words, dtype=torch.bool))
                return alpha * x_t + sigma * out

        how = {"steps": self.config.sample.steps, "sampler": self.config.sample.sampler}
        x = sample(Given(), (self.d,), n, seed=self.config.train.seed, cond={"words": words}, **how)
        return x, words

    def _jointly(self, network: nn.Module, n: int) -> tuple[Tensor, Tensor]:
        columns = len(self.sizes)
        words, masked = torch.zeros(n, columns, dtype=torch.int64), torch.ones(n, columns, dtype=torch.bool)
        share = torch.linspace(1, 0, STEPS + 1, dtype=torch.float64)
        share[0] = 1 - FIRST
        times = self.schedule.time(-2 * (share * math.pi / 2).tan().clamp(min=1e-3).log())
        x = torch.randn(n, self.d, generator=self.generator)
        for i in range(STEPS):
            (a, b), (a_s, b_s) = (self.noise(times[k : k + 1]) for k in (i, i + 1))
            out, logits = self.answer(network, x, times[i].expand(n), words, masked)
            x_0 = a * x + b * out
            kept = a * b_s / (a_s * b)  # of the noise: the posterior of x_s given x_t and x_0
            fresh = torch.randn(x.shape, generator=self.generator)
            mean = a_s * x_0 + b_s * kept * (x - a * x_0) / b
            x = x_0 if i == STEPS - 1 else mean + b_s * (1 - kept**2).sqrt() * fresh
            now = masked & (self.uniform(n, columns) < (1 - share[i + 1] / share[i]))
            for j, each in enumerate(logits):
                if now[:, j].any():
                    words[now[:, j], j] = self.drawn(each[now[:, j]])
            masked &= ~now
        return x, words
