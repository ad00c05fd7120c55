"""Feature extractors: images `(n, H, W)` or `(n, H, W, C)` uint8 -> features `(n, d)` float32.

An extractor has a name, a hash of what it computes, and a few words on how it resizes images, and it can be called on
images. Metrics computed with different hashes are on different scales, so the hash is recorded with every number.

`inception` is the pool3 layer of the TensorFlow graph that the Fréchet Inception Distance was defined on (Heusel et al.
2017), as TorchScript. A TorchScript file is code, so a file is loaded only if its SHA-256 is one of the known ones.
"""

import hashlib
from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float32
from torch import Tensor, nn

from gendi.data.images.digit_classifier import WEIGHTS_SHA256, DigitFeatures, load_classifier
from gendi.data.images.inception import load_inception
from gendi.data.images.tensors import Images, to_tensor
from gendi.diffusion.batches import in_batches
from gendi.errors import ResourceError, UsageError, is_out_of_memory, unknown_name
from gendi.machine.stopping import Poll, may_stop


@runtime_checkable
class Extractor(Protocol):
    """What metrics need from a feature network. `poll` is called between batches and may raise to stop."""

    name: str
    sha256: str
    resize: str

    def __call__(self, images: Images, *, poll: Poll | None = None) -> Float32[np.ndarray, "n d"]:
        """Return one feature vector per image."""
        ...


class PixelExtractor:
    """The features are the image itself: all its bytes divided by 255, flattened."""

    name = "pixels"
    sha256 = hashlib.sha256(b"gendi pixels: uint8 / 255, flattened").hexdigest()
    resize = "none"

    def __call__(self, images: Images, *, poll: Poll | None = None) -> Float32[np.ndarray, "n d"]:
        """Return `(n, H*W*C)` in [0, 1]."""
        return images.reshape(len(images), -1).astype(np.float32) / np.float32(255)


class ModuleExtractor:
    """Any torch module as an extractor; by default its hash is the SHA-256 over its state dict.

    `transform` maps a float32 tensor `(b, C, H, W)` of values 0..255 to the module's input (default: value / 255). The
    module's output is flattened to `(b, d)`. The module is put in eval mode on `device` and runs in float32 without
    gradients.
    """

    def __init__(
        self,
        module: nn.Module,
        *,
        name: str,
        transform: Callable[[Tensor], Tensor] | None = None,
        resize: str = "none",
        sha256: str | None = None,
        batch_size: int = 256,
        device: str = "cpu",
    ) -> None:
        self.module = module.eval().to(device)
        self.name = name
        self.resize = resize
        self.sha256 = sha256 or state_sha256(module)
        self.batch_size = batch_size
        self.device = device
        self._transform = transform or _unit_range

    def __call__(self, images: Images, *, poll: Poll | None = None) -> Float32[np.ndarray, "n d"]:
        """Return `(n, d)` features, computed for `batch_size` images at a time, or fewer if memory is short."""
        if not len(images):
            raise UsageError(f"Extractor {self.name!r} was given no images.")
        out: list[np.ndarray] = []

        def work(rows: slice) -> None:
            may_stop(poll)
            with torch.inference_mode():
                batch = to_tensor(images[rows]).to(self.device)
                out.append(self.module(self._transform(batch)).flatten(1).float().cpu().numpy())

        try:
            self.batch_size = in_batches(len(images), self.batch_size, work)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            raise ResourceError(
                f"Extractor {self.name!r} runs out of memory on {self.device} even one image at a time. "
                "Run it on the CPU, or free the device."
            ) from error
        return np.concatenate(out)


def inception_extractor(weights: str | None = None, *, device: str = "cpu", batch_size: int = 50) -> ModuleExtractor:
    """Return the Inception extractor (2048 features), with weights from `gendi.data.images.inception.find_weights`.

    Images are stretched to 299 x 299 (bilinear, half-pixel centres, no antialiasing) and mapped from 0..255 to
    (x - 128) / 128. Grey images are repeated over three channels.
    """
    module, sha256 = load_inception(weights)
    return ModuleExtractor(
        module,
        name="inception",
        transform=_inception_input,
        resize="bilinear 299, half-pixel centres, no antialias",
        sha256=sha256,
        batch_size=batch_size,
        device=device,
    )


def digits_extractor(*, device: str = "cpu", batch_size: int = 256) -> ModuleExtractor:
    """Return the extractor of gendi's own digit classifier (its penultimate layer), for grey images of 28 x 28."""
    return ModuleExtractor(
        DigitFeatures(load_classifier()), name="digits", sha256=WEIGHTS_SHA256, device=device, batch_size=batch_size
    )


EXTRACTORS: dict[str, Callable[..., Extractor]] = {
    "digits": digits_extractor,
    "inception": inception_extractor,
    "pixels": lambda **_: PixelExtractor(),
}


def get_extractor(name: str, **options: Any) -> Extractor:
    """Return the extractor of that name. Raises `UsageError` for a name not in `EXTRACTORS`."""
    if name not in EXTRACTORS:
        raise unknown_name("feature extractor", name, EXTRACTORS)
    return EXTRACTORS[name](**options)


def state_sha256(module: nn.Module) -> str:
    """Return the SHA-256 over names, dtypes, shapes and bytes of a module's state dict."""
    digest = hashlib.sha256()
    for key, value in sorted(module.state_dict().items()):
        array = value.detach().cpu().contiguous()
        digest.update(f"{key} {array.dtype} {tuple(array.shape)}\n".encode())
        digest.update(array.flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _unit_range(x: Tensor) -> Tensor:
    return x / 255


def _inception_input(x: Tensor) -> Tensor:
    if x.shape[1] not in (1, 3):
        raise UsageError(f"The Inception network sees grey or RGB images; these have {x.shape[1]} channels.")
    x = F.interpolate(x, size=(299, 299), mode="bilinear", align_corners=False, antialias=False)
    # On a CPU, channels-last saves a third of the time.
    return ((x - 128) / 128).expand(-1, 3, -1, -1).contiguous(memory_format=torch.channels_last)
