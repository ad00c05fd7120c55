"""`gendi explain`: its numbers against formulas, what its page holds, and what the command refuses."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from fake_run import TINY, drawings, fake_run
from page_reader import PageReader
from PIL import Image

from gendi.cli import main
from gendi.data.images.codec import ImageCodec
from gendi.data.toy.worlds import world
from gendi.diffusion import GaussianDenoiser, make_schedule
from gendi.diffusion.config import ConditionConfig
from gendi.diffusion.gaussian.config import ObjectiveConfig
from gendi.diffusion.networks import build_network
from gendi.diffusion.networks.config import NetworkConfig
from gendi.diffusion.randomness import normal
from gendi.report.explain import mathml, plane, plot, walk
from gendi.train.config import RunConfig
from gendi.train.kept.bundle import Bundle, save_bundle

COSINE, CHAIN = make_schedule("cosine"), make_schedule("linear", 50)
MEAN, VARIANCE = 0.4, 0.6


def gaussian(schedule: object = COSINE) -> GaussianDenoiser:
    return GaussianDenoiser(schedule, torch.full((3,), MEAN), VARIANCE * torch.eye(3))


# ------------------------------------------------------------------------------------------------------- the numbers


def test_every_level_has_the_noise_and_the_answer_that_formulas_give() -> None:
    """For N(m, v) the best answer is m + a v / (a^2 v + s^2) (x - a m), number by number."""
    x_0 = torch.tensor([0.1, -0.8, 1.3])
    found = walk.look(gaussian(), x_0, seed=3)
    eps = normal((walk.DRAWS, 3), 3, "explain").double()
    assert len(found.times) == walk.LEVELS and found.times[-1] == 1
    for i, t in enumerate(found.times):
        a, s = (float(value) for value in COSINE(t))
        x_t = a * x_0.double() + s * eps
        answer = MEAN + a * VARIANCE / (a**2 * VARIANCE + s**2) * (x_t - a * MEAN)
        assert found.x_t[i].numpy() == pytest.approx(x_t[0].numpy(), abs=1e-5)
        assert found.x0_hat[i].numpy() == pytest.approx(answer[0].numpy(), abs=1e-5)
        error = float((answer - x_0).square().mean())
        assert float(found.x0_error[i]) == pytest.approx(error, rel=1e-3)
        assert float(found.eps_error[i]) == pytest.approx((a / s) ** 2 * error, rel=1e-3)


def test_a_step_is_the_sum_of_equation_58_and_new_noise() -> None:
    """The weights from the paper's betas; the noises are those of their streams; the parts add up to x_s."""
    abar = torch.cat([torch.ones(1, dtype=torch.float64), CHAIN.alpha_bar])
    start = normal((3,), 0, "start")
    steps = walk.walk_back(gaussian(CHAIN), start, CHAIN.grid().flip(0), seed=5)
    assert len(steps) == 50 and steps[0].t == 1 and steps[-1].s == 0 and torch.equal(steps[0].x_t, start)
    for k, step in enumerate(steps):
        i = 50 - k
        alpha, beta = float(CHAIN.alphas[i - 1]), float(CHAIN.betas[i - 1])
        before, now = float(abar[i - 1]), float(abar[i])
        assert step.w_t == pytest.approx(alpha**0.5 * (1 - before) / (1 - now), abs=1e-9)
        assert step.w_0 == pytest.approx(before**0.5 * beta / (1 - now), rel=1e-7)
        assert step.spread == pytest.approx(((1 - before) / (1 - now) * beta) ** 0.5, abs=1e-7)
        total = step.w_t * step.x_t + step.w_0 * step.x0_hat + step.spread * step.z
        assert total.numpy() == pytest.approx(step.x_s.numpy(), abs=1e-5)
        noise = normal((1, 3), 5, "explain-step", k)[0] if i > 1 else torch.zeros(3)
        assert step.z.numpy() == pytest.approx(noise.numpy(), abs=2e-3)


def test_levels_of_a_chain_are_its_own_times() -> None:
    assert walk.level_times(make_schedule("linear", 10)).tolist() == pytest.approx([i / 10 for i in range(1, 11)])
    assert set((walk.level_times(CHAIN) * 50).round(decimals=9).tolist()) <= set(range(1, 51))


@pytest.mark.statistical
def test_points_that_may_have_become_x_t_have_the_exact_mean() -> None:
    """The mean of n draws of q(x_0 | x_t) is E[x_0 | x_t] to four deviations of a mean, and to the finite set's own."""
    place, t, n = world("moons"), 0.4, 4000
    points, _ = place.points(40_000)
    a, s = (float(value) for value in COSINE(t))
    x_t = a * points[0] + s * np.array([0.5, -0.7])
    drawn = plane.candidates(points, x_t, a, s, n, seed=0)
    exact = place.denoiser(COSINE)(torch.from_numpy(x_t)[None], torch.tensor(t)).numpy()[0]
    assert np.abs(drawn.mean(0) - exact).max() < 4 * drawn.std(0).max() * (1 / n + 1 / 4000) ** 0.5


def test_the_field_is_the_score_scaled_to_the_grid() -> None:
    """For N(0, I) the score of every q(x_t) is -x: the longest arrow is that of a corner."""
    denoiser = GaussianDenoiser(COSINE, torch.zeros(2), torch.eye(2))
    side = np.linspace(-2, 2, 5)
    places = np.stack(np.meshgrid(side, side, indexing="ij"), -1).reshape(-1, 2)
    found = plane.field(denoiser, places, torch.tensor(0.5, dtype=torch.float64))
    assert found.longest == pytest.approx(8**0.5, rel=1e-5)
    assert found.arrows == pytest.approx(-places / 8**0.5, abs=1e-5)  # the distance between two places is 1


# ------------------------------------------------------------------------------------------------ equations and plots


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("x_t = 0.5 ε", "<msub><mi>x</mi><mi>t</mi></msub><mo>=</mo><mn>0.5</mn><mi>ε</mi>"),
        ("x̂_0", '<msub><mover accent="true"><mi>x</mi><mo>^</mo></mover><mn>0</mn></msub>'),
        ("a < b", "<mi>a</mi><mo>&lt;</mo><mi>b</mi>"),
    ],
)
def test_words_become_mathml(words: str, expected: str) -> None:
    assert mathml.maths(words) == f"<math><mrow>{expected}</mrow></math>"


def test_fractions_roots_and_numbers_become_mathml() -> None:
    shown = mathml.maths(mathml.fraction("a", mathml.root("b")), mathml.number(-0.456), block=True)
    over, under = "<mrow><mi>a</mi></mrow>", "<mrow><msqrt><mrow><mi>b</mi></mrow></msqrt></mrow>"
    assert shown == f'<math display="block"><mrow><mfrac>{over}{under}</mfrac><mn>−0.46</mn></mrow></math>'


def test_points_stand_where_they_are_and_far_ones_are_left_out() -> None:
    drawn = plot.dots(np.array([[0.0, 0.0], [plot.LIMIT, plot.LIMIT], [9.0, 0.0]]), "data")
    assert re.findall(r"M[^h]*", drawn) == ["M200.0 200.0", "M400.0 0.0"]


def test_the_mark_of_a_chart_has_a_place_for_every_frame() -> None:
    t = np.linspace(0.25, 1, 4)
    chart = plot.curves(t, [plot.Curve(t, "up", "s0"), plot.Curve(1 / t, "down", "s1")], "two", start=1, log=True)
    found = re.search(r'data-at="([^"]*)" transform="translate\((\S+) 0\)"', chart)
    assert found is not None
    places = [float(x) for x in found[1].split()]
    assert places == sorted(places) and len(places) == 4 and float(found[2]) == places[1]


# ------------------------------------------------------------------------------------------------------------ the page


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fake_run(tmp_path_factory.mktemp("explained") / "drawn", draw=False)


def offline(text: str) -> PageReader:
    """Read a page, and check that it loads nothing and that each scene shows one frame."""
    page = PageReader(text)
    assert all(address.startswith(("data:", "#")) for address in page.addresses)
    assert not re.search(r"https?://|@import|url\(|\son\w+=", re.sub(r"base64,[\w+/=]+", "", text))
    assert page.tags.count("script") == 1
    scenes = text.split('class="film scene"')[1:]
    for scene in scenes:
        frames = re.findall(r'<div class="frame" data-text="[^"]*"( hidden)?>', scene)
        assert frames.count("") == 1 and len(frames) >= 6
        last = re.search(r'max="(\d+)" value="(\d+)"', scene)
        assert last is not None and int(last[1]) == len(frames) - 1 and frames[int(last[2])] == ""
    assert len(scenes) == 4
    return page


def test_the_page_of_a_model_of_pictures(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", str(run), "--json"]) == 0
    path = Path(json.loads(capsys.readouterr().out)["page"])
    assert path == run / "explain.html"
    page = offline(path.read_text(encoding="utf-8"))
    assert page.ids == ["noise", "network", "step", "way", "symbols"]
    assert "a picture of the data that the network was never trained on" in page.text
    assert page.tags.count("math") > 100 and page.tags.count("img") > 4 * walk.LEVELS
    assert "The output of this network is a mixture v of noise and picture" in page.text


def test_a_picture_of_yours_is_shown_and_one_of_another_size_is_refused(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.fromarray(drawings(1, 12, 10, 1)[0, ..., 0]).save(tmp_path / "<mine>.png")
    out = tmp_path / "page.html"
    for _ in range(2):  # the second page takes the place of the first
        assert main(["explain", str(run), "--image", str(tmp_path / "<mine>.png"), "--out", str(out)]) == 0
    assert "your picture <mine>.png" in offline(out.read_text(encoding="utf-8")).text
    Image.new("L", (28, 28)).save(tmp_path / "large.png")
    assert main(["explain", str(run), "--image", str(tmp_path / "large.png"), "--out", str(out)]) == 2
    assert "12 x 10" in capsys.readouterr().err


def test_a_file_of_somebody_else_is_left_as_it_is(run: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.html").write_text("<!doctype html><title>mine</title>")
    assert main(["explain", "toy:moons", "--out", str(tmp_path / "mine.html")]) == 2
    assert "mine" in (tmp_path / "mine.html").read_text()


def test_the_network_is_given_the_class_that_is_requested(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = replace(TINY, conditions=(ConditionConfig("class", size=2, names=("disc", "bar")),))
    run = fake_run(tmp_path / "told", config=told, bundle=False, draw=False)
    torch.manual_seed(0)
    codec = ImageCodec(1, 12, 10)
    state = build_network(told.network, codec.shape, told.conditions).state_dict()
    state = {name: 0.2 * torch.randn_like(value) for name, value in state.items()}
    save_bundle(run / "bundle", Bundle(told, codec, state, 0.9, {"data": "drawings"}))
    said = {}
    for name in ("disc", "bar", "1"):
        assert main(["explain", str(run), "--class", name]) == 0
        text = (run / "explain.html").read_text(encoding="utf-8")
        said[name] = text.partition('<section id="network"')[2].partition('<section id="step"')[0]
    assert said["disc"] != said["bar"] == said["1"]
    assert main(["explain", str(run), "--class", "cube"]) == 2
    assert "disc" in capsys.readouterr().err


def points_run(folder: Path, config: RunConfig) -> Path:
    """Write a run of an untrained model of the swiss roll."""
    from gendi.data.toy.codec import PointCodec

    codec = PointCodec("swissroll")
    network = build_network(config.network, codec.shape, config.conditions)
    save_bundle(folder / "bundle", Bundle(config, codec, dict(network.state_dict()), 1.0, {"data": "swissroll"}))
    return folder


POINTS = replace(TINY, preset="toy", network=NetworkConfig(kind="mlp", channels=(16,), time_dim=16))


def test_the_page_of_a_model_of_points_compares_it_with_the_exact_score(tmp_path: Path) -> None:
    run = points_run(tmp_path / "points", POINTS)
    assert main(["explain", str(run)]) == 0
    page = offline((run / "explain.html").read_text(encoding="utf-8"))
    assert page.ids == ["noise", "score", "point", "way", "symbols"]
    assert "the exact score, below it" in page.text and page.tags.count("img") == 0


def test_the_page_of_a_toy_world_needs_no_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["explain", "toy:gaussians"]) == 0
    assert capsys.readouterr().out.strip() == "explain-gaussians.html"
    page = offline(Path("explain-gaussians.html").read_text(encoding="utf-8"))
    assert "no network is needed" in page.text and "the exact score, below it" not in page.text
    assert main(["explain", "toy:gaussian"]) == 2
    assert "gaussians" in capsys.readouterr().err
    assert main(["explain", "toy:moons", "--class", "upper"]) == 2


def test_a_student_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    student = replace(POINTS, objective=ObjectiveConfig(loss="consistency"))
    assert main(["explain", str(points_run(tmp_path / "student", student))]) == 2
    assert "Explain its teacher" in capsys.readouterr().err
