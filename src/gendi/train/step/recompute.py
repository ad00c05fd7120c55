"""Less memory for more time: the backward pass computes the activations of each block again.

Only the inputs of the blocks are kept, and what lies between blocks. A step takes about a third longer, as each block
has two forward passes.  [Chen et al. 2016, "Training Deep Nets with Sublinear Memory Cost"]
"""

import functools

from torch import nn
from torch.utils.checkpoint import checkpoint

from gendi.diffusion.networks.roles import units_of


def recompute(network: nn.Module, dropout: bool) -> None:
    """Let the units of a network keep their inputs alone for the backward pass, in place.

    With `dropout` the second forward pass draws what the first one drew. A copy of the network must be made before, for
    a copy would compute with the weights of this one.
    """
    for unit in units_of(network):
        unit.forward = functools.partial(checkpoint, unit.forward, use_reentrant=False, preserve_rng_state=dropout)
