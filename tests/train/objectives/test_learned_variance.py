"""Who trains what in the hybrid loss, what the best variance is, and a learned variance's way to disk and back."""

import dataclasses
import math
from pathlib import Path

import pytest
import torch
from losses import denoising_loss
from torch import Tensor, nn

import gendi
from gendi.diffusion.gaussian.config import ObjectiveConfig, ProcessConfig
from gendi.diffusion.gaussian.denoiser import LearnedVariance, LearnedVarianceDenoiser, make_denoiser
from gendi.diffusion.gaussian.process import Process
from gendi.diffusion.gaussian.schedule import Schedule, make_schedule
from gendi.train.config import RunConfig
from gendi.train.kept.status import read_lines

T = 40
HALF_BIN = 1 / 255
HYBRID = ObjectiveConfig(prediction="eps", loss="hybrid", variance="learned", time_sampling="discrete", vlb_weight=1e-3)


class Heads(nn.Module):
    """A trunk that both outputs share, and a matrix for each."""

    def __init__(self, d: int = 3) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.trunk, self.mean, self.spread = (nn.Linear(n, d).double() for n in (d + 1, d, d))

    def forward(self, x: Tensor, time: Tensor, **cond: Tensor) -> Tensor:
        h = self.trunk(torch.cat([x, time.to(x)[:, None] / T], 1)).tanh()
        return torch.cat([self.mean(h), self.spread(h)], 1)


def gradients(objective: ObjectiveConfig, network: Heads) -> dict[str, Tensor]:
    """Return the gradient of the mean loss over a batch with the first step in it, by parameter."""
    generator = torch.Generator().manual_seed(1)
    x_0, eps = torch.randn((2, 8, 3), generator=generator, dtype=torch.float64)
    t = torch.tensor([1, 2, 5, 10, 20, 30, 39, 40], dtype=torch.float64) / T
    denoiser = make_denoiser(network, make_schedule("linear", T), objective.parameterisation, time_input="step")
    network.zero_grad()
    denoising_loss(objective, denoiser, x_0.clamp(-1, 1), t, eps, None, HALF_BIN).mean().backward()
    return {name: torch.zeros_like(p) if p.grad is None else p.grad.clone() for name, p in network.named_parameters()}


class Half(nn.Module):
    """The first output alone, for the objective without the second."""

    def __init__(self, network: Heads) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor, time: Tensor, **cond: Tensor) -> Tensor:
        out: Tensor = self.network(x, time, **cond)
        return out.chunk(2, dim=1)[0]


def test_hybrid_trains_the_mean_by_simple_and_the_variance_by_the_bound() -> None:
    """On the heads, which are not shared: to the bit for the mean; the variance gets 0.001 times the bound summed."""
    network = Heads()
    hybrid = gradients(HYBRID, network)
    simple = ObjectiveConfig(prediction="eps")
    alone = gradients(simple, Half(network))  # type: ignore[arg-type]
    bound = gradients(dataclasses.replace(HYBRID, loss="vlb"), network)
    for name in ("mean.weight", "mean.bias"):
        assert torch.equal(hybrid[name], alone[f"network.{name}"])
        assert not torch.allclose(bound[name], torch.zeros_like(bound[name]))
    for name in ("spread.weight", "spread.bias"):
        torch.testing.assert_close(hybrid[name], 1e-3 * bound[name], rtol=1e-12, atol=0)
        assert alone[f"network.{name}"].abs().max() == 0


class Known(nn.Module):
    """The exact eps of data N(0, v), and a free second output for each step and dimension."""

    def __init__(self, schedule: Schedule, v: Tensor) -> None:
        super().__init__()
        self.schedule, self.v = schedule, v
        self.second = nn.Parameter(torch.zeros(T + 1, len(v), dtype=torch.float64))

    def forward(self, x: Tensor, step: Tensor, **cond: Tensor) -> Tensor:
        alpha, sigma = (c[:, None] for c in self.schedule(step.double() / T))
        eps = sigma * x / (alpha**2 * self.v + sigma**2)
        return torch.cat([eps, self.second[step.long()]], 1)


@pytest.mark.statistical
@pytest.mark.parametrize("loss", ["vlb", "hybrid"])
def test_the_bound_finds_the_best_variance(loss: str) -> None:
    """E L_i is least at the variance of q(x_s | x_i), beta-tilde + w_0^2 Var[x_0 | x_i]; for Gaussian data
    Bayes' rule for x_s and x_i gives it too. A mean of n squares has relative deviation sqrt(2 / n): 5 of those.
    """
    schedule, v, n, steps = make_schedule("linear", T), torch.tensor([0.02, 1.0, 4.0]).double(), 4000, (2, 3, 10, 39)
    network = Known(schedule, v)
    objective = dataclasses.replace(HYBRID, loss=loss)
    denoiser = make_denoiser(network, schedule, objective.parameterisation, time_input="step")
    generator = torch.Generator().manual_seed(0)
    eps, x_0 = torch.randn((2, n * len(steps), 3), generator=generator, dtype=torch.float64)
    x_0 = x_0 * v.sqrt()
    t = torch.tensor(steps).repeat_interleave(n).double() / T
    optimizer = torch.optim.LBFGS(
        network.parameters(), max_iter=60, tolerance_change=1e-14, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = 1e3 * denoising_loss(objective, denoiser, x_0, t, eps).mean()
        value.backward()
        return value

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    process = Process(schedule)
    for i in steps:
        at, before = torch.tensor(i, dtype=torch.float64) / T, torch.tensor(i - 1, dtype=torch.float64) / T
        share = (network.second[i].detach() + 1) / 2
        learned = process.reverse_log_variance(at, before, share).exp()
        factor, beta = process.transition(at, before)
        alpha, sigma = schedule(before)
        spread = alpha**2 * v + sigma**2  # of x_s; x_t = factor x_s + sqrt(beta) noise
        best = 1 / (1 / spread + factor**2 / beta)
        assert bool(((learned / best - 1).abs() < 5 * math.sqrt(2 / n)).all()), (i, learned, best)


def test_a_learned_variance_trains_and_comes_back_from_disk(tmp_path: Path, images: str, tiny: RunConfig) -> None:
    config = dataclasses.replace(
        tiny, process=ProcessConfig(schedule="cosine", steps=20), objective=dataclasses.replace(HYBRID, prediction="v")
    )
    bundle = gendi.fit(images, out=tmp_path / "run", config=config, steps=12, quiet=True)
    denoiser = gendi.load(tmp_path / "run").denoiser(clip=1.0)
    assert isinstance(denoiser, LearnedVarianceDenoiser) and isinstance(denoiser, LearnedVariance)
    x, t = torch.randn(2, 3, 10, 9, generator=torch.Generator().manual_seed(0)), torch.tensor(0.5, dtype=torch.float64)
    x_0, share = denoiser.predict(x, t)
    assert x_0.shape == share.shape == x.shape
    assert torch.equal(denoiser(x, t), x_0)
    assert (share - 0.5).abs().max() > 0  # 0.5 is where an untrained network begins
    assert bundle.state["head.weight"].shape[0] == 6
    assert gendi.sample(bundle, n=2, steps=3).shape == (2, 10, 9, 3)


@pytest.mark.parametrize("changes", [{"loss": "vlb"}, {"loss": "vlb", "variance": "learned"}, {"prediction": "mu"}])
def test_every_new_objective_learns(tmp_path: Path, images: str, tiny: RunConfig, changes: dict[str, str]) -> None:
    """The loss at fixed held-out images, times and noises falls."""
    objective = ObjectiveConfig(prediction="eps", time_sampling="discrete")
    config = dataclasses.replace(
        tiny,
        process=ProcessConfig(schedule="linear", steps=20),
        objective=dataclasses.replace(objective, **changes),  # type: ignore[arg-type]
        train=dataclasses.replace(tiny.train, checkpoint_every=1e9),
    )
    gendi.fit(images, out=tmp_path / "run", config=config, steps=30, quiet=True)
    losses = [line["heldout"] for line in read_lines(tmp_path / "run/metrics.jsonl") if "heldout" in line]
    assert len(losses) == 3
    assert losses[2] < losses[1] < losses[0]
