"""The bound as a code: a world of few values in which a chain really sends data, bit by bit.  [Ho et al. 2020, 4.3]"""

from gendi.diffusion.gaussian.coding.coder import Sent, receive, send
from gendi.diffusion.gaussian.coding.stack import Stack
from gendi.diffusion.gaussian.coding.world import GridWorld, grid_world

__all__ = ["GridWorld", "Sent", "Stack", "grid_world", "receive", "send"]
