"""The parameters of U-Nets counted by hand, and the papers' networks against diffusers'."""

import math
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from worlds import gaussian

from gendi.diffusion.config import ConditionConfig
from gendi.diffusion.networks import UNet, build_network
from gendi.diffusion.networks.config import NetworkConfig


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
