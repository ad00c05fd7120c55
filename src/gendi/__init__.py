"""gendi: train, sample and measure denoising diffusion models.

    import gendi

    model = gendi.fit("mnist", out="runs/mine", seconds=480)  # a run folder with a bundle in it
    digits = gendi.sample(model, n=64, seed=0)               # uint8 array (64, 28, 28, 1)
    print(gendi.measure(model).to_dict())                    # every metric beside its floor
    print(gendi.bits_per_dim(model).total.bits)              # a bound on the code length of held-out images

Importing gendi is light: torch is loaded when something needs it.
"""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from gendi.api import bits_per_dim, fit, load, measure, sample
    from gendi.edits import denoise, inpaint, interpolate, mix, upscale, vary
    from gendi.train.snapshots import reconstruct_ema

_HOME = dict.fromkeys(("bits_per_dim", "fit", "load", "measure", "sample"), "gendi.api")
_HOME |= dict.fromkeys(("denoise", "inpaint", "interpolate", "mix", "upscale", "vary"), "gendi.edits")
_HOME["reconstruct_ema"] = "gendi.train.snapshots"
__all__ = [
    "__version__",
    "bits_per_dim",
    "denoise",
    "fit",
    "inpaint",
    "interpolate",
    "load",
    "measure",
    "mix",
    "reconstruct_ema",
    "sample",
    "upscale",
    "vary",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    raise AttributeError(f"module 'gendi' has no attribute {name!r}")
