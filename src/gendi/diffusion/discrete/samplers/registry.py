"""The registry of samplers of tokens. Add your own by `register`, or by the entry points `gendi.token_samplers`."""

from gendi.diffusion.discrete.samplers.ancestral import ancestral
from gendi.diffusion.discrete.samplers.cached import cached
from gendi.diffusion.discrete.samplers.confidence import confidence
from gendi.diffusion.discrete.samplers.first_hitting import first_hitting
from gendi.diffusion.discrete.samplers.info import TokenSamplerInfo
from gendi.diffusion.discrete.samplers.predictor_corrector import predictor_corrector
from gendi.machine.registry import Registry

MASKED = ("absorbing",)
TOKEN_SAMPLERS: Registry[TokenSamplerInfo] = Registry(
    "sampler of tokens",
    "gendi.token_samplers",
    {
        "ancestral": TokenSamplerInfo(
            ancestral, "each position on its own at each step; the error shrinks with the step"
        ),
        "cached": TokenSamplerInfo(
            cached, "the same samples as ancestral; a row is computed again only if one of its masks was lifted", MASKED
        ),
        "first-hitting": TokenSamplerInfo(
            first_hitting,
            "one mask at a time: no error from steps, but as many calls as tokens",
            MASKED,
            one_by_one=True,
        ),
        "confidence": TokenSamplerInfo(
            confidence, "the likeliest tokens first: typical samples, biased at any number of steps", MASKED
        ),
        "predictor-corrector": TokenSamplerInfo(
            predictor_corrector,
            "ancestral steps, then some tokens are drawn again: more calls, smaller error",
            calls_per_step=2,
        ),
    },
)
"""The samplers of tokens by name."""
