"""What a network is told of a sample, as options. This module imports neither torch nor NumPy."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class ConditionConfig:
    """One thing the network is told about a sample; see `gendi.diffusion.conditions` for the kinds."""

    name: str
    """Its name: a keyword of the denoiser, and the name of what the data hold. Any word but `self`, which the call of a
    torch module keeps for itself."""
    kind: Literal["class", "tags", "value", "vector", "image"] = "class"
    """What its rows are."""
    size: int = -1
    """Classes, tags, numbers or channels; -1 = kind, size, names, mean and std are what the data say."""
    dropout: float = 0.1
    """Probability that a training sample is not told, which trains the null that guidance needs."""
    via: Literal["embedding", "channels", "tokens"] = "embedding"
    """How it enters: beside the time, as channels beside the picture, or as tokens that are attended to."""
    required: bool = True
    """Whether data without it are refused; if not, the model is trained without."""
    names: tuple[str, ...] = ()
    """Names of the classes, tags or numbers, where they have some."""
    mean: float = 0.0
    """Mean of a value in the training data."""
    std: float = 1.0
    """Standard deviation of a value in the training data."""
