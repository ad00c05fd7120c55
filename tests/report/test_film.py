"""The film of previews: which pictures it shows, and that the page that holds it needs nothing from outside."""

import base64
import io
import itertools
import json
import re
from pathlib import Path

import numpy as np
import pytest
from fake_run import fake_run
from page_reader import PageReader
from PIL import Image

from gendi.report import write_report
from gendi.report.film import FRAMES, film, frames_of


def preview(path: Path, value: int, mode: str = "L", side: int = 12) -> None:
    path.parent.mkdir(exist_ok=True)
    Image.new(mode, (side, side), value if mode == "L" else (value, 0, 0)).save(path)


def run_with(folder: Path, steps: list[int], *, mode: str = "L") -> tuple[Path, list[dict[str, object]]]:
    """A run with previews of `steps`, and a picture of step 7 that metrics.jsonl does not know."""
    for step in [*steps, 7]:
        preview(folder / "previews" / f"step_{step:08d}.png", step % 256, mode)
    lines: list[dict[str, object]] = [{"step": s, "images": 64 * s, "heldout": 0.5, "heldout_q": []} for s in steps]
    return folder, [{"step": 5, "images": 320, "loss": 1.0}, *lines]


def test_only_previews_of_steps_in_metrics_count(tmp_path: Path) -> None:
    """Step 7 was seen by a sitting that was killed: going on has dropped its line, and its picture is another run's."""
    run, lines = run_with(tmp_path, [10, 20, 40])
    lines.append({"step": 80, "images": 5120, "heldout": 0.4})  # its picture could not be written
    assert [frame.step for frame in frames_of(run, lines)] == [10, 20, 40]


def test_many_previews_are_thinned_evenly_with_the_first_and_the_last(tmp_path: Path) -> None:
    run, lines = run_with(tmp_path, list(range(10, 1010, 10)))
    steps = [frame.step for frame in frames_of(run, lines)]
    assert len(steps) == FRAMES and steps[0] == 10 and steps[-1] == 1000
    assert {b - a for a, b in itertools.pairwise(steps)} <= {40, 50}  # 99 / 23 previews, in whole ones


@pytest.mark.parametrize("inside", [True, False])
def test_one_picture_is_shown_and_a_slider_leads_to_the_others(tmp_path: Path, inside: bool) -> None:
    run, lines = run_with(tmp_path, [10, 20, 40])
    markup = film(frames_of(run, lines), "images", inside=inside)
    page = PageReader(markup)
    assert page.tags.count("img") == 3 and markup.count("<img") == len(re.findall(r"<img[^>]* hidden>", markup)) + 1
    assert page.alts == [f"Step {step}: {64 * step:,} images seen" for step in (10, 20, 40)]
    assert 'type="range" min="0" max="2" value="2"' in markup
    shown = [base64.b64decode(a.partition(",")[2]) if inside else (run / a).read_bytes() for a in page.addresses]
    assert shown == [(run / "previews" / f"step_{step:08d}.png").read_bytes() for step in (10, 20, 40)]


def test_one_preview_needs_no_slider_and_damaged_ones_are_left_out(tmp_path: Path) -> None:
    run, lines = run_with(tmp_path, [10, 20])
    (run / "previews" / "step_00000020.png").write_bytes(b"no picture")
    markup = film(frames_of(run, lines), "images")
    assert "Step 10" in markup and "<input" not in markup and markup.count("<img") == 1
    (run / "previews" / "step_00000010.png").write_bytes(b"")
    assert film(frames_of(run, lines), "images") == ""


def test_large_pictures_in_colour_become_small_and_look_the_same(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    big = Image.fromarray(noise).resize((400, 400), Image.Resampling.BICUBIC)
    path = tmp_path / "previews" / "step_00000010.png"
    path.parent.mkdir()
    big.save(path)
    markup = film(frames_of(tmp_path, [{"step": 10, "images": 640, "heldout": 1.0}]), "images")
    address = PageReader(markup).addresses[0]
    assert address.startswith("data:image/jpeg;") and len(address) < path.stat().st_size / 2
    with Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2]))) as picture:
        difference = np.asarray(picture, np.float64) - np.asarray(big, np.float64)
    assert np.abs(difference).mean() < 4


def test_the_report_shows_the_film_and_its_page_loads_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gendi.report.style.DPI", 40)
    run = fake_run(tmp_path / "filmed", draw=False)
    steps = [
        line["step"] for line in map(json.loads, (run / "metrics.jsonl").read_text().splitlines()) if "heldout" in line
    ]
    for step in steps:
        preview(run / "previews" / f"step_{step:08d}.png", step % 256)
    write_report(run)
    text = (run / "report.html").read_text(encoding="utf-8")
    page = PageReader(text)
    assert 'class="film"' in text and page.tags.count("script") == 1 and page.tags.count("input") == 1
    assert all(address.startswith(("data:", "#")) for address in page.addresses)
    assert not re.search(r"https?://|@import|url\(|\son\w+=|http-equiv", re.sub(r"base64,[\w+/=]+", "", text))
    assert "The film shows its previews" in page.text
