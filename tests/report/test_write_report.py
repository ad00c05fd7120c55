import io
import json
import re
from base64 import b64decode
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_run import TINY, evaluation, fake_run
from page_reader import PageReader
from PIL import Image

import gendi.api.sample
from gendi.api.conditions import as_words
from gendi.api.guidance import Guidance
from gendi.api.request import Request
from gendi.data.images.sample_files import write_samples
from gendi.diffusion.config import ConditionConfig
from gendi.diffusion.gaussian.samplers import Drawing, sample
from gendi.errors import PreemptedError, UsageError
from gendi.report import write_report
from gendi.report.processes import reverse_film
from gendi.report.tiles import grid
from gendi.train.kept.bundle import load_bundle

FIGURES = ("loss", "loss-zoom", "heldout", "density-preserving", "density-exploding", "classes")
TILES = ("strip", "samples", "forward", "reverse", "reverse-grid", "neighbours-samples", "neighbours")
PICTURES = {
    *(f"{name}{theme}.png" for name in FIGURES for theme in ("", ".dark")),
    *(f"{name}.png" for name in TILES),
    "reverse-grid.gif",
}
SECTIONS = [
    "samples", "metrics", "training", "forward", "density", "reverse", "classes", "neighbours", "details", "reproduce",
]  # fmt: skip
HOSTILE = "<script>alert(1)</script>&\"'{x}$a$"


@pytest.fixture(autouse=True)
def small_figures(measured_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw at a fifth of the resolution, once the complete run is done in full."""
    monkeypatch.setattr("gendi.report.style.DPI", 40)


def read(run: Path) -> PageReader:
    return PageReader((run / "report.html").read_text(encoding="utf-8"))


def test_a_complete_run_has_every_section_and_its_contents_lead_there(measured_run: Path) -> None:
    page = read(measured_run)
    assert page.ids == SECTIONS
    assert [a for a in page.addresses if a.startswith("#")] == [f"#{key}" for key in SECTIONS]
    assert page.tags.count("h1") == 1
    assert all(page.alts)


def test_the_page_is_one_file_without_scripts_or_addresses_to_load(measured_run: Path) -> None:
    text = (measured_run / "report.html").read_text(encoding="utf-8")
    page = PageReader(text)
    assert all(address.startswith(("data:image/png;", "data:image/gif;", "#")) for address in page.addresses)
    assert not {"script", "link", "iframe", "object", "form"} & set(page.tags)
    assert not re.search(r"https?://|@import|url\(|\son\w+=", re.sub(r"base64,[\w+/=]+", "", text))
    assert len(text) < 4_000_000


def test_every_picture_is_a_file_that_opens_and_is_the_one_in_the_page(measured_run: Path) -> None:
    folder = measured_run / "pictures"
    assert {path.name for path in folder.iterdir()} == PICTURES
    shown = {b64decode(a.partition(",")[2]) for a in read(measured_run).addresses if a.startswith("data:")}
    assert shown == {path.read_bytes() for path in folder.iterdir()}
    for path in folder.iterdir():
        with Image.open(path) as picture:
            picture.load()
            assert picture.format == path.suffix[1:].upper()
            frames = getattr(picture, "n_frames", 1)  # equal frames in a row are one, shown longer
            assert frames == 1 if path.suffix == ".png" else 1 < frames <= TINY.sample.steps + 1


def test_the_numbers_of_the_evaluation_are_in_the_page(measured_run: Path) -> None:
    text = read(measured_run).text
    for words in (
        "19.61 13.24",
        "98.42 %",
        "−0.01",
        "Samples 0 to 63 of 80",
        "80 samples are compared with 80 training",
    ):
        assert words in text
    assert "22.58" not in text  # the GENDI report is about MNIST


def test_on_mnist_the_reports_figures_stand_beside_and_only_inception_is_compared() -> None:
    from gendi.report.metrics import honesty, metric_table

    digits = evaluation(
        data="mnist", n=1000, extractors=["digits"], names=["0", "1"], histogram=[1, 1], frequencies=[1, 1]
    )
    both = evaluation(data="mnist", n=1000, extractors=["digits", "inception"])
    assert "93.05 %" in metric_table(digits)
    assert "22.58" not in metric_table(digits)
    said = " ".join(honesty(digits, Path("my runs/mnist")))
    assert "cannot be compared with it" in said
    assert "gendi evaluate &#x27;my runs/mnist&#x27; --extractor inception" in said
    row = re.search(r"<td class=\"number value\">19.61</td>.*?</tr>", metric_table(both))
    assert row is not None
    assert "22.58" in row[0]
    assert metric_table(both).count("22.58") == 1


def test_names_from_files_are_text_and_never_markup(tmp_path: Path) -> None:
    measured = evaluation(
        data=HOSTILE, n=80, extractors=[HOSTILE], names=[HOSTILE, "日本"], histogram=[40, 40], frequencies=[1, 1]
    )
    run = fake_run(tmp_path / "<b>&amp; {run}", measured=measured)
    table = json.loads((run / "evaluation.json").read_text()) | {"notes": [HOSTILE]}
    (run / "evaluation.json").write_text(json.dumps(table))
    write_report(run)
    page = read(run)
    assert "script" not in page.tags
    assert "<b>&amp; {run}" in page.text
    assert f"On features of {HOSTILE}" in page.text


def test_a_run_that_has_only_begun_says_what_is_missing(tmp_path: Path) -> None:
    run = fake_run(tmp_path / "young", bundle=False, draw=False)
    (run / "metrics.jsonl").write_text("")
    (run / "timings.json").write_text("[]")
    (run / "status.json").write_text('{"status": "preempted"}')
    write_report(run)
    page = read(run)
    assert "There are no samples yet" in page.text
    assert "This run has no metrics yet" in page.text and "`" not in page.text
    assert "There is no trained model yet" in page.text
    assert "its status is “preempted”" in page.text
    assert "holds no losses" in page.text
    assert {p.stem for p in (run / "pictures").glob("density*")} >= {"density-preserving", "density-exploding"}


def test_without_samples_the_first_are_drawn_for_the_grid(tmp_path: Path) -> None:
    run = fake_run(tmp_path / "undrawn", draw=False)
    write_report(run)
    page = read(run)
    assert "Samples 0 to 63, in the order" in page.text
    assert {"samples.png", "neighbours.png"} <= {p.name for p in (run / "pictures").iterdir()}


@pytest.mark.parametrize(
    "damage",
    [
        {
            "evaluation.json": ("{}", "This is not an evaluation"),
            "samples.npz": ("not a zip", "samples.npz"),
            "timings.json": ("{", "Settings and machine"),
            "status.json": ("[", "Do it again"),
        },
        {"bundle/config.json": ("{}", "config.json"), "evaluation.json": ("{", "evaluation.json")},
    ],
)
def test_a_damaged_file_costs_its_section_only(tmp_path: Path, damage: dict[str, tuple[str, str]]) -> None:
    run = fake_run(tmp_path / "damaged", measured=evaluation(data="drawings", n=80, extractors=["pixels"]))
    for name, (content, _) in damage.items():
        (run / name).write_text(content)
    write_report(run)
    page = read(run)
    for _, said in damage.values():
        assert said in page.text
    assert "density" in page.ids
    assert "loss.png" in {p.name for p in (run / "pictures").iterdir()}


def test_changed_data_are_not_shown_as_the_models_own(tmp_path: Path) -> None:
    run = fake_run(tmp_path / "changed")
    np.savez(tmp_path / "drawings.npz", images=np.zeros((50, 12, 10, 1), np.uint8))
    write_report(run)
    assert "are not those the model was trained on" in read(run).text
    assert not (run / "pictures" / "neighbours.png").exists()


def test_colour_images_of_an_odd_shape_work_and_stay_small(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (70, 33, 48, 3), dtype=np.uint8)  # the worst case for a PNG
    run = fake_run(tmp_path / "colour", channels=3, size=(33, 48), samples=noise)
    write_report(run)
    assert (run / "report.html").stat().st_size < 4_000_000
    with Image.open(run / "pictures" / "samples.png") as picture:
        pixels = np.asarray(picture.convert("RGB"))
    assert np.array_equal(pixels[:33, :48], noise[0])  # 48 fits into a tile once
    assert "classes" not in read(run).ids or "not known yet" in read(run).text


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not a run"):
        write_report(tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_stop_leaves_the_old_report_whole(measured_run: Path) -> None:
    before = (measured_run / "report.html").read_bytes()
    calls = 0

    def poll() -> None:
        nonlocal calls
        calls += 1
        if calls == 5:
            raise PreemptedError("Stopped.")

    with pytest.raises(PreemptedError):
        write_report(measured_run, poll=poll)
    assert (measured_run / "report.html").read_bytes() == before


def test_the_film_ends_with_the_samples_that_the_run_would_draw(measured_run: Path) -> None:

    bundle = load_bundle(measured_run)
    x = sample(bundle.denoiser(clip=1.0), bundle.codec.shape, 32, steps=6, sampler="dpmpp-2m", seed=0)
    expected = grid(bundle.codec.decode(x).numpy(), 8, side=56, gap=2)
    with Image.open(measured_run / "pictures" / "reverse-grid.png") as picture:
        difference = np.abs(np.asarray(picture, np.int16) - np.asarray(expected, np.int16))
    assert difference.max() <= 1  # another batch size: equal up to float round-off, so at most one level
    with Image.open(io.BytesIO((measured_run / "pictures" / "reverse-grid.gif").read_bytes())) as film:
        assert film.info["loop"] == 0


def test_the_film_is_drawn_as_the_samples_beside_it_were(tmp_path: Path) -> None:
    """With their class, guidance, grid, options, eta and place in the seed's stream; to one level, for round-off."""
    classes = ConditionConfig("class", "class", 2, names=("disc", "bar"))
    run = fake_run(tmp_path / "run", config=replace(TINY, conditions=(classes,)))
    how: dict[str, Any] = {"steps": 5, "sampler": "ddim", "seed": 3, "grid": "log-snr"}
    images = gendi.api.sample.sample(run, 32, first_index=7, condition={"class": "bar"}, guidance=2.0, eta=0.5, **how)
    drawing = Drawing.of({**how, "first_index": 7, "eta": 0.5})
    made = Request(str(run), 32, drawing, as_words({"class": "bar"}), guidance=Guidance(2.0))
    write_samples(run / "samples.npz", images, made.texts, 7)
    write_report(run)
    with Image.open(run / "pictures" / "reverse-grid.png") as picture:
        difference = np.abs(np.asarray(picture, np.int16) - np.asarray(grid(images, 8, side=56, gap=2), np.int16))
    assert difference.max() <= 1


def test_another_sampler_in_the_film_has_none_of_the_options(tmp_path: Path) -> None:
    bundle = load_bundle(fake_run(tmp_path / "run"))
    large = Drawing(steps=4, sampler="ancestral", grid="uniform", options={"variance": "large"})
    film = reverse_film(bundle, Request("", 2, large))
    assert film.sampler == "dpmpp-2m"
    assert np.array_equal(
        film.noisy[-1], reverse_film(bundle, Request("", 2, Drawing(steps=4, sampler="dpmpp-2m"))).noisy[-1]
    )
