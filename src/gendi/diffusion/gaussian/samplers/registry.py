"""The registry of samplers: by name, the function, its options, and one line on when to use it."""

from functools import partial

from gendi.diffusion.gaussian.samplers.adaptive import dopri5
from gendi.diffusion.gaussian.samplers.ancestral import ancestral
from gendi.diffusion.gaussian.samplers.angle import angular
from gendi.diffusion.gaussian.samplers.consistency import consistency
from gendi.diffusion.gaussian.samplers.ddim import ddim
from gendi.diffusion.gaussian.samplers.deis import deis
from gendi.diffusion.gaussian.samplers.dpm2 import dpm_2
from gendi.diffusion.gaussian.samplers.dpmpp import dpmpp_2m, dpmpp_3m, dpmpp_singlestep
from gendi.diffusion.gaussian.samplers.euler import euler
from gendi.diffusion.gaussian.samplers.flow_map import flow_map
from gendi.diffusion.gaussian.samplers.heun import heun, heun_intervals
from gendi.diffusion.gaussian.samplers.info import SamplerInfo
from gendi.diffusion.gaussian.samplers.lms import lms
from gendi.diffusion.gaussian.samplers.pndm import intervals as pndm_intervals
from gendi.diffusion.gaussian.samplers.pndm import pndm
from gendi.diffusion.gaussian.samplers.sde_registry import SDE_SAMPLERS
from gendi.diffusion.gaussian.samplers.unipc import unipc
from gendi.machine.registry import Registry

_ODE: dict[str, SamplerInfo] = {
    "ddim": SamplerInfo(ddim, "uniform", 1, True, "deterministic, 20 to 100 steps; --eta adds noise"),
    "euler": SamplerInfo(
        euler, "uniform", 1, True, "Euler's method in t, for comparison; hundreds of steps", quick=False
    ),
    "heun": SamplerInfo(
        heun,
        "karras",
        2,
        True,
        "EDM's deterministic sampler, two calls a step; 20 to 80 calls",
        calls_per_step=2,
        intervals=heun_intervals,
    ),
    "heun-churn": SamplerInfo(
        partial(heun, churn=10.0),
        "karras",
        2,
        False,
        "EDM's sampler with churn; 40 calls or more, as 20 widen N(0, 1) to 1.14",
        calls_per_step=2,
        intervals=heun_intervals,
    ),
    "dpmpp-1s": SamplerInfo(
        partial(dpmpp_singlestep, order=1), "karras", 1, True, "another name for DDIM, on another grid"
    ),
    "dpmpp-2s": SamplerInfo(
        dpmpp_singlestep,
        "karras",
        2,
        True,
        "uses no past steps, so it is steady under strong guidance",
        calls_per_step=2,
    ),
    "dpmpp-2m": SamplerInfo(dpmpp_2m, "karras", 2, True, "deterministic, good samples in 10 to 20 steps"),
    "dpmpp-3m": SamplerInfo(dpmpp_3m, "karras", 3, True, "like dpmpp-2m, for 20 steps or more"),
    "unipc": SamplerInfo(unipc, "karras", 3, True, "a predictor and a corrector, for 5 to 15 calls"),
    "deis": SamplerInfo(deis, "karras", 3, True, "like dpmpp-3m, but extrapolates eps instead of x_0"),
    "lms": SamplerInfo(lms, "karras", 2, True, "k-diffusion's linear multistep, 20 to 50 calls"),
    "dpm-2": SamplerInfo(
        dpm_2,
        "karras",
        2,
        True,
        "k-diffusion's midpoint in log sigma, two calls a step",
        calls_per_step=2,
        intervals=heun_intervals,
    ),
    "pndm": SamplerInfo(
        pndm,
        "uniform",
        2,
        True,
        "pseudo numerical methods; 20 to 50 calls, 9 of which warm up",
        intervals=pndm_intervals,
    ),
    "angular": SamplerInfo(angular, "karras", 2, True, "exact for a Gaussian of known width, in one step"),
    "dopri5": SamplerInfo(
        dopri5,
        "uniform",
        5,
        True,
        "adaptive, to a tolerance rtol and atol; steps limits the calls",
        calls_per_step=6,
        intervals=lambda n: 1,
        adaptive=True,
    ),
}

_BUILT_IN: dict[str, SamplerInfo] = {
    "ancestral": SamplerInfo(
        ancestral,
        "uniform",
        1,
        False,
        "the paper's Algorithm 2; hundreds of steps; variance=learned for a model that learned one",
        quick=False,
    ),
    "ancestral-large": SamplerInfo(
        partial(ancestral, variance="large"),
        "uniform",
        1,
        False,
        "Algorithm 2 with variance beta; best with all T steps",
        quick=False,
    ),
    "ancestral-karras": SamplerInfo(
        ancestral,
        "karras",
        1,
        False,
        "Algorithm 2 in few steps; has a hidden temperature: 20 steps shrink N(0, 1) to 0.84",
    ),
    **_ODE,
    "dpmpp-2m-sde": SamplerInfo(
        partial(dpmpp_2m, eta=1.0), "karras", 2, False, "the reverse SDE at second order; 20 steps"
    ),
    "dpmpp-2m-sde-log-snr": SamplerInfo(
        partial(dpmpp_2m, eta=1.0),
        "log-snr",
        2,
        False,
        "dpmpp-2m-sde on even steps in log-SNR; right to 2% on a Gaussian at 20 steps",
    ),
    "dpmpp-2m-sde-half": SamplerInfo(
        partial(dpmpp_2m, eta=0.5),
        "log-snr",
        2,
        False,
        "the default: half way from the ODE to the reverse SDE, never far from the best on the networks tried",
    ),
    **SDE_SAMPLERS,
    "consistency": SamplerInfo(
        consistency,
        "angle",
        0,
        False,
        "for students of consistency tuning: jumps to the data, and back with fresh noise; 1 to 4 calls",
        takes="end",
    ),
    "flow-map": SamplerInfo(
        flow_map, "angle", 0, True, "for students that are flow maps, in any number of calls", takes="map"
    ),
}


SAMPLERS: Registry[SamplerInfo] = Registry("sampler", "gendi.samplers", _BUILT_IN)
"""All samplers by name. Add your own with `register`, or through the entry points `gendi.samplers` of an installed
package."""


def get_sampler(name: str) -> SamplerInfo:
    """Return the sampler `name`. Raises `UsageError` with the nearest name for an unknown one."""
    return SAMPLERS.find(name)
