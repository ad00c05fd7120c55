"""The condition low-res:F, which is computed from the pictures themselves.

It is the picture with each block of F x F pixels replaced by its mean, rounded to a byte: F times coarser, but of the
same size, so that a network can take both side by side. If F does not divide a side, the last blocks are smaller.
"""

import re
from collections.abc import Sequence

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from gendi.data.codec import Codec
from gendi.data.images.codec import pictures_only
from gendi.diffusion.config import ConditionConfig
from gendi.errors import UsageError

LOW_RES = re.compile(r"low-res:([0-9]+)")


def derived_condition(name: str, codec: Codec | None) -> ConditionConfig | None:
    """Return the condition low-res:F for images of `codec`, or None if `name` has another form.

    Raises:
        UsageError: F is not between 2 and the shorter side of the images, or the data are no pictures.
    """
    if not name.startswith("low-res"):
        return None
    if codec is None:
        raise UsageError(f"the condition {name!r} is for pictures.")
    pictures = pictures_only(codec, f"the condition {name!r}")
    found, most = LOW_RES.fullmatch(name), min(pictures.height, pictures.width)
    if found is None or not 2 <= int(found[1]) <= most:
        raise UsageError(
            f"the condition {name!r} is not possible: it must be low-res:F, the picture averaged over F x F pixels, "
            f"with F from 2 to {most}, for instance low-res:4."
        )
    return ConditionConfig(name, "image", pictures.channels, via="channels")


def low_resolution(x: Float[Tensor, "b c h w"], factor: int) -> Float[Tensor, "b c h w"]:
    """Return pictures in [-1, 1] averaged over blocks of factor x factor pixels, at the same size; see above."""
    height, width = x.shape[2:]
    small = F.avg_pool2d(x, factor, ceil_mode=True, count_include_pad=False)
    small = small.add(1).mul(127.5).round_().div_(127.5).sub_(1)
    return small.repeat_interleave(factor, 2).repeat_interleave(factor, 3)[..., :height, :width]


def derived(specs: Sequence[ConditionConfig], x_0: Float[Tensor, "b ..."]) -> dict[str, Tensor]:
    """Return by name the conditions that are computed from the encoded images x_0."""
    found = {spec.name: LOW_RES.fullmatch(spec.name) for spec in specs}
    return {name: low_resolution(x_0, int(match[1])) for name, match in found.items() if match}
