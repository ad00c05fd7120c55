"""Where training computes: CUDA, then Apple's MPS, then the CPU; several processes each on a device of their own."""

import pytest
import torch

from gendi.machine.hardware import has_bf16, training_device


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


@pytest.mark.parametrize(
    ("known", "quick"),
    [
        ({"avx2": True, "avx512_f": False}, False),  # most laptops
        ({"avx2": True, "avx512_f": True, "avx512_bf16": False}, False),  # oneDNN computes in bf16 here, by emulation
        ({"avx2": True, "avx512_f": True, "avx512_bf16": True}, True),
        ({"neon": True, "bf16": True}, True),  # an Arm
        ({"neon": True, "bf16": False}, False),
        ({}, False),
    ],
)
def test_only_a_processor_with_instructions_for_bf16_has_it(
    monkeypatch: pytest.MonkeyPatch, known: dict[str, bool], quick: bool
) -> None:
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: True)
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: True)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: known)
    assert has_bf16(torch.device("cpu")) is quick
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert not has_bf16(torch.device("cpu"))
