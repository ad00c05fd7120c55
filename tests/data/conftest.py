from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

Save = Callable[..., Path]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder of this test's own."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("GENDI_CACHE", str(folder))
    return folder


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20240)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "images"
    made.mkdir()
    return made


@pytest.fixture
def save(folder: Path, rng: np.random.Generator) -> Save:
    """Save a random image of (height, width) into the folder."""

    def save(name: str, height: int = 6, width: int = 5, mode: str = "RGB", **options: object) -> Path:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        bands = len(Image.new(mode, (1, 1)).getbands())
        pixels = rng.integers(0, 256, (height, width, bands), np.uint8)
        Image.fromarray(pixels.squeeze(-1) if bands == 1 else pixels, mode).save(path, **options)
        return path

    return save
