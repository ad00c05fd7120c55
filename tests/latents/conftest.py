from pathlib import Path

import pytest
from latent_world import SMALL, TRAINING, write_pictures

import gendi
from gendi.data.images.latents import LatentCodec


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Latents are kept in a cache of the test's own."""
    monkeypatch.setenv("GENDI_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_pictures(tmp_path_factory.mktemp("pictures") / "shapes.npz")


@pytest.fixture(scope="session")
def autoencoder(pictures: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an autoencoder of these pictures."""
    folder = tmp_path_factory.mktemp("autoencoder") / "shapes"
    gendi.fit_autoencoder(pictures, out=folder, config=SMALL, steps=40, quiet=True, **TRAINING)
    return folder


@pytest.fixture(scope="session")
def codec(autoencoder: Path) -> LatentCodec:
    from gendi.train.kept.autoencoder import read_autoencoder

    return read_autoencoder(autoencoder)
