"""What every network promises: any size, independent rows, gradients everywhere, null rows, and export."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from worlds import gaussian

from gendi.diffusion.conditions import drop, null_like
from gendi.diffusion.config import ConditionConfig
from gendi.diffusion.networks import build_network
from gendi.diffusion.networks.conditions import features_of
from gendi.diffusion.networks.config import NetworkConfig
from gendi.errors import UsageError

UNET = NetworkConfig(channels=(8, 16), blocks=1, groups=4, heads=2, attention=(1,), time_dim=16)
DIT = NetworkConfig("dit", channels=(16,), blocks=2, patch=2, heads=2, time_dim=16)
MLP = NetworkConfig("mlp", channels=(16,), blocks=2, expand=2, time_dim=16)
NETWORKS = {
    "unet": UNET,
    "unet-add": replace(UNET, inject="add", resample="residual", patch=2),
    "dit": DIT,
    "dit-rotary": replace(DIT, positions="rotary", patch=4),
    "dit-add": replace(DIT, inject="add"),
    "dit-concat": replace(DIT, inject="concat", positions="rotary"),
    "mlp": MLP,
    "mlp-add": replace(MLP, inject="add"),
    "mlp-concat": replace(MLP, inject="concat", channels=(8,)),
}
IMAGES = [name for name in NETWORKS if not name.startswith("mlp")]

CLASS = ConditionConfig("class", size=4)
TAGS = ConditionConfig("tags", "tags", size=4)
DOSE = ConditionConfig("dose", "value", size=1, mean=5.0, std=2.0)
PLACE = ConditionConfig("place", "vector", size=3)
ROWS = (CLASS, TAGS, DOSE, PLACE)
SKETCH = ConditionConfig("sketch", "image", size=2, via="channels")
PHOTO = ConditionConfig("photo", "image", size=1, via="tokens")


def conditions(n: int, *specs: ConditionConfig, seed: int = 0) -> dict[str, Tensor]:
    """Return n rows of conditions, none of them null."""
    rows: dict[str, Tensor] = {}
    for k, spec in enumerate(specs):
        g = gaussian(n, 64, seed=100 * seed + k).float()
        rows[spec.name] = {
            "class": torch.arange(n) % spec.size,
            "tags": (g[:, : spec.size] > 0).float(),
            "value": 5 + 2 * g[:, 0],
            "vector": g[:, : spec.size],
            "image": gaussian(n, spec.size, 5, 9, seed=k).float().clamp(-1, 1),
        }[spec.kind]
    return rows


def build(name: str, specs: tuple[ConditionConfig, ...] = (), shape: tuple[int, ...] = (3, 8, 8)) -> nn.Module:
    """Return a network in evaluation mode in which nothing is zero any more."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = build_network(NETWORKS[name], (12,) if name.startswith("mlp") else shape, specs)
        with torch.no_grad():
            for p in network.parameters():
                p += 0.1 * torch.randn(p.shape)
    return network.eval()


def inputs(name: str, n: int = 4, size: tuple[int, int] = (8, 8)) -> tuple[Tensor, Tensor]:
    x = gaussian(n, 12) if name.startswith("mlp") else gaussian(n, 3, *size)
    return x.float(), torch.linspace(-1, 1, n)


def close(a: Tensor, b: Tensor) -> None:
    torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", IMAGES)
@pytest.mark.parametrize("size", [(7, 5), (1, 1), (4, 13)])
def test_an_image_of_any_size_comes_back(name: str, size: tuple[int, int]) -> None:
    network, (x, time) = build(name), inputs(name, 2, size)
    out = network(x, time)
    assert out.shape == x.shape
    assert bool(out.isfinite().all())


@pytest.mark.parametrize("name", NETWORKS)
def test_the_output_starts_at_zero_and_may_be_wider(name: str) -> None:
    shape = (12,) if name.startswith("mlp") else (3, 8, 8)
    out = build_network(NETWORKS[name], shape, out_channels=2 * shape[0])(*inputs(name))
    assert out.shape == (4, 2 * shape[0], *shape[1:])
    assert out.abs().max() == 0


@pytest.mark.parametrize("name", NETWORKS)
def test_rows_are_apart(name: str) -> None:
    """A row with its noise level and its conditions gives the same alone and among others."""
    network, (x, time), cond = build(name, ROWS), inputs(name), conditions(4, *ROWS)
    whole = network(x, time, **cond)
    close(network(x[1:2], time[1:2], **{key: value[1:2] for key, value in cond.items()}), whole[1:2])
    assert (network(x, time + 0.5, **cond) - whole).abs().flatten(1).amax(1).min() > 1e-4


def still(network: nn.Module) -> list[str]:
    return [name for name, p in network.named_parameters() if p.grad is None or not bool((p.grad != 0).any())]


@pytest.mark.parametrize("name", NETWORKS)
def test_gradient_reaches_every_parameter_within_three_steps(name: str) -> None:
    """Even from the initial zeros: parameters behind a zero move as soon as the zero has moved."""
    torch.manual_seed(0)
    specs = ROWS if name.startswith("mlp") else (*ROWS, SKETCH, PHOTO)
    network = build_network(NETWORKS[name], (12,) if name.startswith("mlp") else (3, 8, 8), specs)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    x, time = inputs(name, 6)
    null = torch.tensor([False] * 4 + [True] * 2)
    cond = {key: drop(value, null) for key, value in conditions(6, *specs).items()}
    for _ in range(4):
        optimizer.zero_grad()
        (network(x, time, **cond) - x).square().mean().backward()
        missing = still(network)
        optimizer.step()
    assert missing == []


@pytest.mark.parametrize("name", ["dit", "dit-rotary", "mlp"])
def test_one_batch_is_learnt_by_heart(name: str) -> None:
    """Noise is not predictable, but eight noises can be memorised: the error falls to a tenth of their variance."""
    torch.manual_seed(0)
    wide = (64,) if name == "mlp" else (48,)
    network = build_network(
        replace(NETWORKS[name], channels=wide, time_dim=32), (12,) if name.startswith("mlp") else (3, 8, 8)
    )
    x, time = inputs(name, 8)
    target = torch.roll(x, 1, 0)
    optimizer = torch.optim.Adam(network.parameters(), lr=5e-3)
    for _ in range(150):
        optimizer.zero_grad()
        loss = (network(x, time) - target).square().mean()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.1 * target.square().mean().item()


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("spec", [*ROWS, SKETCH, PHOTO, *(replace(s, via="tokens") for s in (CLASS, DOSE))])
def test_a_condition_alone(name: str, spec: ConditionConfig) -> None:
    """It moves the output; null in every row is like an absent condition; a null row changes no other row."""
    if name.startswith("mlp") and spec.via != "embedding":
        with pytest.raises(UsageError, match=f"{spec.name} enters via '{spec.via}'"):
            build(name, (spec,))
        return
    network, (x, time) = build(name, (spec,)), inputs(name)
    cond = conditions(4, spec)
    value = cond[spec.name]
    out, absent = network(x, time, **cond), network(x, time)
    assert (out - absent).abs().flatten(1).amax(1).min() > 1e-4
    moved = network(x, time, **{spec.name: value.roll(1, 0)})
    assert (out - moved).abs().flatten(1).amax(1).min() > 1e-4
    close(network(x, time, **{spec.name: null_like(value)}), absent)
    one = network(x, time, **{spec.name: drop(value, torch.tensor([False, True, False, False]))})
    close(one[[0, 2, 3]], out[[0, 2, 3]])
    close(one[1], absent[1])


@pytest.mark.parametrize("name", ["unet", "dit", "mlp"])
def test_conditions_are_null_one_by_one(name: str) -> None:
    """Every subset of the conditions has an answer of its own, and an absent one is like a null one among others."""
    specs = (CLASS, DOSE) if name == "mlp" else (CLASS, replace(DOSE, via="tokens"), SKETCH, PHOTO)
    network, (x, time), cond = build(name, specs), inputs(name), conditions(4, *specs)
    answers = [network(x, time, **cond)]
    for spec in specs:
        rest = {key: value for key, value in cond.items() if key != spec.name}
        answers.append(network(x, time, **rest))
        close(network(x, time, **rest, **{spec.name: null_like(cond[spec.name])}), answers[-1])
    apart = [(a - b).abs().max() for i, a in enumerate(answers) for b in answers[:i]]
    assert min(apart) > 1e-4


def test_a_null_row_poisons_no_gradient() -> None:
    """NaN marks a null row, and no weight meets it in the backward pass."""
    specs = (*ROWS, SKETCH, PHOTO)
    network, (x, time) = build("unet", specs), inputs("unet")
    nothing = {key: null_like(value) for key, value in conditions(4, *specs).items()}
    network(x, time, **nothing).square().sum().backward()
    assert all(p.grad is None or bool(p.grad.isfinite().all()) for p in network.parameters())


def test_a_value_is_standardised() -> None:
    """The network standardises values by the mean and deviation of the data, so 5 +- 2 is the same as 50 +- 20."""
    torch.manual_seed(0)
    small, large = (build("mlp", (replace(DOSE, mean=m, std=s),)) for m, s in ((5.0, 2.0), (50.0, 20.0)))
    (x, time), dose = inputs("mlp"), conditions(4, DOSE)["dose"]
    close(small(x, time, dose=dose), large(x, time, dose=10 * dose))


def test_a_value_is_shown_by_fourier_features() -> None:
    """u, then sin and cos of 2^n pi u: the slowest goes round once in 16 standard deviations, the fastest in 1/4."""
    out = features_of(torch.tensor([[4.0], [0.0625]]))
    assert out.shape == (2, 15)
    assert out[0, [0, 1, 8]].tolist() == pytest.approx([4.0, 1.0, 0.0], abs=1e-5)
    assert out[1, [0, 7, 14]].tolist() == pytest.approx([0.0625, 1.0, 0.0], abs=1e-5)


def test_a_picture_beside_is_brought_to_size() -> None:
    """A constant picture is that constant at any size."""
    network, (x, time) = build("unet", (SKETCH,)), inputs("unet")
    small, large = (torch.full((4, 2, *size), 0.3) for size in ((2, 3), (8, 8)))
    close(network(x, time, sketch=small), network(x, time, sketch=large))


@pytest.mark.parametrize(
    ("cond", "message"),
    [
        ({"clas": torch.zeros(4, dtype=torch.int64)}, "class"),
        ({"class": torch.zeros(4)}, "whole numbers"),
        ({"class": torch.zeros(3, dtype=torch.int64)}, r"shape \(4,\)"),
        ({"dose": torch.zeros(4, 1)}, r"dose must be floats of shape \(4,\)"),
        ({"place": torch.zeros(4, 2)}, r"shape \(4, 3\)"),
        ({"sketch": torch.zeros(4, 3, 8, 8)}, r"shape \(4, 2, 8, 8\)"),
        ({"photo": torch.zeros(1, 1, 8, 8)}, r"shape \(4, 1, 8, 8\)"),
    ],
)
def test_conditions_must_fit(cond: dict[str, Tensor], message: str) -> None:
    network = build("unet", (*ROWS, SKETCH, PHOTO))
    with pytest.raises(UsageError, match=message):
        network(*inputs("unet"), **cond)


@pytest.mark.parametrize("features", [1, 16, 5000])
def test_a_vector_of_any_length_comes_back(features: int) -> None:
    network, x = build_network(MLP, (features,), out_channels=2 * features), gaussian(3, features).float()
    assert network(x, torch.zeros(3)).shape == (3, 2 * features)


def test_the_time_and_the_conditions_of_an_mlp_are_added_before_they_scale_by_one_plus_their_share() -> None:
    """A block computes x + down(silu((1 + scale) norm(up(norm(x))) + shift)); scale, shift are linear in
    silu(e_time + e_conditions).  [Perez et al. 2018]
    """
    network = build_network(replace(MLP, blocks=1), (3,), [CLASS])
    block, x, time, cond = network.blocks[0], torch.randn(2, 3), torch.randn(2), torch.tensor([0, 3])
    nn.init.normal_(block.down.weight)
    seen: list[Tensor] = []
    block.register_forward_hook(lambda _, given, out: seen.extend([*given, out]))
    network(x, time, **{"class": cond})
    h, e, out = seen
    of_time = network.time(time)
    torch.testing.assert_close(e, nn.functional.silu(of_time + network.conditions({"class": cond}, of_time)))
    assert bool((network.conditions({"class": cond}, of_time) != 0).any())
    scale, shift = (block.film.weight @ e.T + block.film.bias[:, None]).T.chunk(2, 1)
    inner = (1 + scale) * block.norm2(block.up(block.norm1(h))) + shift
    torch.testing.assert_close(out, h + block.down(inner * torch.sigmoid(inner)), rtol=1e-5, atol=1e-5)


def test_networks_are_for_their_shape() -> None:
    for config, shape in ((UNET, (12,)), (DIT, (12,)), (MLP, (3, 8, 8))):
        with pytest.raises(UsageError, match=f"network.kind = '{config.kind}' is for"):
            build_network(config, shape)
    with pytest.raises(UsageError, match=r"give network\.attention a level"):
        build_network(replace(UNET, attention=()), (3, 8, 8), (PHOTO,))
    with pytest.raises(UsageError, match="time_dim = 18"):
        build_network(replace(DIT, time_dim=18), (3, 8, 8), (PHOTO,))
    with pytest.raises(UsageError, match="left to the data"):
        build_network(MLP, (12,), (ConditionConfig("class"),))


@pytest.mark.parametrize("name", NETWORKS)
def test_bf16_is_the_same_network_roughly(name: str) -> None:
    """Within a few percent of the output's size: bf16 has eight bits, and there are some ten products in a row."""
    network, (x, time), cond = build(name, ROWS), inputs(name), conditions(4, *ROWS)
    expected = network(x, time, **cond)
    with torch.autocast("cpu", torch.bfloat16):
        got = network(x, time, **cond)
    assert (got.float() - expected).square().mean() < 0.05**2 * expected.square().mean()
    got.float().square().mean().backward()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in network.head.parameters())


@pytest.mark.parametrize("name", IMAGES)
def test_channels_last_is_the_same_network(name: str) -> None:
    network, (x, time), cond = build(name, (CLASS, SKETCH)), inputs(name), conditions(4, CLASS, SKETCH)
    expected = network(x, time, **cond)
    network.to(memory_format=torch.channels_last)
    close(network(x.to(memory_format=torch.channels_last), time, **cond), expected)


EVERYTHING: tuple[Any, ...] = (CLASS, DOSE, SKETCH, PHOTO)


class Positional(nn.Module):
    """A network whose conditions have no names: `class` cannot be the name of an argument in exported code."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor, time: Tensor, rows: list[Tensor]) -> Tensor:
        return self.network(x, time, **{spec.name: value for spec, value in zip(EVERYTHING, rows, strict=True)})


@pytest.mark.parametrize("name", ["unet", "unet-add", "dit", "dit-rotary"])
def test_a_network_is_exported(name: str) -> None:
    """torch.export takes it whole, with its conditions, and the exported program gives the same, also for null rows."""
    network, (x, time), cond = build(name, EVERYTHING), inputs(name, size=(9, 7)), conditions(4, *EVERYTHING)
    program = torch.export.export(Positional(network), (x, time, list(cond.values())))
    cond = {key: drop(value, torch.tensor([True, False, False, True])) for key, value in cond.items()}
    close(program.module()(x, time, list(cond.values())), network(x, time, **cond))
