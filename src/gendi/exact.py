"""The exact denoisers under a short name; they live in `gendi.diffusion.gaussian.exact`."""

from gendi.diffusion.gaussian.exact import ConditionalMixture as ConditionalMixture
from gendi.diffusion.gaussian.exact import GaussianDenoiser as GaussianDenoiser
from gendi.diffusion.gaussian.exact import MixtureDenoiser as MixtureDenoiser

__all__ = ["ConditionalMixture", "GaussianDenoiser", "MixtureDenoiser"]
