"""A finished run of eleven steps, and the pictures it learnt from; tests copy what they break."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from victims import TINY

from gendi.train.budget import Budget
from gendi.train.run.loop import train


@pytest.fixture(autouse=True)
def quick_fsync(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test here cuts the power, so none waits for the disk."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("pictures") / "pictures.npz"
    rng = np.random.default_rng(0)
    np.savez(path, images=rng.integers(0, 256, (24, 6, 6, 1), dtype=np.uint8), labels=np.arange(24) % 3)
    return str(path)


@pytest.fixture(scope="session")
def finished(pictures: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "finished"
    train(pictures, TINY, run, Budget(steps=11))
    return run


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "run"))


@pytest.fixture(scope="module")
def sound(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy for examples that put back what they break."""
    return Path(shutil.copytree(finished, tmp_path_factory.mktemp("sound") / "run"))
