"""Editing pictures from Python: bytes in, bytes out; the commands of the same names do the same.

A picture is bytes (H, W, C), or (H, W) where it is grey. Result i of a seed is the same picture whatever n is.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gendi.api.editor import Editor, Picture
from gendi.train.bundle import Bundle, load_bundle

Model = Bundle | str | Path


def inpaint(
    model: Model, image: Picture, mask: NDArray[Any], n: int = 4, *, method: str = "dps", **options: Any
) -> Picture:
    """Paint a picture anew where `mask` (H, W) is not 0; return n results (n, H, W, C). The rest stays, to the byte.

    Args:
        method: dps, mmps, pigdm or repaint; see docs/editing.md.
        options: `condition` and `guidance` as for `gendi.sample`; `steps` (as many as the method needs by default),
            `sampler`, `seed`, `batch_size`, `device`; of the method `std` (mmps, pigdm), `zeta` (dps), `resamplings`
            (repaint); `poll`, called after every network call, which raises to stop.

    Raises:
        UsageError: a picture or a mask of another size, an unknown method or option, a mask of one value.
    """
    return _editor(model, n, options).inpaint(image, mask, method).pictures


def upscale(model: Model, small: Picture, n: int = 4, *, method: str | None = None, **options: Any) -> Picture:
    """Return n pictures (n, H, W, C) of the model's size whose means over blocks are `small`.

    Args:
        method: mmps, pigdm or dps; or told, by a model that was trained with the condition low-res:FACTOR. That is the
            default for such a model, and mmps for any other.
        options: as for `inpaint`.

    Raises:
        UsageError: as `inpaint`, and a model's size that is no multiple of the small picture's.
    """
    return _editor(model, n, options).upscale(small, method).pictures


def denoise(model: Model, image: Picture, n: int = 4, *, noise: float | None = None, **options: Any) -> Picture:
    """Return what a noisy picture may have been: (n + 1, H, W, C), the mean first, then n draws.

    Args:
        noise: its standard deviation, black to white being 1; estimated if None.
        options: as for `inpaint`; 50 steps by default.
    """
    return _editor(model, n, options).denoise(image, noise).pictures


def vary(model: Model, image: Picture, n: int = 4, *, strength: float = 0.4, **options: Any) -> Picture:
    """Return n pictures (n, H, W, C) like one, the nearer the smaller `strength` in [0, 1] is.

    Options are those of `inpaint`; 50 steps by default.
    """
    return _editor(model, n, options).vary(image, strength).pictures


def interpolate(model: Model, a: Picture, b: Picture, n: int = 9, **options: Any) -> Picture:
    """Return the way from a to b in n pictures (n, H, W, C), both ends among them.

    Options are `condition`, `guidance`, `device`, `poll`, and `steps` of the probability-flow ODE each way, 50 by
    default.
    """
    return _editor(model, n, options).interpolate(a, b).pictures


def mix(
    model: Model,
    a: Picture,
    b: Picture,
    *,
    weight: float = 0.5,
    detail: float | None = None,
    level: float = 0.5,
    **options: Any,
) -> Picture:
    """Return one picture (H, W, C) with the content of a and b mixed by `weight`, and their detail by `detail`.

    Args:
        weight: how much of b its content has, 0 to 1; half of each by default.
        detail: how much of b its detail has, 0 to 1; as much as `weight` by default. weight = 0 and detail = 1 is the
            content of a with the detail of b.
        level: the time in (0, 1] at which they are mixed.
        options: as for `interpolate`.
    """
    return np.asarray(_editor(model, 1, options).mix(a, b, weight, detail, level).pictures[0])


def _editor(model: Model, n: int, options: Mapping[str, Any]) -> Editor:
    bundle = model if isinstance(model, Bundle) else load_bundle(model)
    rest = dict(options)
    poll = rest.pop("poll", None)
    return Editor(bundle, n, rest, poll)
