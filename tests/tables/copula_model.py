"""A model of a table whose network gives zero: it draws the Gaussian copula of the table, so it needs no training."""

import dataclasses
from typing import Any

import numpy as np
import torch

from gendi.data import open_data
from gendi.data.tables.codec import TableCodec
from gendi.data.tables.config import TableConfig
from gendi.diffusion.config import ConditionConfig
from gendi.diffusion.networks.config import NetworkConfig
from gendi.train.kept.bundle import Bundle
from gendi.train.presets import get_preset
from gendi.train.step.resolve import prepared, resolve
from gendi.train.weights.model import network_of


def copula_model(
    table: Any, *conditions: str, dropout: float = 0.1, rules: tuple[str, ...] = (), points: bool = True
) -> Bundle:
    """Return a model of a DataFrame, or of the path of a table; its network is told the columns `conditions`.

    Without `points` words lie on scores, as in old models, and the copula has them too.
    """
    told = tuple(ConditionConfig(name, dropout=dropout) for name in conditions)
    small, data = NetworkConfig("mlp", channels=(8,), blocks=1, time_dim=8), open_data(table)
    usual = dataclasses.replace(get_preset("table").config, network=small, conditions=told, table=TableConfig(rules))
    config = resolve(usual, data)
    codec = prepared(config, data).codec
    assert isinstance(codec, TableCodec)
    if not points:
        codec = TableCodec.fit(codec.schema, data.train.batch(range(len(data.train))), {}, points=False)
    network = network_of(config, codec.shape)
    state = {name: torch.zeros_like(value) for name, value in network.state_dict().items()}
    return Bundle(config, codec, state)


def normal_table(n: int, r: np.ndarray, seed: int = 0) -> Any:
    """Return n rows of a DataFrame of normal columns a, b, c, ... with means 10, 20, ... and correlations r."""
    import pandas as pd

    z = np.random.default_rng(seed).multivariate_normal(np.zeros(len(r)), r, n)
    return pd.DataFrame({name: 10.0 * (k + 1) + z[:, k] for k, name in enumerate("abcdefgh"[: len(r)])})
