"""Where training computes: CUDA, then Apple's MPS, then the CPU; several processes each on a device of their own."""

import pytest
import torch

from gendi.machine.hardware import training_device


@pytest.mark.parametrize(
    ("cuda", "mps", "processes", "expected"),
    [
        (0, False, 1, "cpu"),
        (0, True, 1, "mps"),
        (0, True, 2, "cpu"),
        (2, True, 1, "cuda"),
        (2, False, 3, "cuda:1"),
    ],
)
def test_the_device(monkeypatch: pytest.MonkeyPatch, cuda: int, mps: bool, processes: int, expected: str) -> None:
    monkeypatch.setenv("PYTORCH_ENABLE_MPS_FALLBACK", "0")
    monkeypatch.setenv("LOCAL_RANK", "3")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert training_device(processes) == torch.device(expected)
