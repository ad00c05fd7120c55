"""What every benchmark writes beside its figures: the machine, the versions, the date."""

import datetime
import json
import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

import gendi
from gendi.evaluate.comparison import Z95
from gendi.evaluate.intervals import of_deals, of_share
from gendi.machine.hardware import has_bf16

RESULTS = Path(__file__).parent / "results"
DOCS = Path(__file__).parents[1] / "docs"


AVX2 = {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"}
"""The environment in which a processor with AVX-512 computes as one without."""


def kind() -> str:
    """Return which kind of processor torch computes on: its widest instructions, and -BF16 if it computes in bf16.

    Under the environment `AVX2` it is AVX2, whatever the processor could do.
    """
    return torch.backends.cpu.get_cpu_capability() + ("-BF16" if has_bf16(torch.device("cpu")) else "")


def machine() -> dict[str, Any]:
    model = platform.processor()
    for line in Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []:
        if line.startswith("model name"):
            model = line.split(":", 1)[1].strip()
            break
    return {
        "cpu": model,
        "kind": kind(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "cuda": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "platform": platform.platform(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "gendi": gendi.__version__,
        "date": datetime.date.today().isoformat(),
    }


def write(name: str, figures: dict[str, Any]) -> Path:
    """Write benchmarks/results/NAME.json and say so."""
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps({"machine": machine(), **figures}, indent=1) + "\n", encoding="utf-8")
    print(f"written: {path}")
    return path


def known_models(path: Path) -> list[dict[str, Any]]:
    """Return the models whose figures a file of results keeps; none without a file."""
    return json.loads(path.read_text("utf-8"))["models"] if path.exists() else []


def keep_model(path: Path, model: dict[str, Any], key: Sequence[str]) -> None:
    """Add the figures of a model to a file of results, in the place of one with the same values of `key`."""
    others = [other for other in known_models(path) if [other[name] for name in key] != [model[name] for name in key]]
    path.write_text(json.dumps({"models": [*others, model]}, indent=1) + "\n", encoding="utf-8")


def with_interval(values: Sequence[float], form: str) -> str:
    """Return the mean over seeds or splits, and half of its 95% interval by Student's t; a single one has none."""
    mean = float(np.mean(values))
    interval = of_deals(values).interval if len(values) > 1 else None
    return f"{mean:{form}}" + (f" ± {interval[1] - mean:{form.strip('+')}}" if interval else "")


def share(value: float, n: int) -> str:
    """Return a share of n independent draws, with half the width of Wilson's 95% interval."""
    return f"{value:.3f} ± {Z95 * (of_share(value, n).error or 0):.3f}"


def write_table(page: str, mark: str, lines: list[str]) -> None:
    """Put a table into docs/`page`, in place of what stands between `<!-- mark -->` and `<!-- end of mark -->`."""
    path = DOCS / page
    begin, end = f"<!-- {mark} -->\n", f"<!-- end of {mark} -->\n"
    before, rest = path.read_text(encoding="utf-8").split(begin)
    _, after = rest.split(end)
    path.write_text(before + begin + "\n".join(lines) + "\n" + end + after, encoding="utf-8")
