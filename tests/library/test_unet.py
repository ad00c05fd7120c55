"""The U-Net: any size, its parts by hand, what moves and what must not."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from small_unet import SMALL, build, inputs
from worlds import gaussian

from gendi.diffusion.networks import build_network
from gendi.diffusion.networks.blocks import Attention, ResidualBlock
from gendi.diffusion.networks.config import NetworkConfig
from gendi.diffusion.networks.embeddings import Sinusoids, fourier_features, vector_features


@pytest.mark.parametrize("size", [(27, 31), (28, 28), (96, 64), (1, 1), (5, 3)])
@pytest.mark.parametrize(("channels", "patch"), [(1, 1), (1, 2), (3, 2), (4, 4), (3, 4), (4, 1)])
def test_any_size_comes_back(size: tuple[int, int], channels: int, patch: int) -> None:
    network = build(channels, patch=patch, channels=(8, 8, 8)) if channels == 1 else build(channels, patch=patch)
    x, time = inputs(2, channels, *size)
    with torch.no_grad():
        out = network(x, time)
    assert out.shape == x.shape
    assert bool(out.isfinite().all())


def test_what_is_padded_is_a_copy_of_the_edge() -> None:
    """An image whose edge was repeated by hand gives the same answer inside."""
    network, (x, time) = build(patch=2), inputs(2, 1, 7, 6)
    padded = torch.cat([x, x[:, :, -1:]], 2)
    padded = torch.cat([padded, padded[..., -1:], padded[..., -1:]], 3)
    torch.testing.assert_close(network(x, time), network(padded, time)[..., :7, :6], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("attention", [(), (1,), (0, 1)])
def test_the_output_starts_at_zero(attention: tuple[int, ...]) -> None:
    network = build_network(NetworkConfig(channels=(8, 16), groups=4, heads=2, attention=attention), (1, 8, 8))
    assert network(*inputs(2)).abs().max() == 0


PAPER = {"resample": "conv", "inject": "add", "middle_attention": True, "heads": 1, "time_features": 8}


ADM = {"resample": "residual", "attention": (0, 1), "head_dim": 4, "middle_attention": True}


UNEVEN = {"inject": "concat", "blocks": (1, 3), "attention": (0, 1), "heads": (1, 4)}


@pytest.mark.parametrize("changes", [PAPER, ADM, UNEVEN, {"channels": (8, 16, 8), "resample": "residual"}])
def test_the_other_shapes_of_a_u_net(changes: dict[str, object]) -> None:
    """With every way to resample, to attend and to inject, any size works and no row changes another."""
    network, (x, time) = build(3, **changes), inputs(3, 3, 9, 7)
    with torch.no_grad():
        whole = network(x, time)
        alone = network(x[1:2], time[1:2])
    assert whole.shape == x.shape
    torch.testing.assert_close(alone, whole[1:2], rtol=1e-4, atol=1e-4)
    assert (network(x, time + 0.5) - whole).abs().max() > 1e-3


def test_blocks_and_heads_are_counted_per_level() -> None:
    network = build(**UNEVEN)
    assert [len(stages) for stages in network.down] == [1, 3]
    assert [len(stages) for stages in network.up] == [4, 2]
    assert [stages[0].attention.heads for stages in network.down] == [1, 4]
    assert [stages[0].attention.heads for stages in build(**ADM).down] == [2, 4]


def test_the_middle_has_one_attention_or_what_its_level_has() -> None:
    def middle(**changes: object) -> list[bool]:
        return [stage.attention is not None for stage in build(**changes).middle]

    assert middle() == [False, False]
    assert middle(attention=(1,)) == [True, True]
    assert middle(middle_attention=True) == middle(middle_attention=True, attention=(1,)) == [True, False]


@pytest.mark.parametrize("inject", ["film", "add", "concat"])
def test_a_block_by_hand(inject: str) -> None:
    """x + conv2(silu(...)), the embedding in the place the module's docstring gives it."""
    torch.manual_seed(0)
    config = NetworkConfig(channels=(8,), groups=2, time_dim=8, inject=inject)
    block, x, e = ResidualBlock(8, 8, config), gaussian(2, 8, 4, 3).float(), gaussian(2, 8, seed=3).float()
    with torch.no_grad():
        block.conv2.weight.normal_(std=0.1)
    h = block.conv1(F.silu(F.group_norm(x, 2, eps=1e-5)))
    w = (e @ block.film.weight.T + block.film.bias)[:, :, None, None]
    if inject == "film":
        h = F.group_norm(h, 2) * (1 + w[:, :8]) + w[:, 8:]
    elif inject == "add":
        h = F.group_norm(h + w, 2)
    else:
        h = torch.cat([F.group_norm(h, 2), w * torch.ones(2, 2, 4, 3)], 1)
    torch.testing.assert_close(block(x, e), x + block.conv2(F.silu(h)), rtol=1e-4, atol=1e-5)


def test_a_residual_step_averages_and_repeats() -> None:
    """With the last convolution at zero the skip is all there is: means of 2 x 2 pixels, and pixels repeated."""
    config, x = NetworkConfig(channels=(8,), groups=2, time_dim=8), gaussian(1, 8, 4, 6).float()
    down, up = (ResidualBlock(8, 8, config, scale) for scale in (0.5, 2.0))
    e = torch.zeros(1, 8)
    torch.testing.assert_close(down(x, e), x.reshape(1, 8, 2, 2, 3, 2).mean((3, 5)))
    assert torch.equal(up(x, e), x.repeat_interleave(2, 2).repeat_interleave(2, 3))


@pytest.mark.parametrize(
    "changes",
    [{}, {"attention": (0, 1), "classes": 3, "patch": 2}, {"channels": (8,), "blocks": 2}, PAPER, ADM, UNEVEN],
)
def test_gradient_reaches_every_parameter(changes: dict[str, object]) -> None:
    network, (x, time) = build(**changes), inputs(4)
    cond = {"class": torch.tensor([0, 1, 2, -1])} if "classes" in changes else {}
    network(x, time, **cond).square().sum().backward()
    still = [name for name, p in network.named_parameters() if p.grad is None or not bool((p.grad != 0).any())]
    assert still == []


def test_one_step_from_the_zero_start_moves_every_branch() -> None:
    """Zero output weights keep the weights behind them from moving for one step only."""
    torch.manual_seed(0)
    network = build_network(NetworkConfig(**{**vars(SMALL), "attention": (1,)}), (1, 8, 8))
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    x, time = inputs(4)
    for _ in range(3):
        optimizer.zero_grad()
        (network(x, time) - x).square().mean().backward()
        optimizer.step()
    still = [name for name, p in network.named_parameters() if p.grad is None or not bool((p.grad != 0).any())]
    assert still == []


def test_one_batch_is_learnt_by_heart() -> None:
    """Noise is not predictable, but eight noises can be memorised: the error falls to a tenth of their variance."""
    torch.manual_seed(0)
    network = build_network(NetworkConfig(channels=(16, 32), blocks=1, groups=4, time_dim=32), (1, 8, 8))
    x, time = inputs(8)
    target = gaussian(8, 1, 8, 8, seed=1).float()
    optimizer = torch.optim.Adam(network.parameters(), lr=5e-3)
    for _ in range(80):
        optimizer.zero_grad()
        loss = (network(x, time) - target).square().mean()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.1 * target.square().mean().item()


@pytest.mark.parametrize("changes", [{}, {"attention": (0, 1), "patch": 2}])
def test_an_output_does_not_depend_on_the_neighbours(changes: dict[str, object]) -> None:
    network, (x, time) = build(**changes), inputs(5, 1, 9, 7)
    whole = network(x, time)
    for i in (0, 3):
        torch.testing.assert_close(network(x[i : i + 1], time[i : i + 1]), whole[i : i + 1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("changes", [{}, {"attention": (0, 1), "patch": 2}])
def test_channels_last_is_the_same_network(changes: dict[str, object]) -> None:
    network, (x, time) = build(3, **changes), inputs(3, 3, 10, 6)
    expected = network(x, time)
    network.to(memory_format=torch.channels_last)
    got = network(x.to(memory_format=torch.channels_last), time)
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)


def test_dropout_is_for_training_alone() -> None:
    network, (x, time) = build(dropout=0.5), inputs(2)
    assert torch.equal(network(x, time), network(x, time))
    network.train()
    assert not torch.equal(network(x, time), network(x, time))


def test_labels_matter_and_absent_is_null() -> None:
    network, (x, _) = build(classes=3), inputs(4)
    x, time = x[:1].expand(4, -1, -1, -1), torch.zeros(4)
    out = network(x, time, **{"class": torch.tensor([0, 1, 2, -1])})
    assert len({round(float(row.detach().sum()), 4) for row in out}) == 4
    torch.testing.assert_close(network(x, time), out[3:].expand(4, -1, -1, -1), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("time_input", "values"), [("log-snr", (-2.0, -1.9)), ("step", (1.0, 2.0))])
def test_neighbouring_noise_levels_are_told_apart(time_input: str, values: tuple[float, float]) -> None:
    network, (x, _) = build(time_input=time_input), inputs(1)
    first, second = (network(x, torch.tensor([v])) for v in values)
    assert (first - second).abs().max() > 1e-4


def test_sinusoids_are_vaswanis() -> None:
    """cos and sin of value / 10000^(k / half), k = 0, ..., half - 1."""
    out = Sinusoids(6, scale=2.0)(torch.tensor([0.0, 3.0]))
    angles = [2 * 3.0 / 10_000 ** (k / 3) for k in range(3)]
    expected = [[1.0] * 3 + [0.0] * 3, [math.cos(a) for a in angles] + [math.sin(a) for a in angles]]
    torch.testing.assert_close(out, torch.tensor(expected), rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match="even"):
        Sinusoids(5)


def test_fourier_features_count_in_bytes() -> None:
    """n = 8 is the same at every byte and goes once round from one to the next; n = 7 differs between even and odd."""
    bytes_ = torch.arange(256).double()
    x = (bytes_ / 127.5 - 1).reshape(1, 1, 1, 256)
    sines, cosines = fourier_features(x, (8, 7, 6))[0, :, 0].chunk(2)
    zero = torch.zeros(256, dtype=torch.float64)
    torch.testing.assert_close(sines[:2], torch.stack([zero, zero]), rtol=0, atol=1e-10)
    torch.testing.assert_close(cosines[:2], torch.stack([zero + 1, 1 - 2 * (bytes_ % 2)]), rtol=0, atol=1e-10)
    torch.testing.assert_close(sines[2], torch.sin(torch.pi * bytes_ / 2), rtol=0, atol=1e-10)
    quarter = fourier_features(x + 2 / 255 / 4, (8,))[0, 0, 0]
    torch.testing.assert_close(quarter, zero + 1, rtol=0, atol=1e-10)
    assert fourier_features(gaussian(2, 3, 2, 2), (-1, 7)).shape == (2, 12, 2, 2)


def test_fading_features_keep_the_mean_of_a_wave_under_the_noise() -> None:
    """A fading feature is the mean of the wave over the noise, by quadrature with 120 nodes."""
    nodes, weights = (torch.from_numpy(v) for v in np.polynomial.hermite_e.hermegauss(120))
    x = torch.tensor([-0.9, 0.3], dtype=torch.float64).reshape(2, 1, 1, 1)
    u = torch.tensor([1e-3, 0.02], dtype=torch.float64)
    faded = fourier_features(x, (8, 4), u.log() / 4)
    noisy = fourier_features(x + u.reshape(2, 1, 1, 1) * nodes, (8, 4))
    mean = (noisy * weights).sum(-1, keepdim=True) / weights.sum()
    torch.testing.assert_close(faded, mean, rtol=0, atol=1e-8)
    assert float(faded[0].abs().max()) > 0.5 and float(faded[1, ::2].abs().max()) < 1e-8


def test_features_of_vectors_are_waves_that_fade_to_their_mean_under_the_noise() -> None:
    """Two numbers, waves of periods 4 and 1: sines, then cosines; the fading ones by quadrature with 120 nodes."""
    x, u = torch.tensor([[-0.9, 0.3]], dtype=torch.float64), 0.2
    angles = torch.cat([0.5 * torch.pi * x, 2 * torch.pi * x], dim=1)
    torch.testing.assert_close(vector_features(x, (-1, 1)), torch.cat([angles.sin(), angles.cos()], 1), rtol=0, atol=0)
    nodes, weights = (torch.from_numpy(v) for v in np.polynomial.hermite_e.hermegauss(120))
    faded = vector_features(x, (-1, 1), torch.tensor([math.log(u) / 4], dtype=torch.float64))
    noisy = vector_features(x + u * nodes[:, None], (-1, 1))
    torch.testing.assert_close(faded[0], weights @ noisy / weights.sum(), rtol=0, atol=1e-9)


def test_fourier_features_show_what_bf16_hides() -> None:
    """A change of 1e-3 at 1 is lost in bf16, whose neighbours are 4e-3 apart there; features of n = 8 move by 0.7."""
    for exponents, visible in (((), False), ((8,), True)):
        network = build(fourier_features=exponents)
        with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
            outputs = [network(torch.full((1, 1, 8, 8), value), torch.zeros(1)) for value in (1.0, 0.999)]
        assert torch.equal(*outputs) is not visible


def test_outputs_may_be_more_than_inputs() -> None:
    network = build_network(NetworkConfig(**{**vars(SMALL), "patch": 2}), (3, 8, 8), out_channels=6)
    assert network(*inputs(2, 3, 7, 9)).shape == (2, 6, 7, 9)


def test_attention_by_hand() -> None:
    """x + W (softmax(q k^T / sqrt(d)) v), head by head."""
    torch.manual_seed(0)
    block, x = Attention(8, heads=2, groups=4), gaussian(2, 8, 3, 2).float()
    with torch.no_grad():
        for p in block.parameters():
            p += 0.5 * torch.randn(p.shape)
    normed = torch.nn.functional.group_norm(x, 4, block.norm.weight, block.norm.bias)
    q, k, v = (
        torch.einsum("oc,bcp->bop", block.qkv.weight[:, :, 0, 0], normed.flatten(2)) + block.qkv.bias[:, None]
    ).split(8, dim=1)
    heads = []
    for h in (slice(0, 4), slice(4, 8)):
        share = (torch.einsum("bci,bcj->bij", q[:, h], k[:, h]) / 2).softmax(-1)
        heads.append(torch.einsum("bij,bcj->bci", share, v[:, h]))
    out = torch.einsum("oc,bcp->bop", block.out.weight[:, :, 0, 0], torch.cat(heads, 1)) + block.out.bias[:, None]
    torch.testing.assert_close(block(x), x + out.reshape(x.shape), rtol=1e-4, atol=1e-5)
