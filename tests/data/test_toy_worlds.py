"""Toy worlds: their points, their exact denoisers against quadrature, and the way through the commands."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import gendi
from gendi.data import open_data
from gendi.data.codec_files import codec_from_dict
from gendi.data.toy.kind import read_points
from gendi.data.toy.picture import SIDE, scatter_png
from gendi.data.toy.worlds import WORLDS, world
from gendi.diffusion import make_schedule
from gendi.diffusion.gaussian.rectangles import RectangleDenoiser, cut_normal, mean_and_variance
from gendi.errors import BundleError, DataError, UsageError

SCHEDULE = make_schedule("cosine")


def by_quadrature(m: float, tau: float, half: float) -> tuple[float, float]:
    """Return E[u | m] and log q(m) for u uniform on [-half, half] and m = u + tau n, by the trapezoidal rule.

    The rule is exact to far below 1e-8 here: 20,001 places over an interval where the integrand is smooth.
    """
    u = np.linspace(-half, half, 20_001)
    log = -0.5 * ((m - u) / tau) ** 2
    weight = np.exp(log - log.max())
    mass = np.trapezoid(weight, u)
    return (
        float(np.trapezoid(weight * u, u) / mass),
        float(np.log(mass / (2 * half)) + log.max() - np.log(tau * np.sqrt(2 * np.pi))),
    )


@pytest.mark.parametrize("half", [0.05, 0.5, 2.0])
@pytest.mark.parametrize("tau", [0.08, 1.0, 30.0])
def test_a_uniform_with_noise_is_its_integral(half: float, tau: float) -> None:
    for m in (-3.0, -0.4, 0.0, 0.7, 2.5):
        u, log_density = cut_normal(*(torch.tensor(v, dtype=torch.float64) for v in (m, tau, half)))
        mean, log = by_quadrature(m, tau, half)
        assert float(u) == pytest.approx(mean, abs=1e-6 * half)
        assert float(log_density) == pytest.approx(log, abs=1e-6 * max(1, abs(log)))


def test_a_side_of_length_zero_is_a_gaussian() -> None:
    one = torch.ones((), dtype=torch.float64)
    u, log_density = cut_normal(0.7 * one, 0.5 * one, 0 * one)
    assert float(u) == 0
    assert float(log_density) == pytest.approx(float(torch.distributions.Normal(0, 0.5).log_prob(0.7 * one)))


@pytest.mark.parametrize("m", [3.0, 10.0, -40.0])
def test_far_away_the_nearest_end_is_the_answer(m: float) -> None:
    """At a distance D of the end, u lies an exponential of mean tau^2 / D inside it."""
    u, log_density = cut_normal(*(torch.tensor(v, dtype=torch.float64) for v in (m, 0.01, 0.5)))
    inside = 0.01**2 / (abs(m) - 0.5)
    assert float(u) * np.sign(m) == pytest.approx(0.5 - inside, abs=inside / 100 + 1e-9) and log_density.isfinite()


@pytest.mark.parametrize("name", list(WORLDS))
@pytest.mark.parametrize("t", [0.15, 0.6])
def test_the_denoiser_is_the_gradient_of_the_density(name: str, t: float) -> None:
    """Tweedie: alpha E[x_0 | x_t] = x_t + sigma^2 grad log q(x_t), by automatic differentiation."""
    exact = world(name).denoiser(SCHEDULE)
    alpha, sigma = SCHEDULE(t)
    rows = torch.from_numpy(world(name).points(60, 1)[0])
    x = (alpha * rows + sigma * torch.from_numpy(np.random.default_rng(2).standard_normal(rows.shape))).requires_grad_()
    (score,) = torch.autograd.grad(exact.log_density(x, t).sum(), x)
    torch.testing.assert_close(exact(x.detach(), t), (x + sigma**2 * score).detach() / alpha, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", list(WORLDS))
def test_the_density_integrates_to_one(name: str) -> None:
    """On a grid of 400 x 400 from -6 to 6, at a noise level several times the distance of its places."""
    line = torch.linspace(-6, 6, 400, dtype=torch.float64)
    grid = torch.cartesian_prod(line, line)
    t = SCHEDULE.time(torch.tensor(4.0))
    found = world(name).denoiser(SCHEDULE).log_density(grid, t).exp().sum() * (line[1] - line[0]) ** 2
    assert float(found) == pytest.approx(1, abs=1e-6)


@pytest.mark.statistical
@pytest.mark.parametrize("name", list(WORLDS))
def test_points_have_mean_zero_and_variance_one(name: str) -> None:
    """Formula and points; 20,000 points estimate a mean to 0.007 and a mean square to 0.01: 5 of these are allowed."""
    mean, variance = mean_and_variance(world(name).denoiser(SCHEDULE))
    assert mean.abs().max() < 1e-12 and variance == pytest.approx(1)
    rows, labels = world(name).points(20_000)
    assert np.abs(rows.mean(0)).max() < 5 * 0.0085 and np.mean(rows**2) == pytest.approx(1, abs=0.05)
    if labels is not None:
        shares = np.bincount(labels) / len(labels)
        assert np.abs(shares - 1 / len(shares)).max() < 5 * 0.5 / 20_000**0.5


@pytest.mark.statistical
def test_no_denoiser_has_a_smaller_error() -> None:
    """E[x_0 | x_t] minimises the squared error: moved by 0.1 it is larger by 0.01, up to what chance allows.

    The mean of 2 (x_0 - x0_hat) . shift over 20,000 points has a standard deviation of at most 2 * 0.1 / sqrt(20,000).
    """
    rows, _ = world("moons").points(20_000, 3)
    x_0, rng = torch.from_numpy(rows), np.random.default_rng(4)
    alpha, sigma = SCHEDULE(0.5)
    x_t = alpha * x_0 + sigma * torch.from_numpy(rng.standard_normal(rows.shape))
    guess = world("moons").denoiser(SCHEDULE)(x_t, 0.5)
    best = float((guess - x_0).square().sum(1).mean())
    for shift in ([0.1, 0.0], [-0.1, 0.0], [0.0, 0.1], [0.0, -0.1]):
        other = float((guess + torch.tensor(shift) - x_0).square().sum(1).mean())
        assert other - best == pytest.approx(0.01, abs=5 * 0.2 / 20_000**0.5)


def test_a_class_keeps_its_own_rectangles() -> None:
    exact = world("gaussians").denoiser(SCHEDULE)
    x = torch.zeros(8, 2, dtype=torch.float64)
    answers = exact(x, 0.5, **{"class": torch.arange(8)})
    alone = [
        RectangleDenoiser(
            SCHEDULE, torch.ones(1), exact.centres[[k]], exact.axes[[k]], exact.halves[[k]], exact.thickness
        )(x[:1], 0.5)
        for k in range(8)
    ]
    torch.testing.assert_close(answers, torch.cat(alone))
    whole = exact(x, 0.5, **{"class": torch.full((8,), -1)})
    torch.testing.assert_close(whole, exact(x, 0.5))
    mixed = (exact.log_posterior(x[:1], 0.5).exp()[..., None] * answers).sum(1)
    torch.testing.assert_close(mixed, exact(x[:1], 0.5))
    with pytest.raises(UsageError, match="no classes"):
        world("checkerboard").denoiser(SCHEDULE).log_posterior(x, 0.5)
    with pytest.raises(UsageError, match="dose"):
        exact(x, 0.5, dose=torch.zeros(8))


def test_data_are_the_same_every_time_and_classes_are_conditions() -> None:
    one, two = open_data("toy:moons?n=200"), open_data("toy:moons?n=200")
    assert one.fingerprint == two.fingerprint != open_data("toy:moons?n=200&seed=1").fingerprint
    assert (len(one.train), len(one.heldout), one.class_names) == (160, 40, ("upper", "lower"))
    assert open_data("toy:swissroll?n=50").class_names == ()


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("toy:swisroll", "swissroll"),
        ("toy:moons?m=3", "'m'"),
        ("toy:moons?n=3", "from 10 to"),
        ("toy:moons?n=-3", "from 10 to"),
        ("toy:moons?seed=x", "whole number"),
    ],
)
def test_what_cannot_be_drawn_is_refused(spec: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        open_data(spec)


def test_a_codec_of_another_world_and_a_file_of_something_else_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="swissroll"):
        codec_from_dict({"kind": "toy", "world": "nowhere"}, {})
    (tmp_path / "a.csv").write_text("x,y\n1,2,3\n")
    with pytest.raises(DataError, match="two columns"):
        read_points(tmp_path / "a.csv")


def test_a_preview_shows_points_where_they_are() -> None:
    import io

    picture = np.asarray(Image.open(io.BytesIO(scatter_png(np.array([[1.3, 0.0], [np.nan, 0.0]])))))
    dark = np.argwhere(picture.sum(2) < 3 * 200).mean(0)
    assert picture.shape == (SIDE, SIDE, 3)
    assert dark == pytest.approx([SIDE / 2 - 1, SIDE * 0.75], abs=1.5)


@pytest.mark.statistical
def test_it_trains_samples_and_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A few hundred steps bring the eight spots nearer to the data than a Gaussian of their variance is."""
    run = tmp_path / "run"
    model = gendi.fit("toy:gaussians?n=2000", out=run, steps=300, quiet=True)
    drawn = gendi.sample(model, n=400, seed=1)
    assert drawn.shape == (400, 2) and np.isfinite(drawn).all()
    found = gendi.measure(run, n=200, splits=3, replicates=2)
    values = {metric.name: metric for metric in found.metrics}
    fake = np.random.default_rng(0).standard_normal((400, 2))
    far = {m.name: m for m in gendi.measure(fake, "toy:gaussians?n=2000", n=200, splits=3, replicates=2).metrics}
    assert values["energy"].value < far["energy"].value
    assert json.loads((run / "bundle" / "config.json").read_text())["codec"] == {"kind": "toy", "world": "gaussians"}
