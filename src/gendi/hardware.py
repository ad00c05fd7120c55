"""Accelerators by their data sheets, for plans by arithmetic.

Dense peaks without sparsity, in FLOP/s, and memory in bytes (decimal gigabytes as printed). The sheets: NVIDIA T4
(2019), V100 (2020, SXM2), A10G (2021), A100 (2021, SXM 80 GB), L4 (2023), L40S (2023), H100 (2023, SXM5), H200 (2024,
SXM), B200 (2024, the HGX sheet), GeForce RTX 3090 (Ampere GA102 whitepaper) and 4090 (Ada whitepaper); AMD MI300X
(2023). Where a sheet prints figures with sparsity, half of them stand here.
"""

from dataclasses import dataclass

from gendi.errors import unknown_name


@dataclass(frozen=True)
class Device:
    """One accelerator: bf16 (fp16 where there is no bf16) and fp32 peaks in FLOP/s, memory in bytes."""

    name: str
    half: float
    single: float
    memory: float

    def peak(self, precision: str) -> float:
        """Return the peak for `precision`, "bf16" or "fp32"."""
        return self.half if precision == "bf16" else self.single


DEVICES = {
    "t4": Device("NVIDIA T4", 65e12, 8.1e12, 16e9),
    "v100": Device("NVIDIA V100 SXM2", 125e12, 15.7e12, 32e9),
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


def device_of(name: str) -> Device:
    """Return the device called `name`. Raises `UsageError` with the nearest name."""
    if name not in DEVICES:
        raise unknown_name("accelerator", name, DEVICES)
    return DEVICES[name]
