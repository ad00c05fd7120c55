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
    """How many clusters the cells are divided into if no classes are given to the network; it is then given the
    clusters (-1: the square root of the number of cells, divided by 3; 0: none).
    """
