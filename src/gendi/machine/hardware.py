"""The speed and memory of accelerators, by their data sheets, and of this machine, by measurement; for plans.

The figures are dense peaks without sparsity, in FLOP/s, and memory in bytes (decimal gigabytes as printed). The sheets
are those of NVIDIA T4 (2019), V100 (2020, SXM2), A10G (2021), A100 (2021, SXM 80 GB), L4 (2023), L40S (2023), H100
(2023, SXM5), H200 (2024, SXM), B200 (2024, an eighth of the HGX sheet), GeForce RTX 3090 (Ampere GA102 whitepaper) and
4090 (Ada whitepaper), both with float32 accumulation, and AMD MI300X (2023). Where a sheet prints a figure with
sparsity, half of it stands here. The fp32 figures are those of the vector units; convolutions in TF32 reach more. Volta
and Turing have no bf16; they compute in fp16, in which gendi does not train.
"""

import os
import time
from dataclasses import dataclass

import psutil
import torch

from gendi.errors import UsageError, unknown_name

SIDES = (1024, 2048)


@dataclass(frozen=True)
class Device:
    """One accelerator: its peaks in bf16 (None if it has no bf16) and fp32, in FLOP/s, and its memory in bytes."""

    name: str
    half: float | None
    single: float
    memory: float
    is_cpu: bool = False

    def peak(self, precision: str) -> float:
        """Return the peak for `precision`, "bf16" or "fp32". Raises `UsageError` for bf16 where there is none."""
        if precision != "bf16":
            return self.single
        if self.half is None:
            raise UsageError(f"{self.name} does not compute in bf16: plan with --precision fp32.")
        return self.half


DEVICES = {
    "t4": Device("NVIDIA T4", None, 8.1e12, 16e9),
    "v100": Device("NVIDIA V100 SXM2", None, 15.7e12, 32e9),
    "a10g": Device("NVIDIA A10G", 70e12, 35e12, 24e9),
    "a100": Device("NVIDIA A100 SXM 80 GB", 312e12, 19.5e12, 80e9),
    "l4": Device("NVIDIA L4", 121e12, 30.3e12, 24e9),
    "l40s": Device("NVIDIA L40S", 362e12, 91.6e12, 48e9),
    "h100": Device("NVIDIA H100 SXM5", 989e12, 67e12, 80e9),
    "h200": Device("NVIDIA H200 SXM", 989e12, 67e12, 141e9),
    "b200": Device("NVIDIA B200", 2250e12, 75e12, 180e9),
    "rtx3090": Device("NVIDIA GeForce RTX 3090", 71e12, 35.6e12, 24e9),
    "rtx4090": Device("NVIDIA GeForce RTX 4090", 165e12, 82.6e12, 24e9),
    "mi300x": Device("AMD Instinct MI300X", 1307e12, 163.4e12, 192e9),
}


def training_device(processes: int = 1) -> torch.device:
    """Return the device to train on: CUDA if there is one, else Apple's MPS, else the CPU.

    Of several processes each has a CUDA device of its own; without CUDA they all compute on the CPU.
    """
    if torch.cuda.is_available():
        if processes == 1:
            return torch.device("cuda")
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
    if processes == 1 and torch.backends.mps.is_available():
        os.environ["PYTORCH_ENABLE_MPS_FALLBACK"] = "1"  # the CPU does what MPS cannot
        return torch.device("mps")
    return torch.device("cpu")


def has_bf16(device: torch.device) -> bool:
    """Return whether the device computes in bf16; a processor that only emulates it does not, and is slow at it."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type != "cpu":
        return True  # found out by trying
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    if not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return False
    known = torch.cpu.get_capabilities()
    return any(known.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16", "sve_bf16"))


def device_of(name: str) -> Device:
    """Return the device called `name`; "cpu" is that of this machine, measured now.

    Raises `UsageError`, with the nearest name, for an unknown one.
    """
    if name == "cpu":
        return this_cpu()
    if name not in DEVICES:
        raise unknown_name("accelerator", name, ["cpu", *DEVICES])
    return DEVICES[name]


def this_cpu() -> Device:
    """Return this machine's CPU, with the peaks that products of matrices reach on all the threads of torch.

    A CPU that only emulates bf16 has no peak in bf16: training does not compute in it there.
    """
    half = measured_peak(torch.bfloat16) if has_bf16(torch.device("cpu")) else None
    single = measured_peak(torch.float32)
    return Device(
        f"this CPU ({torch.get_num_threads()} threads)", half, single, float(psutil.virtual_memory().total), True
    )


def measured_peak(dtype: torch.dtype) -> float:
    """Return the best FLOP/s of three products of square matrices of 1024 and of 2048 rows on the CPU."""
    best = 0.0
    for n in SIDES:
        a, b = torch.ones(n, n, dtype=dtype), torch.ones(n, n, dtype=dtype)
        for _ in range(4):
            start = time.perf_counter()
            a @ b
            best = max(best, 2 * n**3 / (time.perf_counter() - start))
    return best
