"""The options of a network's conditions. This module imports neither torch nor NumPy."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class ConditionConfig:
    """One condition that the network is given for each sample; `gendi.diffusion.conditions` explains the kinds."""

    name: str
    """The name under which the data hold the condition and the denoiser takes it, as a keyword. It may be any word but
    `self`, which the call of a torch module keeps for itself."""
    kind: Literal["class", "tags", "value", "vector", "image"] = "class"
    """What one row of the condition is."""
    size: int = -1
    """How many classes, tags, numbers or channels it has; -1 takes kind, size, names, mean and std from the data."""
    dropout: float = 0.1
    """Probability that training replaces the condition of a sample by null, the case that guidance needs."""
    via: Literal["embedding", "channels", "tokens"] = "embedding"
    """How it enters the network: beside the time, as channels beside the picture, or as tokens for attention."""
    required: bool = True
    """Whether data without this condition are refused; otherwise the model is trained without it."""
    names: tuple[str, ...] = ()
    """Names of the classes, tags or numbers, if they have names."""
    mean: float = 0.0
    """Mean of a value in the training data."""
    std: float = 1.0
    """Standard deviation of a value in the training data."""

    def in_words(self) -> str:
        """Return what the condition is in a few words: `class (10 classes)`, `dose (a number)`."""
        count = f"{self.size:,} " if self.size > 0 else ""
        kinds = {"class": f"{count}classes", "tags": f"{count}tags", "value": "a number"}
        kinds |= {"vector": f"{count}numbers", "image": f"a picture of {count}channels"}
        return f"{self.name} ({kinds[self.kind]})"
