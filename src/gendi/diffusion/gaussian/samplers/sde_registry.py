"""The stochastic samplers' part of the registry."""

from gendi.diffusion.gaussian.samplers.euler_maruyama import euler_maruyama
from gendi.diffusion.gaussian.samplers.info import SamplerInfo
from gendi.diffusion.gaussian.samplers.predictor_corrector import intervals, predictor_corrector
from gendi.diffusion.gaussian.samplers.sa_solver import sa_solver

SDE_SAMPLERS: dict[str, SamplerInfo] = {
    "euler-maruyama": SamplerInfo(
        euler_maruyama,
        "uniform",
        1,
        False,
        "the reverse SDE by Euler-Maruyama, with one Brownian path for any number of steps; hundreds of steps",
        quick=False,
        brownian=True,
    ),
    "predictor-corrector": SamplerInfo(
        predictor_corrector,
        "karras",
        0,
        False,
        "ancestral and Langevin steps in turn; 20 calls shrink N(0, 1) to 0.73",
        calls_per_step=2,
        intervals=intervals,
    ),
    "sa-solver": SamplerInfo(
        sa_solver, "karras", 2, False, "the reverse SDE by stochastic Adams; 15 to 40 steps; tau scales its noise"
    ),
}
