"""What the probe chooses where nothing is left to choose."""

import pytest
import torch
from torch import nn

from gendi.train.probe import choose


@pytest.mark.parametrize(("precision", "layout"), [("fp32", "auto"), ("bf16", "contiguous")])
def test_vectors_of_a_fixed_precision_need_no_probe(precision: str, layout: str) -> None:
    """Vectors have one layout, so a precision that is given leaves nothing to time."""

    def clock() -> float:
        raise AssertionError("a step was timed")

    chosen = choose(nn.Linear(3, 3), (3,), 4, torch.device("cpu"), precision, layout, clock=clock)
    assert (chosen.precision, chosen.layout) == (precision, "contiguous")
