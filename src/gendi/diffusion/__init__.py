"""The mathematics of diffusion. It knows of no file, no data set and no configuration of a run.

    from gendi.diffusion import GaussianDenoiser, make_schedule, sample

The public names of this layer are loaded when they are first used.
"""

from typing import TYPE_CHECKING

from gendi.machine.lazy import lazy_names

if TYPE_CHECKING:
    from gendi.diffusion.gaussian.conditioned import conditioned as conditioned
    from gendi.diffusion.gaussian.config import ObjectiveConfig as ObjectiveConfig
    from gendi.diffusion.gaussian.config import ProcessConfig as ProcessConfig
    from gendi.diffusion.gaussian.denoiser import Denoiser as Denoiser
    from gendi.diffusion.gaussian.denoiser import NetworkDenoiser as NetworkDenoiser
    from gendi.diffusion.gaussian.denoiser import make_denoiser as make_denoiser
    from gendi.diffusion.gaussian.exact import GaussianDenoiser as GaussianDenoiser
    from gendi.diffusion.gaussian.exact import MixtureDenoiser as MixtureDenoiser
    from gendi.diffusion.gaussian.flow_map import FlowMap as FlowMap
    from gendi.diffusion.gaussian.flow_map import GaussianFlow as GaussianFlow
    from gendi.diffusion.gaussian.flow_map import MixtureFlow as MixtureFlow
    from gendi.diffusion.gaussian.guidance import Autoguidance as Autoguidance
    from gendi.diffusion.gaussian.guidance import ClassifierFree as ClassifierFree
    from gendi.diffusion.gaussian.guidance import ClassifierGuidance as ClassifierGuidance
    from gendi.diffusion.gaussian.guidance import GuidanceRule as GuidanceRule
    from gendi.diffusion.gaussian.guidance import Interval as Interval
    from gendi.diffusion.gaussian.guidance import Rescale as Rescale
    from gendi.diffusion.gaussian.guidance import Threshold as Threshold
    from gendi.diffusion.gaussian.likelihood import log_density as log_density
    from gendi.diffusion.gaussian.likelihood import variational_bound as variational_bound
    from gendi.diffusion.gaussian.objectives.base import Objective as Objective
    from gendi.diffusion.gaussian.objectives.noising import Answer as Answer
    from gendi.diffusion.gaussian.objectives.noising import NoisingObjective as NoisingObjective
    from gendi.diffusion.gaussian.objectives.registry import OBJECTIVES as OBJECTIVES
    from gendi.diffusion.gaussian.objectives.registry import ObjectiveInfo as ObjectiveInfo
    from gendi.diffusion.gaussian.process import Process as Process
    from gendi.diffusion.gaussian.process import like as like
    from gendi.diffusion.gaussian.samplers import SAMPLERS as SAMPLERS
    from gendi.diffusion.gaussian.samplers import Drawing as Drawing
    from gendi.diffusion.gaussian.samplers import get_sampler as get_sampler
    from gendi.diffusion.gaussian.samplers import make_grid as make_grid
    from gendi.diffusion.gaussian.samplers import sample as sample
    from gendi.diffusion.gaussian.samplers import trajectory as trajectory
    from gendi.diffusion.gaussian.samplers.info import SamplerInfo as SamplerInfo
    from gendi.diffusion.gaussian.samplers.state import State as State
    from gendi.diffusion.gaussian.samplers.state import pairs as pairs
    from gendi.diffusion.gaussian.schedule import SCHEDULES as SCHEDULES
    from gendi.diffusion.gaussian.schedule import Cosine as Cosine
    from gendi.diffusion.gaussian.schedule import Linear as Linear
    from gendi.diffusion.gaussian.schedule import RectifiedFlow as RectifiedFlow
    from gendi.diffusion.gaussian.schedule import Schedule as Schedule
    from gendi.diffusion.gaussian.schedule import Sigmoid as Sigmoid
    from gendi.diffusion.gaussian.schedule import SubVariancePreserving as SubVariancePreserving
    from gendi.diffusion.gaussian.schedule import Tabulated as Tabulated
    from gendi.diffusion.gaussian.schedule import VarianceExploding as VarianceExploding
    from gendi.diffusion.gaussian.schedule import make_schedule as make_schedule
    from gendi.diffusion.gaussian.sde import from_noise as from_noise
    from gendi.diffusion.gaussian.sde import score as score
    from gendi.diffusion.gaussian.sde import to_noise as to_noise
    from gendi.diffusion.networks import MLP as MLP
    from gendi.diffusion.networks import DiT as DiT
    from gendi.diffusion.networks import UNet as UNet
    from gendi.diffusion.networks.config import NetworkConfig as NetworkConfig
    from gendi.diffusion.networks.registry import NETWORKS as NETWORKS
    from gendi.diffusion.networks.registry import NetworkInfo as NetworkInfo

_HOMES = {
    "Answer": "gendi.diffusion.gaussian.objectives.noising",
    "Autoguidance": "gendi.diffusion.gaussian.guidance",
    "ClassifierFree": "gendi.diffusion.gaussian.guidance",
    "ClassifierGuidance": "gendi.diffusion.gaussian.guidance",
    "Cosine": "gendi.diffusion.gaussian.schedule",
    "Denoiser": "gendi.diffusion.gaussian.denoiser",
    "DiT": "gendi.diffusion.networks",
    "Drawing": "gendi.diffusion.gaussian.samplers",
    "FlowMap": "gendi.diffusion.gaussian.flow_map",
    "GaussianDenoiser": "gendi.diffusion.gaussian.exact",
    "GaussianFlow": "gendi.diffusion.gaussian.flow_map",
    "GuidanceRule": "gendi.diffusion.gaussian.guidance",
    "Interval": "gendi.diffusion.gaussian.guidance",
    "Linear": "gendi.diffusion.gaussian.schedule",
    "MLP": "gendi.diffusion.networks",
    "MixtureDenoiser": "gendi.diffusion.gaussian.exact",
    "MixtureFlow": "gendi.diffusion.gaussian.flow_map",
    "NETWORKS": "gendi.diffusion.networks.registry",
    "NetworkConfig": "gendi.diffusion.networks.config",
    "NetworkDenoiser": "gendi.diffusion.gaussian.denoiser",
    "NetworkInfo": "gendi.diffusion.networks.registry",
    "NoisingObjective": "gendi.diffusion.gaussian.objectives.noising",
    "OBJECTIVES": "gendi.diffusion.gaussian.objectives.registry",
    "Objective": "gendi.diffusion.gaussian.objectives.base",
    "ObjectiveConfig": "gendi.diffusion.gaussian.config",
    "ObjectiveInfo": "gendi.diffusion.gaussian.objectives.registry",
    "Process": "gendi.diffusion.gaussian.process",
    "ProcessConfig": "gendi.diffusion.gaussian.config",
    "RectifiedFlow": "gendi.diffusion.gaussian.schedule",
    "Rescale": "gendi.diffusion.gaussian.guidance",
    "SAMPLERS": "gendi.diffusion.gaussian.samplers",
    "SCHEDULES": "gendi.diffusion.gaussian.schedule",
    "SamplerInfo": "gendi.diffusion.gaussian.samplers.info",
    "Schedule": "gendi.diffusion.gaussian.schedule",
    "Sigmoid": "gendi.diffusion.gaussian.schedule",
    "State": "gendi.diffusion.gaussian.samplers.state",
    "SubVariancePreserving": "gendi.diffusion.gaussian.schedule",
    "Tabulated": "gendi.diffusion.gaussian.schedule",
    "Threshold": "gendi.diffusion.gaussian.guidance",
    "UNet": "gendi.diffusion.networks",
    "VarianceExploding": "gendi.diffusion.gaussian.schedule",
    "conditioned": "gendi.diffusion.gaussian.conditioned",
    "from_noise": "gendi.diffusion.gaussian.sde",
    "to_noise": "gendi.diffusion.gaussian.sde",
    "get_sampler": "gendi.diffusion.gaussian.samplers",
    "like": "gendi.diffusion.gaussian.process",
    "log_density": "gendi.diffusion.gaussian.likelihood",
    "make_denoiser": "gendi.diffusion.gaussian.denoiser",
    "make_grid": "gendi.diffusion.gaussian.samplers",
    "make_schedule": "gendi.diffusion.gaussian.schedule",
    "pairs": "gendi.diffusion.gaussian.samplers.state",
    "sample": "gendi.diffusion.gaussian.samplers",
    "score": "gendi.diffusion.gaussian.sde",
    "trajectory": "gendi.diffusion.gaussian.samplers",
    "variational_bound": "gendi.diffusion.gaussian.likelihood",
}
__all__ = [
    "MLP",
    "NETWORKS",
    "OBJECTIVES",
    "SAMPLERS",
    "SCHEDULES",
    "Answer",
    "Autoguidance",
    "ClassifierFree",
    "ClassifierGuidance",
    "Cosine",
    "Denoiser",
    "DiT",
    "Drawing",
    "FlowMap",
    "GaussianDenoiser",
    "GaussianFlow",
    "GuidanceRule",
    "Interval",
    "Linear",
    "MixtureDenoiser",
    "MixtureFlow",
    "NetworkConfig",
    "NetworkDenoiser",
    "NetworkInfo",
    "NoisingObjective",
    "Objective",
    "ObjectiveConfig",
    "ObjectiveInfo",
    "Process",
    "ProcessConfig",
    "RectifiedFlow",
    "Rescale",
    "SamplerInfo",
    "Schedule",
    "Sigmoid",
    "State",
    "SubVariancePreserving",
    "Tabulated",
    "Threshold",
    "UNet",
    "VarianceExploding",
    "conditioned",
    "from_noise",
    "get_sampler",
    "like",
    "log_density",
    "make_denoiser",
    "make_grid",
    "make_schedule",
    "pairs",
    "sample",
    "score",
    "to_noise",
    "trajectory",
    "variational_bound",
]
__getattr__, __dir__ = lazy_names(__name__, _HOMES)
