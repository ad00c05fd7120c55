"""What several processes measure together is what one measures: features in order, sums merged, figures alike."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from gendi.data.images import shared_features as shared
from gendi.data.images.extractors import PixelExtractor
from gendi.evaluate.metrics import FeatureStatistics
from gendi.machine.distributed import Team


class Played(Team):
    """One of several processes, played: what the others would send is computed in their place."""

    def __init__(self, rank: int, size: int, theirs: Callable[[int], Any]) -> None:
        self.rank, self.size, self.theirs = rank, size, theirs

    def gathered(self, value: Any) -> list[Any]:
        return [value if rank == self.rank else self.theirs(rank) for rank in range(self.size)]

    def join_rows(self, mine: Tensor, shares: Sequence[slice]) -> Tensor:
        assert len(mine) == shares[self.rank].stop - shares[self.rank].start
        return torch.cat([mine if rank == self.rank else self.theirs(rank) for rank in range(self.size)])


@given(st.integers(1, 5), st.integers(2, 40), st.integers(0, 2**31))
def test_merged_sums_are_numpys_of_all_rows(size: int, n: int, seed: int) -> None:
    x = np.random.default_rng(seed).normal(3, 2, (n, 4))

    def theirs(rank: int) -> FeatureStatistics:
        return FeatureStatistics.from_features(x[Played(0, size, theirs).shares(n)[rank]])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shared, "team", lambda: Played(size // 2, size, theirs))
        found = shared.statistics(x)
    assert found.n == n
    np.testing.assert_allclose(found.mean, x.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(found.covariance, np.cov(x.T), rtol=1e-9, atol=1e-12)


@given(st.integers(1, 5), st.integers(1, 9))
def test_features_are_in_the_order_of_the_images(size: int, n: int) -> None:
    """Each process asks for its own rows alone; where there are fewer than processes, for all."""
    images = np.random.default_rng(n).integers(0, 256, (n, 2, 3, 1), dtype=np.uint8)
    extractor, asked = PixelExtractor(), []

    def rows(part: slice) -> np.ndarray:
        asked.append(part)
        return images[part]

    def theirs(rank: int) -> Tensor:
        return torch.from_numpy(extractor(images[Played(0, size, theirs).shares(n)[rank]]))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shared, "team", lambda: Played(size - 1, size, theirs))
        found = shared.features_of(extractor, n, rows)
    assert np.array_equal(found, extractor(images))
    assert len(asked) == 1 and (n < size or asked[0] == Team.shares(Played(0, size, theirs), n)[-1])


@pytest.mark.slow
def test_two_processes_measure_what_one_does(tmp_path: Path) -> None:
    """101 and 60 images of 12 pixels: more than the dimensions, so the distance is of sums; shares of 51 and 50."""
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "real.npz", images=rng.integers(0, 256, (160, 3, 4, 1), dtype=np.uint8))
    np.savez(tmp_path / "ours.npz", samples=rng.integers(9, 200, (101, 3, 4, 1), dtype=np.uint8))
    words = ["evaluate", "--samples", str(tmp_path / "ours.npz"), "--data", str(tmp_path / "real.npz"), "--n", "101"]
    several = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "--"]
    found = []
    for start in (["-m"], several):
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "GENDI_CACHE": str(tmp_path / f"cache-{len(found)}")}
        command = [sys.executable, *start, "gendi", *words, "--json"]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=200)
        assert done.returncode == 0, done.stderr
        assert done.stderr.count("measuring with") == 1
        found.append(json.loads(done.stdout))
    one, two = ({name: (m["value"], m["floor"]) for name, m in each["metrics"].items()} for each in found)
    assert one.keys() == two.keys() and one["fid-pixels"][0] > 0
    for name in one:
        assert one[name] == pytest.approx(two[name], rel=1e-9), name
    bad = [sys.executable, *several, "gendi", *words[:2], str(tmp_path / "none.npz"), *words[3:]]
    done = subprocess.run(bad, capture_output=True, text=True, timeout=200)
    assert done.returncode != 0 and done.stderr.count("There is no file") == 1
