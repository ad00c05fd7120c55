"""Calls of a network under one dropout."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def same_draws(network: nn.Module, device: torch.device) -> Iterator[None]:
    """Let the call after this block have the dropout that the call within it has."""
    random = any(isinstance(part, nn.Dropout) and part.p > 0 and part.training for part in network.modules())
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else [], enabled=random):
        yield
