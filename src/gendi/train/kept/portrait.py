"""What is shown of a bundle where a person looks at the object: facts in a few words, and pictures in a notebook."""

from collections.abc import Mapping
from typing import Any

from gendi.data.codec import Codec
from gendi.data.kinds import kind_of
from gendi.diffusion.conditions import requested_conditions
from gendi.diffusion.gaussian.samplers import Drawing
from gendi.diffusion.networks.cost import flops_of_layers
from gendi.diffusion.trained import Trained
from gendi.train.config import RunConfig
from gendi.train.weights.families import family_of

SHOWN = 16
"""How many pictures are drawn."""
QUICK = 1e11
"""The floating-point operations below which drawing them takes about a second on two cores of a CPU."""


def facts_of(config: RunConfig, codec: Codec, meta: Mapping[str, Any], parameters: int) -> dict[str, str]:
    """Return what a bundle is, in a few words by name."""
    facts = {
        "preset": config.preset,
        "draws": f"{kind_of(codec.kind).title} of {codec.description}",
        "parameters": f"{parameters:,}",
        "conditions": "; ".join(spec.in_words() for spec in config.conditions) or "none",
    }
    if meta.get("data"):
        facts["data"] = str(meta["data"])
    if isinstance(images := meta.get("images"), int):
        facts["images seen"] = f"{images:,}"
    return facts


def pictures_of(config: RunConfig, codec: Codec, denoiser: Trained) -> bytes | None:
    """Return a PNG file with samples of seed 0; None if they are no pictures, or if drawing them takes long."""
    kind, how, family = kind_of(codec.kind), config.sample, family_of(config)
    if not kind.previews or getattr(family.find_sampler(how.sampler), "adaptive", False):
        return None
    calls = min(how.steps, family.steps(config) or how.steps)
    each = flops_of_layers(denoiser.network, codec.shape, config.conditions, codec.tokens is not None)
    if SHOWN * calls * each > QUICK:
        return None
    cond = requested_conditions(config.conditions, None, SHOWN)
    x = family.draw(denoiser, codec.shape, SHOWN, Drawing(steps=calls, sampler=how.sampler), cond)
    return kind.preview(codec.decode(x, cond, 0, 0).numpy())
