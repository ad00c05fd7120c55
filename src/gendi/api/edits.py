"""Editing pictures from Python: bytes in, bytes out; the commands of the same names, each in one call.

A picture is bytes (H, W, C), or (H, W) where it is grey. Result i of a seed is the same picture whatever n is.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from gendi.api.guidance import guided
from gendi.data.images.codec import ImageCodec, pictures_only
from gendi.diffusion.gaussian.conditioned import conditioned
from gendi.diffusion.gaussian.denoiser import Denoiser
from gendi.diffusion.gaussian.guidance import Guidance
from gendi.diffusion.gaussian.inverse import latent, methods, noisy
from gendi.diffusion.gaussian.inverse.operators import Pool
from gendi.diffusion.gaussian.samplers.drawing import Drawing
from gendi.errors import UsageError
from gendi.train.bundle import Bundle, load_bundle

METHODS = {"mmps": 40, "pigdm": 40, "dps": 100, "repaint": 20}
"""How to solve an inverse problem, with the steps that are enough."""
USUAL = 50
Model = Bundle | str | Path
Picture = NDArray[Any]


def inpaint(
    model: Model, image: Picture, mask: NDArray[Any], n: int = 4, *, method: str = "dps", **options: Any
) -> Picture:
    """Paint a picture anew where `mask` (H, W) is not 0; return n results (n, H, W, C). The rest stays, to the byte.

    Args:
        method: dps, mmps, pigdm or repaint; see docs/editing.md.
        options: `condition` and `guidance` as for `gendi.sample`; `steps`, `sampler`, `seed`, `batch_size`, `device`;
            of the method `std` (mmps, pigdm), `zeta` (dps), `resamplings` (repaint).

    Raises:
        UsageError: a picture or a mask of another size, an unknown method or option, a mask of one value.
    """
    edit = _Edit(model, n, options, method)
    x_0, known = edit.picture(image), torch.from_numpy(np.asarray(mask) == 0)
    if known.shape != x_0.shape[2:]:
        raise UsageError(f"the mask has shape {tuple(known.shape)} and the model's pictures {tuple(x_0.shape[2:])}.")
    if bool(known.all()) or not bool(known.any()):
        raise UsageError("the mask has one value everywhere: it is 0 where the picture stays, and else where it goes.")
    rows = x_0.expand(n, -1, -1, -1)
    return edit.bytes(methods.inpaint(edit.denoiser, rows, known, edit.how, method=method, **edit.rest))


def upscale(model: Model, small: Picture, n: int = 4, *, method: str = "mmps", **options: Any) -> Picture:
    """Return n pictures (n, H, W, C) of the model's size whose means over blocks are `small`.

    Args and errors are those of `inpaint`; the model's size must be a multiple of the small picture's.
    """
    edit = _Edit(model, n, options, method)
    height, width = np.shape(small)[:2]
    factor = edit.codec.height // max(1, height)
    if factor < 2 or (height * factor, width * factor) != (edit.codec.height, edit.codec.width):
        raise UsageError(
            f"the picture is {height} x {width}, of which the model's {edit.codec.height} x {edit.codec.width} is no "
            "multiple."
        )
    y = edit.picture(small, (height, width)).expand(n, -1, -1, -1)
    shape = edit.codec.shape
    return edit.bytes(methods.solve(edit.denoiser, Pool(factor), y, shape, edit.how, method=method, **edit.rest))


def denoise(model: Model, image: Picture, n: int = 4, *, noise: float | None = None, **options: Any) -> Picture:
    """Return what a noisy picture may have been: (n + 1, H, W, C), the mean first, then n draws.

    Args:
        noise: its standard deviation, black to white being 1; estimated if None.
        options: as for `inpaint`.
    """
    edit = _Edit(model, n, options)
    y = edit.picture(image)
    std = 2 * noise if noise is not None else max(2e-3, float(noisy.estimate_noise(y)))
    one = {name: rows[:1] for name, rows in edit.cond.items()}
    mean = noisy.denoised_mean(edit.denoiser, y, std, one)
    drawn = noisy.denoise(edit.denoiser, y.expand(n, -1, -1, -1), std, edit.how, edit.cond)
    return edit.bytes(torch.cat([mean, drawn]))


def vary(model: Model, image: Picture, n: int = 4, *, strength: float = 0.4, **options: Any) -> Picture:
    """Return n pictures (n, H, W, C) like one, the nearer the smaller `strength` in [0, 1] is; options as `inpaint`."""
    edit = _Edit(model, n, options)
    x_0 = edit.picture(image).expand(n, -1, -1, -1)
    return edit.bytes(noisy.vary(edit.denoiser, x_0, strength, edit.how, edit.cond))


def interpolate(model: Model, a: Picture, b: Picture, n: int = 9, **options: Any) -> Picture:
    """Return the way from a to b in n pictures (n, H, W, C), both ends among them.

    Options are `condition`, `guidance`, `device`, and `steps` of the probability-flow ODE.
    """
    edit = _Edit(model, n, options)
    first, last = (edit.picture(image).expand(n, -1, -1, -1) for image in (a, b))
    weights = torch.linspace(0, 1, n, dtype=torch.float64)
    return edit.bytes(latent.interpolate(edit.known, first, last, weights, steps=edit.how.steps))


def mix(
    model: Model,
    a: Picture,
    b: Picture,
    *,
    weight: float = 0.0,
    detail: float = 1.0,
    level: float = 0.5,
    **options: Any,
) -> Picture:
    """Return one picture (H, W, C) with the content of a and the detail of b, cut at the time `level`.

    Args:
        weight, detail: how much of b its content and its detail have, 0 to 1.
        options: as for `interpolate`.
    """
    edit = _Edit(model, 1, options)
    x = latent.mix(edit.known, edit.picture(a), edit.picture(b), weight, detail, level=level, steps=edit.how.steps)
    return np.asarray(edit.bytes(x)[0])


class _Edit:
    """A model that is about to edit: its denoiser in fp32, what it is told, how to draw, and the method's options."""

    def __init__(self, model: Model, n: int, options: Mapping[str, Any], method: str | None = None) -> None:
        if n < 1:
            raise UsageError(f"n = {n} is out of range: it must be 1 or more.")
        bundle = model if isinstance(model, Bundle) else load_bundle(model)
        self.codec = pictures_only(bundle.codec, "editing")
        given, own = dict(options), bundle.config.sample
        told: Mapping[str, Any] | None = given.pop("condition", None)
        guidance: Guidance | float | None = given.pop("guidance", None)
        self.device = given.pop("device", "cpu")
        found = guided(bundle, guidance, told, n, device=self.device, precision="fp32", editing=True)
        self.denoiser: Denoiser = found[0]
        self.cond: dict[str, Tensor] = found[1]
        self.known = conditioned(*found)
        usual = METHODS.get(method or "", USUAL)
        chain = bundle.config.process.steps
        self.how = Drawing(
            steps=given.pop("steps", usual if chain is None else min(usual, chain)),
            sampler=given.pop("sampler", "ancestral" if method == "dps" else own.sampler),
            seed=given.pop("seed", 0),
            batch_size=given.pop("batch_size", 64),
            device=self.device,
        )
        if method is None and given:
            raise UsageError(f"{next(iter(given))!r} is no option of this edit.")
        clip = {"clip": 1.0} if method in ("mmps", "pigdm") else {}
        self.rest: dict[str, Any] = {"cond": self.cond, **clip, **given}

    def picture(self, image: Picture, size: tuple[int, int] | None = None) -> Float[Tensor, "1 c h w"]:
        """Return a picture in model space. Raises `UsageError` for another size, other channels or other numbers."""
        pixels = np.asarray(image)
        pixels = pixels[..., None] if pixels.ndim == 2 else pixels
        wanted = (*(size or (self.codec.height, self.codec.width)), self.codec.channels)
        if pixels.dtype != np.uint8 or pixels.shape != wanted:
            raise UsageError(
                f"the picture must be bytes (uint8) of shape {wanted}; it is {pixels.dtype} {pixels.shape}."
            )
        codec = ImageCodec(wanted[2], wanted[0], wanted[1])
        return codec.encode(torch.from_numpy(pixels[None].copy())).to(self.device)

    def bytes(self, x: Tensor) -> Picture:
        """Return pictures (n, C, H, W) of model space as bytes (n, H, W, C)."""
        return np.asarray(self.codec.decode(x.cpu().float()).numpy())
