"""The files of docs/extending.md are written down, imported and used; what they make is held against formulas.

A block whose first line is a comment with a file's name is that file; the other Python blocks run in order, in one
namespace.
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import gendi
from gendi.cli import main
from gendi.data.kinds import KINDS
from gendi.diffusion import (
    NETWORKS,
    OBJECTIVES,
    SAMPLERS,
    SCHEDULES,
    GaussianDenoiser,
    make_grid,
    make_schedule,
    sample,
)
from gendi.diffusion.discrete.samplers import TOKEN_SAMPLERS
from gendi.diffusion.networks.roles import inner_matrices, units_of
from gendi.errors import BundleError
from gendi.machine.registry import Registry
from gendi.train.kept.bundle import save_bundle
from gendi.train.weights.model import objective_of

PAGE = Path(__file__).parents[2] / "docs" / "extending.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
FILE = re.compile(r"# (\w+\.py)\n")
OURS: tuple[Registry[Any], ...] = (SAMPLERS, SCHEDULES, NETWORKS, OBJECTIVES, KINDS, TOKEN_SAMPLERS)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """The namespace in which the page has run, in a folder of its own."""
    folder = tmp_path_factory.mktemp("extending")
    before = [list(registry) for registry in OURS]
    names: dict[str, Any] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        patch.chdir(folder)
        files = []
        for block in BLOCKS:
            if found := FILE.match(block):
                (folder / found[1]).write_text(block, encoding="utf-8")
                files.append(found[1].removesuffix(".py"))
            else:
                exec(compile(block, str(PAGE), "exec"), names)
        yield names
        for registry, known in zip(OURS, before, strict=True):
            for name in list(registry):
                if name not in known:
                    registry.remove(name)
        for name in files:
            sys.modules.pop(name, None)


COVARIANCE = torch.tensor([[1.44, 0.72], [0.72, 0.61]], dtype=torch.float64)
"""Of the points on the page: A^T A for A = [[1.2, 0.6], [0, 0.5]]."""


def test_a_module_of_ones_own_learns_a_gaussian(page: dict[str, Any]) -> None:
    """A variance of 1.44 is estimated from 1000 samples to 0.064, of which four are allowed; the density is the exact
    one of the same 500 points to 0.1 nats per dimension, which a small network reaches."""
    exact = torch.distributions.MultivariateNormal(torch.zeros(2).double(), COVARIANCE)
    nats = -exact.log_prob(page["points"][:500].double()).mean() / 2
    assert torch.allclose(page["drawn"].T.cov(), page["points"].T.cov(), atol=0.26)
    assert page["density"].total.nats == pytest.approx(float(nats), abs=0.1)


def test_the_score_of_that_module_points_to_the_data(page: dict[str, Any]) -> None:
    """The exact one is -S^-1 x with S = alpha^2 C + sigma^2 I; the network's differs from it by less than a fifth."""
    denoiser = page["denoiser"]
    alpha, sigma = denoiser.schedule(0.5)
    spread = alpha**2 * COVARIANCE + sigma**2 * torch.eye(2)
    x = torch.randn(500, 2, generator=torch.Generator().manual_seed(1)) @ torch.linalg.cholesky(spread).T.float()
    exact = -torch.linalg.solve(spread, x.T.double()).T
    with torch.no_grad():
        error = page["score"](denoiser, x, 0.5).double() - exact
    assert float(error.square().mean() / exact.square().mean()) < 0.04


def test_the_sampler_of_tokens_draws_a_chain_that_stays_where_it_starts(page: dict[str, Any]) -> None:
    tokens = page["tokens"]
    assert tokens.shape == (5, 8)
    assert torch.equal(tokens, tokens[:, :1].expand(5, 8))


@pytest.mark.statistical
@pytest.mark.parametrize("keep", [1.0, 0.9, 0.5])
def test_the_sampler_has_the_variance_of_its_formula(page: dict[str, Any], keep: float) -> None:
    """For N(0, 1) x0_hat = alpha x and eps_hat = sigma x: each step multiplies x and adds what is drawn anew.

    10,000 numbers estimate a deviation to 0.7%; five times that is allowed.
    """
    schedule = make_schedule("cosine")
    alpha, sigma = schedule(make_grid(schedule, 50, "karras"))
    variance = float(sigma[0] ** 2)
    for k in range(50):
        variance *= float(alpha[k + 1] * alpha[k] + keep * sigma[k + 1] * sigma[k]) ** 2
        variance += float(sigma[k + 1] ** 2) * (1 - keep**2)
    world = GaussianDenoiser(schedule, torch.zeros(2), torch.eye(2))
    x = sample(world, (2,), n=5000, steps=50, sampler="renoise", keep=keep)
    assert x.std().item() == pytest.approx(variance**0.5, rel=0.035)


def test_the_sampler_that_keeps_its_noise_is_ddim(page: dict[str, Any]) -> None:
    world = GaussianDenoiser(make_schedule("linear"), torch.ones(3), 2 * torch.eye(3))
    ours = sample(world, (3,), n=8, steps=12, sampler="renoise", grid="karras", keep=1.0)
    ddim = sample(world, (3,), n=8, steps=12, sampler="ddim", grid="karras")
    torch.testing.assert_close(ours, ddim, rtol=1e-5, atol=1e-5)


def test_the_schedule_is_the_cosine_with_less_signal(page: dict[str, Any]) -> None:
    shifted, cosine = make_schedule("shifted-cosine"), make_schedule("cosine")
    t = torch.linspace(0.05, 0.9, 18, dtype=torch.float64)
    alpha, sigma = shifted(t)
    torch.testing.assert_close(alpha**2 + sigma**2, torch.ones_like(t))
    # SNR of the cosine without its offset is cot^2; shifted by 1/4 it is a sixteenth of that
    torch.testing.assert_close((alpha / sigma) ** 2, (0.25 / torch.tan(torch.pi * t / 2)) ** 2)
    assert bool((shifted.log_snr(t) < cosine.log_snr(t)).all())
    torch.testing.assert_close(shifted.time(shifted.log_snr(t)), t, rtol=0, atol=1e-9)


def test_the_rates_of_the_schedule_are_its_slopes(page: dict[str, Any]) -> None:
    """f = d ln alpha / dt and g^2 = d sigma^2 / dt - 2 f sigma^2, by central differences."""
    schedule, h = make_schedule("shifted-cosine"), 1e-6
    t = torch.linspace(0.1, 0.9, 9, dtype=torch.float64)
    (a, sa), (b, sb) = schedule(t - h), schedule(t + h)
    f, g2 = schedule.rates(t)
    torch.testing.assert_close(f, (b.log() - a.log()) / (2 * h), rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(g2, (sb**2 - sa**2) / (2 * h) - 2 * f * schedule(t)[1] ** 2, rtol=1e-6, atol=1e-7)


def test_the_network_and_the_objective_were_trained_and_drawn_from(page: dict[str, Any]) -> None:
    model, pictures = page["model"], page["pictures"]
    assert (model.config.network.kind, model.config.objective.loss) == ("convolutions", "huber")
    assert pictures.shape == (4, 8, 8, 1) and pictures.dtype == np.uint8
    names = {name.partition(".")[0] for name in model.state}
    assert names == {"into", "time", "blocks", "out"}


def test_muon_takes_the_matrices_of_the_blocks(page: dict[str, Any]) -> None:
    network = page["model"].network()
    inner = {id(p) for p in inner_matrices(network)}
    assert inner == {id(block.weight) for block in network.blocks}
    assert units_of(network) == list(network.blocks)


def test_the_loss_of_the_objective_is_its_formula(page: dict[str, Any]) -> None:
    model, rng = page["model"], np.random.default_rng(1)
    objective: Any = objective_of(model.config, None, torch.device("cpu"))
    x_0, eps = (torch.from_numpy(rng.standard_normal((5, 1, 8, 8))).float() for _ in range(2))
    t = torch.linspace(0.1, 0.9, 5, dtype=torch.float64)
    alpha, sigma = (value.float()[:, None, None, None] for value in objective.schedule(t))
    denoiser = model.denoiser()
    x_t = alpha * x_0 + sigma * eps
    # the network predicts v = alpha eps - sigma x_0, and x0_hat = alpha x_t - sigma v
    v = (alpha * x_t - denoiser(x_t, t)) / sigma
    square = (v - (alpha * eps - sigma * x_0)).square().flatten(1).mean(1)
    expected = (square + 0.03**2).sqrt() - 0.03
    torch.testing.assert_close(objective.at(denoiser, x_0, t, eps), expected, rtol=1e-4, atol=1e-5)


def test_a_bundle_whose_package_is_missing_names_what_it_lacks(page: dict[str, Any], tmp_path: Path) -> None:
    save_bundle(tmp_path / "bundle", page["model"])
    entry = NETWORKS["convolutions"]
    NETWORKS.remove("convolutions")
    try:
        with pytest.raises(BundleError, match="'convolutions' is unknown"):
            gendi.load(tmp_path / "bundle")
    finally:
        NETWORKS.register("convolutions", entry)


def test_the_kind_goes_from_file_to_metric(page: dict[str, Any], tmp_path: Path) -> None:
    curves, figures = page["curves"], page["figures"]
    assert curves.shape == (40, 8) and np.isfinite(curves).all()
    assert figures.data == "waves" and len(figures.metrics) > 5
    model = gendi.load("runs/waves")
    rows = torch.from_numpy(np.loadtxt("waves.curves"))
    x = model.codec.encode(rows, {}, torch.arange(len(rows)))
    torch.testing.assert_close(model.codec.decode(x, {}, 0, 0), rows, rtol=1e-5, atol=1e-5)
    assert x.mean(0).abs().max() < 0.3 and (x.std(0) - 1).abs().max() < 0.3  # fitted to the training part of them


def test_the_commands_know_the_kind(page: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sample", "runs/waves", "--n", "3", "--steps", "2", "--out", "new.curves"]) == 0
    assert np.loadtxt("new.curves").shape == (3, 8)
    assert main(["sample", "runs/waves", "--n", "3", "--out", "new.png"]) == 2
    assert "NAME.curves" in capsys.readouterr().err
    assert main(["train", "nowhere.curves", "--out", "runs/nowhere"]) == 3
    assert "There is no file nowhere.curves" in capsys.readouterr().err
    assert main(["verify", "runs/waves"]) == 0
