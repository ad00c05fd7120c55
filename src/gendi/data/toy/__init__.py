"""Toy worlds: points in the plane whose optimal denoiser, score and density are formulas."""

from gendi.data.toy.worlds import WORLDS as WORLDS
from gendi.data.toy.worlds import World as World
from gendi.data.toy.worlds import world as world
