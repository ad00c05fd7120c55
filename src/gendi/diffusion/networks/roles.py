"""The roles of a network's parts, which optimisers and sharding over several processes need.

    outer_layers()    the first and the last layer, and all embeddings: AdamW optimises them, and Muon optimises the
                      matrices of all other layers
    units()           the blocks that run one after another: FSDP gathers the weights of one of them at a time

A network without these methods has defaults. Its outer layers are all embedding tables, and the first and the last
module with a matrix of its own, in the order of registration. Its units are the entries of its `ModuleList`s; nested
lists are flattened.
"""

from collections.abc import Iterable, Iterator
from typing import Protocol, runtime_checkable

from torch import nn


@runtime_checkable
class Parted(Protocol):
    """A network that says which parts are its outer layers and its units."""

    def outer_layers(self) -> Iterable[nn.Module]:
        """Return the first and the last layer, and the embeddings."""
        ...

    def units(self) -> Iterable[nn.Module]:
        """Return the blocks that run one after another; none lies inside another."""
        ...


def inner_matrices(network: nn.Module) -> list[nn.Parameter]:
    """Return the parameters of two or more dimensions outside the outer layers, in the order of the network."""
    if isinstance(network, Parted):
        outer = {id(p) for layer in network.outer_layers() for p in layer.parameters()}
    else:
        outer = set(map(id, _outermost(network)))
    return [p for p in network.parameters() if p.ndim >= 2 and id(p) not in outer]


def units_of(network: nn.Module) -> list[nn.Module]:
    """Return the units of a network that have parameters."""
    units = network.units() if isinstance(network, Parted) else listed(network)
    return [unit for unit in units if next(unit.parameters(), None) is not None]


def listed(module: nn.Module) -> Iterator[nn.Module]:
    """Yield the entries of the `ModuleList`s directly in a module; nested lists are flattened."""
    for child in module.children():
        if isinstance(child, nn.ModuleList):
            yield from listed(child)
        elif isinstance(module, nn.ModuleList):
            yield child


def _outermost(network: nn.Module) -> Iterator[nn.Parameter]:
    """Yield the embedding tables, and the matrices of the first and the last module with a matrix of its own."""
    own = [(module, [p for p in module.parameters(recurse=False) if p.ndim >= 2]) for module in network.modules()]
    for module, matrices in own:
        if isinstance(module, nn.Embedding):
            yield from matrices
    holders = [matrices for module, matrices in own if matrices and not isinstance(module, nn.Embedding)]
    for matrices in (*holders[:1], *holders[-1:]):
        yield from matrices
