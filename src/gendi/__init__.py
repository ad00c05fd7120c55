"""gendi: train, sample and measure denoising diffusion models.

    import gendi

    run = gendi.train("mnist", out="runs/mine", max_time="8m")  # a bundle on disk
    digits = gendi.sample(run, n=64, steps=20, seed=0)          # uint8 array (64, 28, 28, 1)

Importing gendi is light: torch is loaded when something needs it.
"""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from gendi.api import evaluate, load, sample, train

_HOME = dict.fromkeys(("evaluate", "load", "sample", "train"), "gendi.api")
__all__ = ["__version__", "evaluate", "load", "sample", "train"]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    raise AttributeError(f"module 'gendi' has no attribute {name!r}")
