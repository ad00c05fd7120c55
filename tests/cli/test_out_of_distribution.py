"""Bits of pictures that a model has not learned: the same grey levels, laid out another way."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tiny import TINY

Gendi = Callable[..., Any]


def stripes(n: int, seed: int) -> NDArray[np.uint8]:
    """Return n pictures (n, 8, 8) of horizontal stripes two pixels wide, each in one of eight levels."""
    levels = np.random.default_rng(seed).integers(0, 8, (n, 4)) * 36
    return np.repeat(np.repeat(levels[:, :, None], 2, 1), 8, 2).astype(np.uint8)


@pytest.mark.statistical
def test_pictures_of_another_kind_cost_more(gendi: Gendi, tmp_path: Path) -> None:
    """Upright stripes have the histogram and the smoothness of the ones learned. If they were no different to the
    model, the AUROC over 40 and 40 images would have mean 1/2 and deviation sqrt(81 / (12 * 40 * 40)) = 0.065.
    """
    np.save(tmp_path / "lying.npy", stripes(600, 0))
    np.save(tmp_path / "upright.npy", stripes(600, 1).transpose(0, 2, 1))
    words = ["train", str(tmp_path / "lying.npy"), "--out", str(tmp_path / "run"), *TINY]
    words[words.index("--condition") : words.index("--condition") + 2] = []
    words[words.index("--batch-size") + 1] = "32"
    assert gendi(*words, "--steps", "100", "--optim.lr", "4e-3", "--train.preview-every", "0").code == 0
    outcome = gendi(f"likelihood {tmp_path / 'run'} {tmp_path / 'upright.npy'} --n 40 --json")
    assert outcome.code == 0, outcome.err
    found = json.loads(outcome.out)
    own, other = (found["sets"][str(tmp_path / f"{name}.npy")]["total"] for name in ("lying", "upright"))
    error = np.hypot(own["standard_error"], other["standard_error"])
    assert other["bits_per_dim"] - own["bits_per_dim"] > 5 * error
    assert found["auroc"] > 0.5 + 5 * 0.065
