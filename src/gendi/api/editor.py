"""A model that edits: the work behind `gendi.inpaint` and the other functions, and behind the commands of these names.

A picture is bytes (H, W, C), or (H, W) where it is grey. What is not requested is null, networks compute in fp32, and
x0_hat is not bounded even where the model's sampling bounds it, as gradients and the ODE need it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, UInt8
from numpy.typing import NDArray
from torch import Tensor

from gendi.api.conditions import read_conditions
from gendi.api.edit_settings import BATCH, CONDITIONAL, METHOD_OPTIONS, METHODS, OLD_NAMES, STEPS
from gendi.api.guidance import Guidance
from gendi.api.models import Models, null_where_silent
from gendi.api.request import MOST_ADAPTIVE
from gendi.data.images.codec import ImageCodec, pictures_only
from gendi.data.images.latents import LatentCodec, pictures_of, shown_as_pictures
from gendi.diffusion.conditions import requested_conditions, take
from gendi.diffusion.gaussian.conditioned import conditioned
from gendi.diffusion.gaussian.denoiser import Denoiser
from gendi.diffusion.gaussian.inverse import latent, methods, noisy
from gendi.diffusion.gaussian.inverse.operators import Pool
from gendi.diffusion.gaussian.samplers import Drawing, get_sampler, sample
from gendi.diffusion.gaussian.samplers.checked import checked
from gendi.errors import UsageError, unknown_name
from gendi.machine.stopping import Poll
from gendi.train.kept.bundle import Bundle

Picture = NDArray[Any]
DRAWING = ("steps", "sampler", "seed", "batch_size", "device")
"""The settings of drawing that an edit takes."""


@dataclass(frozen=True)
class Edited:
    """What an edit made."""

    pictures: NDArray[np.uint8]
    """The results, bytes (N, H, W, C)."""
    given: tuple[NDArray[np.uint8], ...] = ()
    """What to show beside the results, each bytes (1, H, W, C)."""
    captions: tuple[str, ...] = ()
    """What the pictures that were given are, and what the first results are; other results have numbers."""
    figures: Mapping[str, Any] = field(default_factory=dict)
    """Numbers and names that the results depend on and that were chosen on the way."""


@dataclass(frozen=True)
class _Ready:
    """A denoiser that is about to edit."""

    denoiser: Denoiser
    cond: dict[str, Tensor]
    how: Drawing
    method: dict[str, Any]
    """Options of the method."""

    @property
    def solver(self) -> Denoiser:
        """The denoiser with its conditions, for edits that run no sampler."""
        return conditioned(self.denoiser, self.cond)


class Editor:
    """A model that makes n results of an edit.

    Args:
        options: `condition` and `guidance` as for `gendi.sample`; `steps`, `sampler`, `seed`, `batch_size`, `device`;
            and the method's own. What is None is left to the edit.
        poll: called after every network call; raise from it to stop.

    Raises:
        UsageError: n below 1, a model of other things than pictures, guidance that does not fit the model.
    """

    def __init__(self, bundle: Bundle, n: int, options: Mapping[str, Any], poll: Poll | None = None) -> None:
        if n < 1:
            raise UsageError(f"n = {n} is out of range: it must be 1 or more.")
        self.codec = shown_as_pictures(bundle.codec, "editing")
        pixels = pictures_of(self.codec)
        assert pixels is not None
        self.pixels = pixels
        self.bundle, self.n, self.poll = bundle, n, poll
        given = {name: value for name, value in options.items() if value is not None}
        self.condition: Mapping[str, Any] = given.pop("condition", {})
        self.guidance = Guidance.of(given.pop("guidance", None))
        self.drawing = {name: given.pop(name) for name in DRAWING if name in given}
        self.options = given
        self.models = Models.read(bundle, self.guidance)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the model's pictures."""
        return self.pixels.size

    def inpaint(self, image: Picture, mask: NDArray[Any], method: str = "dps") -> Edited:
        """Paint a picture anew where `mask` (H, W) is not 0. Raises as `gendi.inpaint`."""
        ready = self._ready(method)
        pixels, known = self._checked(image), torch.from_numpy(np.asarray(mask) == 0)
        if known.shape != self.size:
            raise UsageError(f"the mask has shape {tuple(known.shape)} and the model's pictures {self.size}.")
        if bool(known.all()) or not bool(known.any()):
            raise UsageError(
                "the mask has one value everywhere: it must be 0 where the picture is kept, and another value "
                "where it is painted."
            )
        more: dict[str, Any] = {"method": method, "cond": ready.cond, "poll": self.poll, **ready.method}
        keep = known.numpy()[..., None]
        masked = np.where(keep, pixels, 128).astype(np.uint8)
        if isinstance(self.codec, LatentCodec):
            # what is under the mask must not be seen in the latents around it, so it is painted over before encoding
            mean = pixels[known.numpy()].mean(0).round()
            x_0 = self._encode(np.where(keep, pixels, mean).astype(np.uint8))
            x = methods.inpaint(ready.denoiser, self._repeat(x_0), self._places(known), ready.how, **more)
            made = np.where(keep, pixels, self._decode(x))
        else:
            x = methods.inpaint(ready.denoiser, self._repeat(self._encode(pixels)), known, ready.how, **more)
            made = self._decode(x)
        figures = {"steps": ready.how.steps} | ({} if method == "repaint" else {"sampler": ready.how.sampler})
        return Edited(made, (pixels[None], masked[None]), ("given", "masked"), figures)

    def _places(self, known: Bool[Tensor, "h w"]) -> Bool[Tensor, "h2 w2"]:
        """Return which places of the latents have only known pixels. Raises `UsageError` if there is none."""
        assert isinstance(self.codec, LatentCodec)
        factor = self.codec.config.factor
        places = -F.max_pool2d(-known.float()[None, None], factor)[0, 0] > 0
        if not bool(places.any()):
            raise UsageError(
                f"the mask touches every square of {factor} x {factor} pixels, one place of the model's latents, so "
                "nothing would be kept: make it smaller."
            )
        return places

    def upscaling(self, factor: int, method: str | None) -> str:
        """Return the method of upscaling, by default the model's own if it was trained for the factor.

        Raises `UsageError` for an unknown method, and for one that the model was not trained for.
        """
        able = self.bundle.condition(f"low-res:{factor}") is not None
        if method is None:
            return CONDITIONAL if able else "mmps"
        method = OLD_NAMES.get(method, method)
        if method not in (CONDITIONAL, *METHODS) or method == "repaint":
            raise unknown_name("method", method, (CONDITIONAL, *(name for name in METHODS if name != "repaint")))
        if method == CONDITIONAL and not able:
            raise UsageError(f"the method {method} needs a model that was trained with --condition low-res:{factor}.")
        return method

    def upscale(self, small: Picture, method: str | None = None) -> Edited:
        """Make a small picture as large as the model's. Raises as `gendi.upscale`."""
        pictures_only(self.codec, "making a picture larger")
        height, width = np.shape(small)[:2]
        factor = self.size[0] // max(1, height)
        if factor < 2 or (height * factor, width * factor) != self.size:
            raise UsageError(
                f"the picture is {height} x {width}, and the model's {self.size[0]} x {self.size[1]} is not 2, 3 or "
                "more times as large."
            )
        method = self.upscaling(factor, method)
        y, shape = self._encode(small, (height, width)), self.codec.shape
        large = y.repeat_interleave(factor, 2).repeat_interleave(factor, 3)
        if method == CONDITIONAL:
            ready = self._ready(method, {f"low-res:{factor}": self._decode(large)[0]})
            x = sample(ready.denoiser, shape, self.n, ready.how, cond=ready.cond, poll=self.poll)
        else:
            ready = self._ready(method)
            more: dict[str, Any] = {"method": method, "cond": ready.cond, "poll": self.poll, **ready.method}
            x = methods.solve(ready.denoiser, Pool(factor), self._repeat(y), shape, ready.how, **more)
        figures = {"factor": factor, "method": method, "steps": ready.how.steps}
        return Edited(self._decode(x), (self._decode(large),), ("given",), figures)

    def estimate_noise(self, image: Picture) -> float:
        """Return the deviation of the noise in a picture, black to white being 1; 0.001 at least."""
        pictures_only(self.codec, "taking the noise out of a picture")
        return max(1e-3, float(noisy.estimate_noise(self._encode(image))) / 2)

    def denoise(self, image: Picture, noise: float | None = None) -> Edited:
        """Take noise out of a picture: the mean first, then the n draws. Raises as `gendi.denoise`."""
        pictures_only(self.codec, "taking the noise out of a picture")
        ready, y = self._ready(None, in_turn=False), self._encode(image)
        noise = self.estimate_noise(image) if noise is None else noise
        one = take(ready.cond, slice(0, 1), ready.how.device)
        mean = noisy.denoised_mean(ready.denoiser, y, 2 * noise, one)
        drawn = noisy.denoise(ready.denoiser, self._repeat(y), 2 * noise, ready.how, ready.cond, self.poll)
        figures = {"sampler": ready.how.sampler, "steps": ready.how.steps}
        return Edited(self._decode(torch.cat([mean, drawn])), (self._decode(y),), ("given", "mean"), figures)

    def vary(self, image: Picture, strength: float = 0.4) -> Edited:
        """Draw pictures like one. Raises as `gendi.vary`."""
        ready, x_0 = self._ready(None), self._encode(image)
        x = noisy.vary(ready.denoiser, self._repeat(x_0), strength, ready.how, ready.cond, self.poll)
        figures = {"sampler": ready.how.sampler, "steps": ready.how.steps}
        return Edited(self._decode(x), (self._decode(x_0),), ("given",), figures)

    def interpolate(self, a: Picture, b: Picture) -> Edited:
        """Walk from a to b in n pictures. Raises as `gendi.interpolate`."""
        ready = self._ready(None, in_turn=False)
        first, last = (self._repeat(self._encode(image)) for image in (a, b))
        weights = torch.linspace(0, 1, self.n, dtype=torch.float64)
        return Edited(
            self._decode(latent.interpolate(self._watched(ready), first, last, weights, steps=self._ode_steps))
        )

    def mix(
        self, a: Picture, b: Picture, weight: float = 0.5, detail: float | None = None, level: float = 0.5
    ) -> Edited:
        """Mix two pictures at a noise level. Raises as `gendi.mix`."""
        ready, (first, second) = self._ready(None, in_turn=False), (self._encode(image) for image in (a, b))
        detail = weight if detail is None else detail
        x = latent.mix(self._watched(ready), first, second, weight, detail, level=level, steps=self._ode_steps)
        return Edited(self._decode(x), (self._decode(first), self._decode(second)), ("content", "detail"))

    # ------------------------------------------------------------------------------------------ what the edits share

    def _ready(self, method: str | None, more: Mapping[str, Any] | None = None, *, in_turn: bool = True) -> _Ready:
        """Return what it takes to draw: the denoiser, the conditions that were requested and `more`, and how.

        Raises `UsageError` for an unknown sampler, an option that the method has not, and what the conditions raise.
        """
        if method is not None and method not in METHOD_OPTIONS:
            raise unknown_name("method", method, METHODS)
        allowed = () if method is None else METHOD_OPTIONS[method]
        for name in self.options:
            if name not in allowed:
                raise UsageError(f"{name!r} is no option of this edit{'' if method is None else f' by {method}'}.")
        specs = self.models.conditions
        values = read_conditions(specs, self.condition, range(self.n), in_turn=in_turn) | dict(more or {})
        cond = requested_conditions(specs, null_where_silent(specs, values), self.n)
        how = self._drawing(method)
        denoiser = self.models.denoiser(self.guidance, cond, device=str(how.device), precision="fp32", clip=False)
        bound = {"clip": 1.0} if method in ("mmps", "pigdm") and self.codec is self.pixels else {}
        return _Ready(denoiser, cond, how, {**bound, **self.options})

    def _drawing(self, method: str | None) -> Drawing:
        """Return how to draw: as was requested, else by the method's or the model's own sampler and as many calls as
        are enough.
        """
        config = self.bundle.config
        sampler = self.drawing.get("sampler") or ("ancestral" if method == "dps" else config.sample.sampler)
        usual = MOST_ADAPTIVE if get_sampler(sampler).adaptive else METHODS.get(method or "", STEPS)
        chain = config.process.steps
        usual = usual if chain is None else min(usual, chain)
        own: dict[str, Any] = {"steps": usual, "batch_size": BATCH, "bounds": self.bundle.bounds}
        return Drawing(**(own | self.drawing | {"sampler": sampler}))

    @property
    def _ode_steps(self) -> int:
        """Steps of the ODE each way; a chain's length does not limit them."""
        return int(self.drawing.get("steps", STEPS))

    def _watched(self, ready: _Ready) -> Denoiser:
        return checked(ready.solver, "the probability-flow ODE", self.poll)

    def _repeat(self, x: Tensor) -> Tensor:
        return x.expand(self.n, -1, -1, -1)

    def _encode(self, image: Picture, size: tuple[int, int] | None = None) -> Float[Tensor, "1 c h w"]:
        """Return a picture in model space. Raises `UsageError` for another size, other channels or other numbers."""
        pixels = torch.from_numpy(self._checked(image, size)[None].copy())
        codec = self.codec if size is None else ImageCodec(pixels.shape[3], *size)
        return codec.encode(pixels).to(self.drawing.get("device", "cpu"))

    def _checked(self, image: Picture, size: tuple[int, int] | None = None) -> UInt8[np.ndarray, "h w c"]:
        """Return the bytes of a picture. Raises `UsageError` for another size, other channels or other numbers."""
        pixels = np.asarray(image)
        pixels = pixels[..., None] if pixels.ndim == 2 else pixels
        wanted = (*(size or self.size), self.pixels.channels)
        if pixels.dtype != np.uint8 or pixels.shape != wanted:
            raise UsageError(
                f"the picture must be bytes (uint8) of shape {wanted}; it is {pixels.dtype} {pixels.shape}."
            )
        return pixels

    def _decode(self, x: Tensor) -> NDArray[np.uint8]:
        """Return pictures (n, C, H, W) of model space as bytes (n, H, W, C)."""
        return np.asarray(self.codec.decode(x.cpu().float()).numpy())
