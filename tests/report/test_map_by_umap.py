"""The map by UMAP: drawn of both sets together, and without a trace in the process."""

import numpy as np
import pytest
import torch

from gendi.evaluate.result import PortraitRecord
from gendi.report.portrait import flat_map


@pytest.mark.slow  # umap-learn compiles for half a minute
def test_a_map_by_umap_leaves_the_number_of_threads_alone() -> None:
    pytest.importorskip("umap")
    rng, threads = np.random.default_rng(0), torch.get_num_threads()
    real, fake = (tuple(rng.normal(mean, 1, 40 * 3)) for mean in (0.0, 20.0))
    how, a, b = flat_map(PortraitRecord(3, real, fake, *[()] * 8))
    assert how == "UMAP" and a.shape == b.shape == (40, 2)
    assert np.linalg.norm(a.mean(0) - b.mean(0)) > a.std() and torch.get_num_threads() == threads
