"""Editing pictures from Python: bytes in, bytes out. The commands of the same names do the same.

A picture is bytes (H, W, C), or (H, W) where it is grey. Result i of a seed is the same picture whatever n is.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gendi.api.editor import Editor, Picture
from gendi.train.kept.bundle import Bundle, load_bundle

Model = Bundle | str | Path


def inpaint(
    model: Model, image: Picture, mask: NDArray[Any], n: int = 4, *, method: str = "dps", **options: Any
) -> Picture:
    """Repaint a picture where `mask` (H, W) is not 0; return n results (n, H, W, C). The rest stays exactly as it is.

    Args:
        method: dps, mmps, pigdm or repaint; see docs/editing.md.
        options: `condition` and `guidance` as for `gendi.sample`; `steps` (as many as the method needs by default),
            `sampler`, `seed`, `batch_size`, `device`; the method's own `std` (mmps, pigdm), `zeta` (dps) or
            `resamplings` (repaint); `poll`, called after every network call, which raises to stop.

    Raises:
        UsageError: the picture or the mask has another size than the model's pictures, the method or an option is
            unknown, or the mask has one value everywhere.
    """
    return _editor(model, n, options).inpaint(image, mask, method).pictures


def upscale(model: Model, small: Picture, n: int = 4, *, method: str | None = None, **options: Any) -> Picture:
    """Return n pictures (n, H, W, C) of the model's size whose means over blocks are `small`.

    Args:
        method: mmps, pigdm or dps; or conditional, for a model that was trained with the condition low-res:FACTOR. The
            default is conditional for such a model, and mmps for any other.
        options: as for `inpaint`.

    Raises:
        UsageError: as for `inpaint`; or the model's size is not a multiple of the small picture's size.
    """
    return _editor(model, n, options).upscale(small, method).pictures


def denoise(model: Model, image: Picture, n: int = 4, *, noise: float | None = None, **options: Any) -> Picture:
    """Return pictures without noise (n + 1, H, W, C) for a noisy one: first their mean, then n draws.

    Args:
        noise: the noise's standard deviation, where black to white is 1; it is estimated if None.
        options: as for `inpaint`; 50 steps by default.
    """
    return _editor(model, n, options).denoise(image, noise).pictures


def vary(model: Model, image: Picture, n: int = 4, *, strength: float = 0.4, **options: Any) -> Picture:
    """Return n pictures (n, H, W, C) that resemble one; a smaller `strength` in [0, 1] keeps them nearer to it.

    Options are those of `inpaint`; 50 steps by default.
    """
    return _editor(model, n, options).vary(image, strength).pictures


def interpolate(model: Model, a: Picture, b: Picture, n: int = 9, **options: Any) -> Picture:
    """Return n pictures (n, H, W, C) that go from a to b; the first is a and the last is b.

    Options are `condition`, `guidance`, `device`, `poll`, and `steps`: the steps of the probability-flow ODE in each
    direction, 50 by default.
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
