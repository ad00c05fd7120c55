"""How to go from noise to data: the settings that every way of drawing shares."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import torch

from gendi.diffusion.batches import indices
from gendi.diffusion.gaussian.samplers.grid import BOUNDS, Bounds


@dataclass(frozen=True)
class Drawing:
    """Which sampler draws, with how many calls, which times and which noise.

    Two settings that draw the same samples are equal, so the batch size and the device are not compared.
    """

    steps: int = 20
    """Network calls per sample; for an adaptive sampler the greatest number allowed, in RePaint intervals of the grid.
    """
    sampler: str = "dpmpp-2m-sde-half"
    seed: int = 0
    first_index: int = 0
    """Index of the first sample in the seed's streams."""
    numbers: tuple[int, ...] | None = field(default=None, compare=False)
    """The indices of the samples, in the place of `first_index` and those that follow it."""
    grid: str | None = None
    """Times to visit; None is the sampler's own grid."""
    bounds: Bounds = BOUNDS
    """sigma / alpha of the last call and of the first after t = 1, for grids that are even in the noise level."""
    temperature: float = 1.0
    """Temperature of the samples: below 1 they are less varied and nearer to the modes, at 1 they have the model's own
    distribution; see `gendi.diffusion.gaussian.samplers.temperature`."""
    noise_scale: float = 1.0
    """What the fresh noise of a sampler that draws some is multiplied by."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Options of the sampler, such as eta, order, churn or rtol; `get_sampler(name).options` names them."""
    batch_size: int = field(default=250, compare=False)
    """Samples per network call; halved, down to 1, whenever memory runs out."""
    device: torch.device | str = field(default="cpu", compare=False)

    def indices(self, rows: slice) -> list[int]:
        """Return the index of each sample of `rows`, which is the key of its random stream."""
        if self.numbers is not None:
            return list(self.numbers[rows])
        return list(indices(rows, self.first_index))

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Self:
        """Return the settings that keywords stand for; keywords that are not fields become options of the sampler."""
        fields = {f.name for f in dataclasses.fields(cls)} - {"options"}
        options = {name: value for name, value in settings.items() if name not in fields}
        return cls(**{name: value for name, value in settings.items() if name in fields}, options=options)
