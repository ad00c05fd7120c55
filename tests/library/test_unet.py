import math
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from worlds import gaussian

from gendi.diffusion.config import ConditionConfig
from gendi.diffusion.networks import UNet, build_network
from gendi.diffusion.networks.blocks import Attention, ResidualBlock
from gendi.diffusion.networks.config import NetworkConfig
from gendi.diffusion.networks.embeddings import Sinusoids, fourier_features

SMALL = NetworkConfig(channels=(8, 16), blocks=1, groups=4, heads=2, time_dim=16)


def build(image_channels: int = 1, **changes: object) -> UNet:
    """Return a network in evaluation mode in which nothing is zero any more."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        classes = changes.pop("classes", 0)
        specs = (ConditionConfig("class", size=classes),) if classes else ()
        network = build_network(NetworkConfig(**{**vars(SMALL), **changes}), (image_channels, 8, 8), specs)
        with torch.no_grad():
            for p in network.parameters():
                p += 0.1 * torch.randn(p.shape)
    return network.eval()


def inputs(batch: int, channels: int = 1, height: int = 8, width: int = 8) -> tuple[Tensor, Tensor]:
    return gaussian(batch, channels, height, width).float(), torch.linspace(-1, 1, batch)


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


def _conv(c_in: int, c_out: int, k: int) -> int:
    return c_in * c_out * k * k + c_out


def _block(c_in: int, c_out: int, time: int) -> int:
    skip = _conv(c_in, c_out, 1) if c_in != c_out else 0
    return 2 * c_in + _conv(c_in, c_out, 3) + time * 2 * c_out + 2 * c_out + 2 * c_out + _conv(c_out, c_out, 3) + skip


def test_parameters_are_counted_by_hand() -> None:
    """Two levels of widths 8 and 16, one block each, patch 2 on RGB, attention on the second level, ten classes."""
    network = build_network(
        NetworkConfig(channels=(8, 16), blocks=1, patch=2, attention=(1,), heads=2, time_dim=32, groups=4),
        (3, 8, 8),
        [ConditionConfig("class", size=10)],
    )
    attention = 2 * 16 + _conv(16, 48, 1) + _conv(16, 16, 1)
    time = (16 * 32 + 32) + (32 * 32 + 32) + 11 * 32
    stem_and_head = _conv(12, 8, 3) + 2 * 8 + _conv(8, 12, 3)
    down = _block(8, 8, 32) + _conv(8, 8, 3) + _block(8, 16, 32) + attention
    middle = 2 * (_block(16, 16, 32) + attention)
    # skips, last in first out: 16 (second level), 8 (shrunk), then 8 (first level), 8 (stem)
    up_second = _block(16 + 16, 16, 32) + _block(16 + 8, 16, 32) + 2 * attention + _conv(16, 8, 3)
    up_first = 2 * _block(8 + 8, 8, 32)
    expected = time + stem_and_head + down + middle + up_second + up_first
    assert sum(p.numel() for p in network.parameters()) == expected


def test_the_reports_network_has_about_1_7_million_parameters() -> None:
    from gendi.train.presets import get_preset

    network = build_network(get_preset("gendi-report").config.network, (1, 28, 28))
    assert sum(p.numel() for p in network.parameters()) == pytest.approx(1.7e6, rel=0.15)


def test_the_cifar10_network_is_the_papers() -> None:
    """35.7 million parameters [Ho et al. 2020, appendix B]: 35,746,307, as diffusers counts in the same network."""
    from gendi.train.presets import get_preset

    with torch.device("meta"):
        network, other = build_network(get_preset("cifar10").config.network, (3, 32, 32)), papers_unet(128, 32)
    counts = [sum(p.numel() for p in n.parameters()) for n in (network, other)]
    assert counts == [35_746_307, 35_746_307]


def test_the_adm_network_has_296_million_parameters() -> None:
    """[Dhariwal & Nichol 2021, table 4, ImageNet 64 x 64], with its 1000 classes and its learned variance."""
    from gendi.train.presets import get_preset

    config = get_preset("adm").config.network
    with torch.device("meta"):
        network = build_network(config, (3, 64, 64), [ConditionConfig("class", size=1000)], 6)
    assert sum(p.numel() for p in network.parameters()) == pytest.approx(296e6, rel=2e-3)


def papers_unet(width: int, groups: int) -> torch.nn.Module:
    """Return diffusers' form of the paper's network at any width."""
    from diffusers import UNet2DModel

    plain, attending = ("DownBlock2D", "AttnDownBlock2D"), ("UpBlock2D", "AttnUpBlock2D")
    return UNet2DModel(
        sample_size=32,
        in_channels=3,
        out_channels=3,
        block_out_channels=(width, 2 * width, 2 * width, 2 * width),
        down_block_types=[plain[i] for i in (0, 1, 0, 0)],
        up_block_types=[attending[i] for i in (0, 0, 1, 0)],
        layers_per_block=2,
        downsample_padding=0,
        flip_sin_to_cos=False,
        freq_shift=1,
        attention_head_dim=None,
        norm_num_groups=groups,
        norm_eps=1e-5,
    )


def paired(ours: UNet, theirs: torch.nn.Module) -> Iterator[tuple[torch.nn.Module, list[torch.nn.Module]]]:
    """Yield each layer of our network with diffusers' layers of the same weights."""
    middle, heads = theirs.mid_block, list(zip(ours.up, theirs.up_blocks))
    yield ours.stem, [theirs.conv_in]
    yield ours.time.mlp[0], [theirs.time_embedding.linear_1]
    yield ours.time.mlp[2], [theirs.time_embedding.linear_2]
    yield ours.norm, [theirs.conv_norm_out]
    yield ours.head, [theirs.conv_out]
    levels = [*zip(ours.down, theirs.down_blocks), (ours.middle, middle), *heads]
    for stages, block in levels:
        for i, stage in enumerate(stages):
            b, resnet = stage.block, block.resnets[i]
            yield from ((getattr(b, n), [getattr(resnet, n)]) for n in ("norm1", "conv1", "norm2", "conv2"))
            yield b.film, [resnet.time_emb_proj]
            if resnet.conv_shortcut is not None:
                yield b.skip, [resnet.conv_shortcut]
            if stage.attention is not None:
                a = block.attentions[i]
                yield stage.attention.norm, [a.group_norm]
                yield stage.attention.qkv, [a.to_q, a.to_k, a.to_v]
                yield stage.attention.out, [a.to_out[0]]
    yield from ((o, [t.downsamplers[0].conv]) for o, t in zip(ours.shrink, theirs.down_blocks))
    yield from ((o, [t.upsamplers[0].conv]) for o, t in zip(ours.grow, theirs.up_blocks))


def test_the_papers_network_computes_what_diffusers_computes() -> None:
    """The same weights at width 8, the paper's sinusoids (sines first, half - 1) put in place of ours."""
    torch.manual_seed(0)
    config = replace(get_cifar10(), channels=(8, 16, 16, 16), time_dim=32, time_features=8, groups=4)
    ours, theirs = build_network(config, (3, 16, 16)).eval(), papers_unet(8, 4).eval()
    with torch.no_grad():
        for layer, sources in paired(ours, theirs):
            layer.weight.copy_(torch.cat([s.weight for s in sources]).reshape(layer.weight.shape))
            layer.bias.copy_(torch.cat([s.bias for s in sources]))
        ours.time.sinusoids.frequencies.copy_(torch.exp(-math.log(1e4) * torch.arange(4) / 3))
        first = ours.time.mlp[0].weight
        first.copy_(torch.cat([first[:, 4:], first[:, :4]], 1))  # ours: cosines first
        x, steps = gaussian(2, 3, 16, 16).float(), torch.tensor([3.0, 700.0])
        torch.testing.assert_close(ours(x, steps), theirs(x, steps).sample, rtol=1e-3, atol=1e-4)
    assert sum(1 for _ in paired(ours, theirs)) * 2 == len(ours.state_dict())


def get_cifar10() -> NetworkConfig:
    from gendi.train.presets import get_preset

    return get_preset("cifar10").config.network
