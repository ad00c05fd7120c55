"""Options of single cells. This module imports neither torch nor NumPy."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class CellsConfig:
    """What stands between a cell's counts and the network; for data of cells alone."""

    model: Literal["copula", "log", "latent"] = "copula"
    """`copula`: the normal scores of negative binomials, in linear factors; `log`: log-normalised genes; `latent`: an
    autoencoder with a negative-binomial decoder.
    """
    factors: int = 15
    """Dimensions of the factors or of the latent space."""
    genes: int = 0
    """How many highly variable genes are modelled (0 = all)."""
