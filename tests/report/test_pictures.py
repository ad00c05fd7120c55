import warnings
from itertools import pairwise

import numpy as np
import pytest
import torch
from fake_run import TINY, drawings, losses
from PIL import Image
from scipy.stats import binom, norm

from gendi.data.images.codec import ImageCodec
from gendi.diffusion.gaussian.process import Process
from gendi.diffusion.gaussian.schedule import Linear, Tabulated, VarianceExploding, make_schedule
from gendi.diffusion.networks import build_network
from gendi.diffusion.randomness import normal
from gendi.evaluate.nearest import nearest_images
from gendi.report.classes import class_figure, expected_range
from gendi.report.curves import column, heldout_figure, loss_figure, smoothed
from gendi.report.density import (
    LIMIT,
    MEANS,
    SPREAD,
    WEIGHTS,
    density_evolution,
    density_figure,
    deviation,
    process_pair,
)
from gendi.report.processes import forward_states, forward_strip, visible
from gendi.report.style import DARK, LIGHT, drawable, png
from gendi.report.tiles import film, fit, grid
from gendi.train.kept.bundle import Bundle


@pytest.mark.parametrize("schedule", [Linear(), Linear(1000), VarianceExploding(variance=10.0)])
def test_density_is_the_mixture_formula(schedule: Linear | VarianceExploding) -> None:
    x, t = np.linspace(-4, 4, 9), np.array([0.0, 0.03, 0.5, 1.0])
    alpha, sigma = (c.numpy() for c in schedule(torch.from_numpy(t)))
    expected = sum(
        w * norm.pdf(x[:, None], alpha * m, np.sqrt(alpha**2 * SPREAD**2 + sigma**2))
        for w, m in zip(WEIGHTS, MEANS, strict=True)
    )
    np.testing.assert_allclose(density_evolution(schedule, x, t), expected, rtol=1e-5, atol=1e-12)


def test_the_mixture_has_mean_0_and_variance_1_and_the_preserving_process_keeps_it() -> None:
    assert sum(w * m for w, m in zip(WEIGHTS, MEANS, strict=True)) == pytest.approx(0, abs=1e-12)
    assert sum(w * m**2 for w, m in zip(WEIGHTS, MEANS, strict=True)) + SPREAD**2 == pytest.approx(1, abs=1e-12)
    preserving, exploding = process_pair(None)
    t = np.linspace(0, 1, 5)
    np.testing.assert_allclose(deviation(preserving, t), 1)
    x = np.linspace(-40, 40, 4001)  # the densities' own moments, by quadrature
    for schedule in (preserving, exploding):
        moments = (density_evolution(schedule, x, t) * x[:, None] ** 2).sum(0) * (x[1] - x[0])
        np.testing.assert_allclose(moments, deviation(schedule, t) ** 2, rtol=1e-4)


@pytest.mark.parametrize("name", ["linear", "cosine", "variance-exploding"])
def test_without_scaling_the_same_noise_is_added(name: str) -> None:
    preserving, exploding = process_pair(make_schedule(name, 1000))
    assert preserving.name == ("linear" if name == "variance-exploding" else name)
    # the sum of the betas of a fine chain tends to the integral of beta; T = 1e5 leaves terms of order 1/T and the cap
    betas = 1 - np.exp(np.diff(type(preserving)(100_000).log_abar(torch.linspace(0, 1, 100_001).double()).numpy()))
    if name != "cosine":  # whose beta has a pole beyond the end
        assert exploding.variance == pytest.approx(betas.sum(), rel=1e-3)
        assert exploding.variance == pytest.approx(0.1 + 19.9 / 2, rel=1e-9)


@pytest.mark.parametrize("steps", [None, 10])
def test_a_learned_schedule_is_drawn_by_its_table(steps: int | None) -> None:
    """Its log-SNR ends at -6, so -log abar(1) = ln(1 + e^6)."""
    preserving, exploding = process_pair(Tabulated(torch.linspace(9, -6, 30), steps))
    assert (preserving.name, preserving.steps) == ("tabulated", None)
    assert exploding.variance == pytest.approx(np.log1p(np.exp(6)), rel=1e-6)


def test_forward_strip_is_the_process_itself() -> None:
    codec = ImageCodec(1, 12, 10)
    bundle = Bundle(TINY, codec, build_network(TINY.network, (1, 8, 8)).state_dict())
    image = drawings(1, 12, 10, 1)[0]
    times = torch.linspace(0, 1, 5, dtype=torch.float64)
    schedule = make_schedule(TINY.process.schedule, TINY.process.steps)
    x_0, eps = codec.encode(torch.from_numpy(image)[None]), normal(codec.shape, 3, "report-forward")
    repeated = x_0.expand(5, -1, -1, -1).contiguous()
    expected = Process(schedule).sample(repeated, times, eps.expand_as(repeated))
    assert torch.equal(forward_states(schedule, x_0[0], times, eps), expected)
    strip = forward_strip(bundle, image, times, seed=3)
    assert np.array_equal(strip, codec.decode(visible(expected, schedule, times)).numpy())
    assert np.array_equal(strip[0], image)


def test_visible_leaves_preserving_states_and_tames_exploding_ones() -> None:
    x = torch.full((2, 1, 1, 1), 3.0)
    t = torch.tensor([0.2, 1.0], dtype=torch.float64)
    torch.testing.assert_close(visible(x, Linear(), t), x)
    tamed = visible(x, VarianceExploding(variance=8.0), t).flatten()
    torch.testing.assert_close(tamed, torch.tensor([3 / 2.6**0.5, 1.0]))


def test_grid_places_every_pixel_at_a_whole_scale() -> None:
    images = drawings(5, 12, 10, 3)
    sheet = np.asarray(grid(images, 3, side=40, gap=4))
    height, width = 36, 30  # 3 = 40 // 12 times
    assert sheet.shape == (2 * height + 4, 3 * width + 2 * 4, 4)
    for i, image in enumerate(images):
        top, left = i // 3 * (height + 4), i % 3 * (width + 4)
        tile = sheet[top : top + height, left : left + width]
        assert np.array_equal(tile[..., :3], image.repeat(3, 0).repeat(3, 1))
        assert (tile[..., 3] == 255).all()
    assert (sheet[:, width : width + 4, 3] == 0).all()
    assert (sheet[height + 4 :, 2 * (width + 4) :, 3] == 0).all()  # the empty place


@pytest.mark.parametrize(
    ("size", "tile"), [((28, 28), (112, 112)), ((1, 3), (111, 37)), ((300, 200), (75, 112)), ((2000, 1), (1, 112))]
)
def test_tiles_are_enlarged_by_whole_numbers_or_shrunk_to_fit(size: tuple[int, int], tile: tuple[int, int]) -> None:
    assert fit(*size, 112) == tile


@pytest.mark.parametrize("channels", [1, 3, 2])
def test_film_has_its_frames_and_rests_at_the_end(channels: int) -> None:
    import io

    frames = [drawings(6, 12, 10, channels, seed) for seed in range(4)]
    with Image.open(io.BytesIO(film(frames, 3, side=24, milliseconds=100, hold=2000))) as moving:
        durations = []
        for i in range(moving.n_frames):
            moving.seek(i)
            durations.append(moving.info["duration"])
        assert durations == [100, 100, 100, 2000]
        last = np.asarray(moving.convert("RGB"), np.int16)
    if channels == 1:  # 32 grey levels: half a step is 255 / 62
        expected = np.asarray(grid(frames[-1], 3, side=24, gap=2).convert("RGB"), np.int16)
        assert np.abs(last - expected).max() <= 255 / 62 + 1


def test_nearest_images_are_those_of_the_whole_distance_matrix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gendi.evaluate.nearest._BLOCK_BYTES", 4 * 60 * 7)  # blocks of 7 images
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (50, 5, 4, 3), dtype=np.uint8)
    queries = np.concatenate([images[[3, 49]], rng.integers(0, 256, (4, 5, 4, 3), dtype=np.uint8)])
    distance, index = nearest_images(queries, images, 3)
    whole = np.linalg.norm(queries.reshape(6, 1, -1) / 255 - images.reshape(1, 50, -1) / 255, axis=-1)
    assert np.array_equal(index, np.argsort(whole, axis=1)[:, :3])
    np.testing.assert_allclose(distance, np.sort(whole, axis=1)[:, :3], atol=1e-12)
    assert index[:2, 0].tolist() == [3, 49]
    assert nearest_images(queries, images[:2], 3)[1].shape == (6, 2)


def test_smoothing_keeps_lines_straight_and_averages_a_window() -> None:
    line = np.linspace(2, 5, 50)
    np.testing.assert_allclose(smoothed(line, 0.2), line)
    spike = np.zeros(41)
    spike[20] = 1
    np.testing.assert_allclose(smoothed(spike, 0.25)[15:26], 1 / 11)  # half a quarter of 41 points is 5 on each side


def test_column_skips_lines_without_a_finite_number() -> None:
    lines = [{"step": 1, "loss": 2.0}, {"step": 2, "loss": None}, {"step": 3, "images": 30, "loss": 4}, {"step": 4}]
    x, y = column(lines, "loss")
    assert x.tolist() == [1.0, 30.0]
    assert y.tolist() == [2.0, 4.0]


@pytest.mark.parametrize("count", [0, 1, 2, 60])
def test_curves_draw_whatever_there_is(count: int) -> None:
    lines, _ = losses(400)
    some = lines[:count]
    for figure in (loss_figure(some), loss_figure(some, zoom=True), heldout_figure(some), heldout_figure(lines)):
        assert png(figure, LIGHT)[:4] == b"\x89PNG"


def test_labels_at_the_end_of_lines_do_not_overlap() -> None:
    lines = [{"step": s, "images": s, "heldout": 1.0, "heldout_q": [1.0, 1.001, 0.999, 1.0]} for s in (1, 2, 3)]
    figure = heldout_figure(lines)
    figure.draw_without_rendering()
    boxes = sorted((text.get_window_extent() for text in figure.axes[0].texts), key=lambda box: box.y0)
    assert len(boxes) == 5
    assert all(low.y1 <= high.y0 + 1 for low, high in pairwise(boxes))
    assert all(box.x1 <= figure.bbox.x1 for box in boxes)


def test_expected_range_is_the_binomials() -> None:
    low, high = expected_range(np.array([10.0, 90.0]), 2000)
    exact = binom.ppf([0.025, 0.975], 2000, 0.1) / 2000
    np.testing.assert_allclose([low[0], high[0]], exact, atol=1 / 2000)  # the binomial moves in steps of one sample


@pytest.mark.parametrize(
    "names", [["a$b", "$\\frac$", "日本"], [f"a rather long class name, number {i}" for i in range(20)], ["x"] * 300]
)
def test_class_names_are_drawn_as_they_are(names: list[str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = class_figure([3] * len(names), np.ones(len(names)), names, theme=DARK)
        assert png(figure, DARK)[:4] == b"\x89PNG"
    if len(names) == 3:
        assert [text.get_text() for text in figure.axes[0].get_xticklabels()] == ["a$b", "$\\frac$", "#2"]
    assert not drawable("日本") or len(names) != 3


def test_heat_maps_paint_the_density() -> None:
    figure = density_figure(Linear())
    (image,) = figure.axes[0].images
    painted = np.asarray(image.get_array())
    assert tuple(image.get_extent()) == (0, 1, -LIMIT, LIMIT)
    # at t = 1 the density is N(0, 1) to 4e-5, painted as sqrt(density / highest of the data) = sqrt(pdf / 1.2)
    x = np.linspace(-LIMIT, LIMIT, len(painted))
    highest = density_evolution(Linear(), x, np.zeros(1)).max()
    np.testing.assert_allclose(painted[:, -1] ** 2 * highest, norm.pdf(x), atol=2e-3)
