"""What a network says of its own parts, for optimisers and for sharding over several processes.

    outer_layers()    the layers that meet the data (the first and the last) and all embeddings: AdamW keeps these,
                      and Muon takes the matrices inside
    units()           the blocks that work one after another: FSDP gathers the weights of one of them at a time

A network that does not say has defaults: its outer layers are all embedding tables, and the first and the last module
that hold a matrix of their own, in the order in which they were registered; its units are the entries of its
`ModuleList`s, lists of lists taken apart.
"""

from collections.abc import Iterable, Iterator
from typing import Protocol, runtime_checkable

from torch import nn


@runtime_checkable
class Parted(Protocol):
    """A network that knows its outer layers and its units."""

    def outer_layers(self) -> Iterable[nn.Module]:
        """Return the layers that meet the data, and the embeddings."""
        ...

    def units(self) -> Iterable[nn.Module]:
        """Return the blocks that work one after another, none inside another."""
        ...


def inner_matrices(network: nn.Module) -> list[nn.Parameter]:
    """Return the parameters of two dimensions or more that are not of outer layers, in the order of the network."""
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
    """Yield the entries of the `ModuleList`s directly in a module, lists of lists taken apart."""
    for child in module.children():
        if isinstance(child, nn.ModuleList):
            yield from listed(child)
        elif isinstance(module, nn.ModuleList):
            yield child


def _outermost(network: nn.Module) -> Iterator[nn.Parameter]:
    """Yield the embedding tables, and the matrices of the first and the last module that has one of its own."""
    own = [(module, [p for p in module.parameters(recurse=False) if p.ndim >= 2]) for module in network.modules()]
    for module, matrices in own:
        if isinstance(module, nn.Embedding):
            yield from matrices
    holders = [matrices for module, matrices in own if matrices and not isinstance(module, nn.Embedding)]
    for matrices in (*holders[:1], *holders[-1:]):
        yield from matrices
