"""The command line in this process, and a run on 16 images of 8x8."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from tiny import TINY

from gendi.cli import main


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str


Gendi = Callable[..., Outcome]


@pytest.fixture
def gendi(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Gendi:
    """Run a command line, given as one string or as words, in this process."""
    monkeypatch.delenv("GENDI_DEBUG", raising=False)

    def run(*words: str) -> Outcome:
        capfd.readouterr()
        code = main(words[0].split() if len(words) == 1 else list(words))
        captured = capfd.readouterr()
        return Outcome(code, captured.out, captured.err)

    return run


@pytest.fixture(scope="session", autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GENDI_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "tiny.npz"
    rng = np.random.default_rng(0)
    np.savez(path, images=rng.integers(0, 256, (16, 8, 8), dtype=np.uint8), labels=np.arange(16) % 2)
    return path


@pytest.fixture(scope="session")
def tiny_run(tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of four steps; tests leave what `gendi train` wrote in it as it is."""
    run = tmp_path_factory.mktemp("runs") / "tiny"
    assert main(["train", str(tiny_data), *TINY, "--steps", "4", "--out", str(run)]) == 0
    return run
