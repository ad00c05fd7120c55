"""Networks say which weights are outer and which blocks are units; others have defaults."""

import pytest
import torch
from torch import nn

from gendi.diffusion.config import ConditionConfig
from gendi.diffusion.networks import NetworkConfig, build_network
from gendi.diffusion.networks.registry import NETWORKS, NetworkInfo, validate
from gendi.diffusion.networks.roles import Parted, inner_matrices, units_of
from gendi.errors import UsageError
from gendi.train.config import OptimConfig
from gendi.train.step.optim import make_optimizers

OUTER = ("stem", "head", "time", "conditions")
KINDS = [
    (NetworkConfig(channels=(8, 16), blocks=(2, 1), attention=(1,), groups=4), (1, 8, 8)),
    (NetworkConfig(channels=(8, 16), blocks=1, resample="residual", middle_attention=True), (3, 8, 8)),
    (NetworkConfig("dit", channels=(8,), blocks=2, heads=2, inject="concat"), (1, 8, 8)),
    (NetworkConfig("mlp", channels=(8,), blocks=3), (5,)),
]


@pytest.mark.parametrize(("config", "shape"), KINDS)
def test_muons_share_is_what_version_0_1_0_gave_it(config: NetworkConfig, shape: tuple[int, ...]) -> None:
    network = build_network(config, shape, [ConditionConfig("class", size=3)])
    assert isinstance(network, Parted)
    names = {id(p): name for name, p in network.named_parameters()}
    by_name = [name for name, p in network.named_parameters() if p.ndim >= 2 and name.split(".")[0] not in OUTER]
    assert [names[id(p)] for p in inner_matrices(network)] == by_name


@pytest.mark.parametrize(("config", "shape"), KINDS)
def test_units_are_the_entries_of_the_lists_and_hold_no_other(config: NetworkConfig, shape: tuple[int, ...]) -> None:
    network = build_network(config, shape)
    units, names = units_of(network), {id(module): name for name, module in network.named_modules()}
    found = [names[id(unit)] for unit in units]
    assert len(set(found)) == len(found) and found
    assert not any(a != b and a.startswith(f"{b}.") for a in found for b in found)
    lists = [name for name, module in network.named_modules() if isinstance(module, nn.ModuleList)]
    assert all(name.rpartition(".")[0] in lists for name in found)


class Stranger(nn.Module):
    """A network by somebody else, which does not define its roles."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(4, 6)
        self.entry, self.scale = nn.Linear(2, 6), nn.Parameter(torch.ones(6))
        self.layers = nn.ModuleList([nn.Linear(6, 6), nn.Dropout(0.1), nn.Linear(6, 6)])
        self.exit = nn.Linear(6, 2)


def test_a_stranger_has_its_first_and_last_matrices_and_its_tables_with_adamw() -> None:
    network = Stranger()
    names = {id(p): name for name, p in network.named_parameters()}
    assert [names[id(p)] for p in inner_matrices(network)] == ["layers.0.weight", "layers.2.weight"]
    muon, adamw = make_optimizers(network, OptimConfig(name="muon"))
    held = [{names[id(p)] for p in o.param_groups[0]["params"]} for o in (muon, adamw)]
    assert held[0] == {"layers.0.weight", "layers.2.weight"}
    assert held[0] | held[1] == set(names.values()) and not held[0] & held[1]
    assert units_of(network) == [network.layers[0], network.layers[2]]


def test_a_single_matrix_is_outer_and_no_matrix_is_none() -> None:
    assert inner_matrices(nn.Linear(3, 3)) == [] and units_of(nn.Linear(3, 3)) == []
    assert inner_matrices(nn.LayerNorm(3)) == []


def test_a_registered_network_is_built_by_its_name() -> None:
    class Mine(nn.Module):
        def __init__(self, config: NetworkConfig, channels: int, conditions: object, out_channels: int) -> None:
            super().__init__()
            self.layer = nn.Linear(channels, out_channels)

    def narrow(config: NetworkConfig) -> None:
        if config.channels[0] > 8:
            raise UsageError("network.channels: mine is narrow.")

    NETWORKS.register("mine", NetworkInfo(Mine, 1, check=narrow))
    try:
        config = NetworkConfig("mine", channels=(8,))
        validate(config)
        assert isinstance(build_network(config, (5,), (), 10), Mine)
        with pytest.raises(UsageError, match="narrow"):
            validate(NetworkConfig("mine", channels=(9,)))
        with pytest.raises(UsageError, match="1 dimensions|vectors"):
            build_network(config, (1, 8, 8))
    finally:
        NETWORKS.remove("mine")
    with pytest.raises(UsageError, match="network.kind = 'mine' is unknown. Known: 'unet', 'dit', 'mlp'"):
        validate(config)
