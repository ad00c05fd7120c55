"""Options of single cells. This module imports neither torch nor NumPy."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class CellsConfig:
    """The map between a cell's counts and the vectors that the network sees; only for data of cells."""

    model: Literal["copula", "log", "latent"] = "copula"
    """`copula`: linear factors of the normal scores of negative binomials; `log`: log-normalised genes; `latent`: an
    autoencoder with a negative-binomial decoder."""
    factors: int = 15
    """Dimensions of the factors or of the latent space."""
    genes: int = 0
    """How many highly variable genes are modelled (0 = all)."""
    clusters: int = -1
    """Where no classes are given to the network: how many clusters the cells are divided into, which it is given
    instead (-1: the square root of their number, divided by 3; 0: none)."""
