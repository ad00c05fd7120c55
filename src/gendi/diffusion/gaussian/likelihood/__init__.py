"""How likely data are under a denoiser: a variational bound term by term, and the probability-flow density.

bound = variational_bound(denoiser, x_0, half_bin=codec.half_bin, draws=50)
bound.prior.bits, bound.kl.bits, bound.decoder.bits, bound.total.bits, bound.total.bits_error
log_density(denoiser, x_0, divergence="exact").total.nats
"""

from gendi.diffusion.gaussian.likelihood.elbo import variational_bound
from gendi.diffusion.gaussian.likelihood.ode import log_density
from gendi.diffusion.gaussian.likelihood.result import Bound, Density, Estimate, auroc
from gendi.diffusion.gaussian.likelihood.strata import chain_times

__all__ = ["Bound", "Density", "Estimate", "auroc", "chain_times", "log_density", "variational_bound"]
