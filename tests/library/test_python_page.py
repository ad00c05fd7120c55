"""The blocks of docs/python.md run in order, on sixteen small pictures of two classes and within a few steps."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

import gendi
from gendi.errors import InterruptedRunError
from gendi.train.presets import PRESETS

PAGE = Path(__file__).parents[2] / "docs" / "python.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
SHORTER = {
    r"seconds=(\d+)": lambda m: f"steps={int(m[1]) // 60}",
    r"images=20_000": "images=128",
    r"n=1000": "n=16",
    r"(gendi\.(?:inpaint|vary|interpolate|mix|denoise|upscale)\(.*)\)": r"\1, steps=4)",
}
"""Budgets and numbers of the page, and those of the test; a minute becomes a step, and an edit makes four calls."""
SIDE = 8
USUAL = PRESETS["mnist"].config
SMALL = replace(
    USUAL,
    network=replace(USUAL.network, channels=(8, 16), groups=4, time_dim=16),
    train=replace(USUAL.train, batch_size=16, precision="fp32", layout="contiguous", workers=1),
)
"""The preset of such pictures, but small, and without a probe of what is fastest."""


def draw(folder: Path) -> None:
    """Write pictures of circles and of squares, each into the folder of its class."""
    for name in ("round", "square"):
        (folder / name).mkdir(parents=True)
        for i in range(8):
            picture = Image.new("L", (SIDE, SIDE))
            shape = getattr(ImageDraw.Draw(picture), "ellipse" if name == "round" else "rectangle")
            shape((1, 1, 4 + i % 3, 4 + i % 3), fill=120 + 15 * i)
            picture.save(folder / name / f"{i}.png")


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The namespace in which the page has run."""
    folder = tmp_path_factory.mktemp("page")
    draw(folder / "photos")
    names: dict[str, Any] = {"folder": folder}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setitem(PRESETS, "mnist", replace(PRESETS["mnist"], config=SMALL))
        for block in BLOCKS:
            for pattern, short in SHORTER.items():
                block = re.sub(pattern, short, block)
            exec(compile(block, str(PAGE), "exec"), names)
    return names


def test_the_page_has_run_and_made_what_it_says(page: dict[str, Any]) -> None:
    assert page["images"].shape == (16, SIDE, SIDE, 1) and page["images"].dtype == np.uint8
    assert page["model"].meta["step"] == 3  # the first call made two of them
    assert page["model"].class_names == ("round", "square")
    assert (page["folder"] / "photos.png").is_file() and (page["folder"] / "near.png").is_file()
    assert {"bundle", "checkpoints", "config.toml", "metrics.jsonl"} <= {
        path.name for path in (page["folder"] / "runs" / "photos").iterdir()
    }


def test_an_edit_keeps_what_it_was_told_to_keep(page: dict[str, Any]) -> None:
    assert (page["halves"][:, SIDE // 2 :] == page["picture"][SIDE // 2 :]).all()
    assert len(page["way"]) == 5 and page["large"].shape == (2, SIDE, SIDE, 1)


def test_the_second_run_starts_from_the_first_and_the_third_has_its_own_network(page: dict[str, Any]) -> None:
    assert page["more"].meta["images"] == 128 and page["more"].config.network == page["model"].config.network
    assert page["small"].config.network.channels == (32, 64)


def test_every_file_that_the_page_names_is_one_that_a_run_may_have() -> None:
    from gendi.storage.record import LOGS
    from gendi.train.kept.folders import FOLDERS

    rows = re.findall(r"^\| `([^|]*)` \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    named = {name.strip(" `/") for row in rows for name in row.split(",")}
    assert named <= {*FOLDERS, *LOGS, "config.toml", "report.html"}


def test_a_run_that_is_interrupted_is_saved(
    page: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import os
    import signal

    from gendi.train.step.trainer import Trainer

    real, sent = Trainer.step, list[int]()

    def stepped(self: Trainer, progress: float) -> Any:
        if self.step_count == 1 and not sent:
            sent.append(1)
            os.kill(os.getpid(), signal.SIGINT)
        return real(self, progress)

    monkeypatch.chdir(page["folder"])
    monkeypatch.setattr(Trainer, "step", stepped)
    monkeypatch.setitem(PRESETS, "mnist", replace(PRESETS["mnist"], config=SMALL))
    with pytest.raises(InterruptedRunError):
        gendi.fit("photos", out=tmp_path / "run", steps=5, quiet=True)
    monkeypatch.undo()
    assert gendi.load(tmp_path / "run").meta["step"] < 5
