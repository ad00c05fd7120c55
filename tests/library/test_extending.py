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
from gendi.data import KINDS, open_data
from gendi.data.codec_files import codec_from_dict
from gendi.diffusion import NETWORKS, OBJECTIVES, SAMPLERS, SCHEDULES, GaussianDenoiser, make_schedule, sample
from gendi.diffusion.networks.roles import inner_matrices, units_of
from gendi.errors import BundleError
from gendi.train.bundle import save_bundle
from gendi.train.model import objective_of

PAGE = Path(__file__).parents[2] / "docs" / "extending.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
FILE = re.compile(r"# (\w+\.py)\n")
OURS = (SAMPLERS, SCHEDULES, NETWORKS, OBJECTIVES, KINDS)


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


@pytest.mark.statistical
def test_the_sampler_draws_the_gaussian(page: dict[str, Any]) -> None:
    """With the exact denoiser of N(0, 1) the variance after a step is exact but for the eps that is kept (DDIM's)."""
    world = page["world"]
    x = sample(world, (2,), n=20_000, steps=100, sampler="renoise", keep=1.0)
    assert x.std().item() == pytest.approx(1, abs=0.03)


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


def test_the_kind_of_data_was_trained_on_drawn_and_measured(page: dict[str, Any]) -> None:
    model, waves, figures = page["sea"], page["waves"], page["figures"]
    assert waves.shape == (50, 16) and np.isfinite(waves).all()
    assert figures.data == "sea" and figures.n == 40 and len(figures.metrics) > 5
    assert codec_from_dict(model.codec.to_dict(), model.codec.tensors()) == model.codec
    with pytest.raises(BundleError, match="length = 0"):
        codec_from_dict({"kind": "waves", "length": 0})


def test_the_codec_of_the_kind_standardises(page: dict[str, Any]) -> None:
    data = open_data("waves:sea.npy")
    rows = torch.from_numpy(data.train.batch(range(len(data.train))))
    x = page["sea"].codec.encode(rows, {}, torch.arange(len(rows)))
    torch.testing.assert_close(x.mean(0), torch.zeros(16), rtol=0, atol=1e-5)
    torch.testing.assert_close(x.std(0), torch.ones(16), rtol=1e-5, atol=0)
    torch.testing.assert_close(page["sea"].codec.decode(x, {}, 0, 0), rows, rtol=1e-5, atol=1e-5)
