import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from worlds import gaussian

from gendi.diffusion.networks import DiT, build_network
from gendi.diffusion.networks.attention import CrossAttention, attend, grid_sinusoids, heads_of, rotate, rotations
from gendi.diffusion.networks.config import NetworkConfig
from gendi.diffusion.networks.dit import Block
from gendi.diffusion.networks.embeddings import pad_to_multiple

SMALL = NetworkConfig("dit", channels=(8,), blocks=2, patch=2, heads=2, expand=2, time_dim=8)
CPU = torch.device("cpu")


def random(module: torch.nn.Module) -> torch.nn.Module:
    """Return the module with random values in all its parameters, also in those that start at zero."""
    torch.manual_seed(0)
    with torch.no_grad():
        for p in module.parameters():
            p += 0.3 * torch.randn(p.shape)
    return module.eval()


def attention_by_hand(x: torch.Tensor, block: torch.nn.Module, heads: int) -> torch.Tensor:
    q, k, v = (x @ block.qkv.weight.T + block.qkv.bias).chunk(3, dim=-1)
    d, parts = x.shape[-1] // heads, []
    for h in range(heads):
        a, b, c = (part[..., h * d : (h + 1) * d] for part in (q, k, v))
        parts.append((a @ b.mT / math.sqrt(d)).softmax(-1) @ c)
    return torch.cat(parts, -1) @ block.out.weight.T + block.out.bias


def test_a_block_is_adaln_zero_by_hand() -> None:
    """x + g1 attention(n(x) (1 + s1) + b1), then x + g2 mlp(n(x) (1 + s2) + b2).  [Peebles & Xie 2023, figure 3]"""
    block, x, e = random(Block(SMALL, cross=False)), gaussian(3, 5, 8).float(), gaussian(3, 8, seed=1).float()
    b1, s1, g1, b2, s2, g2 = (e @ block.film.weight.T + block.film.bias)[:, None].split(8, dim=-1)
    h = x + g1 * attention_by_hand(F.layer_norm(x, (8,)) * (1 + s1) + b1, block.attention, 2)
    hidden = F.gelu((F.layer_norm(h, (8,)) * (1 + s2) + b2) @ block.up.weight.T + block.up.bias)
    expected = h + g2 * (hidden @ block.down.weight.T + block.down.bias)
    torch.testing.assert_close(block(x, e, None, None), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("inject", ["film", "add", "concat"])
def test_a_block_starts_as_the_identity(inject: str) -> None:
    """The term that `add` adds is the only difference."""
    block, x, e = Block(replace(SMALL, inject=inject), cross=True), gaussian(2, 5, 8).float(), gaussian(2, 8).float()
    tokens = gaussian(2, 3, 8).float(), None
    expected = x + block.film(e)[:, None] if inject == "add" else x
    torch.testing.assert_close(block(x, e, None, tokens), expected)


def test_positions_are_sinusoids_of_row_and_column() -> None:
    """Row r, column c: sin, cos of r / 10000^(k / K), then of c, K = dim / 4."""
    out = grid_sinusoids(2, 3, 8, CPU).reshape(2, 3, 8)
    for r in range(2):
        for c in range(3):
            expected = [f(n / 10_000 ** (k / 2)) for n in (r, c) for f in (math.sin, math.cos) for k in range(2)]
            torch.testing.assert_close(out[r, c], torch.tensor(expected), rtol=1e-5, atol=1e-6)


def test_rotations_turn_by_row_and_column() -> None:
    """Row r, column c: angles r / 100^(k / K), then c / 100^(k / K), K = d / 4."""
    cos, sin = rotations(2, 3, 12, CPU).reshape(2, 2, 3, 6)
    for r in range(2):
        for c in range(3):
            expected = torch.tensor([n / 100 ** (k / 3) for n in (r, c) for k in range(3)])
            torch.testing.assert_close((cos[r, c], sin[r, c]), (expected.cos(), expected.sin()), rtol=1e-5, atol=1e-6)


def test_rotary_products_know_the_displacement_alone() -> None:
    """q at (r, c) times k at (r', c') is that of any other two tokens as far apart, and differs for other distances."""
    q, k = (gaussian(1, 1, 1, 8, seed=s).float().expand(1, 1, 20, 8) for s in (0, 1))
    turn = rotations(4, 5, 8, CPU)
    products = (rotate(q, turn) @ rotate(k, turn).mT)[0, 0].reshape(4, 5, 4, 5)
    torch.testing.assert_close(products[0, 1, 1, 3], products[2, 2, 3, 4], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(products[3, 0, 1, 0], products[2, 4, 0, 4], rtol=1e-4, atol=1e-5)
    assert (products[0, 0, 0, 1] - products[0, 0, 1, 0]).abs() > 1e-3
    torch.testing.assert_close(rotate(q, turn).norm(dim=-1), q.norm(dim=-1))


def test_cross_attention_sees_only_what_is_there() -> None:
    cross, x, tokens = random(CrossAttention(8, 12, 2)), gaussian(2, 5, 8).float(), gaussian(2, 4, 12).float()
    there = torch.tensor([[True, False, True, False], [True] * 4])
    out = cross(x, (tokens, there))
    torch.testing.assert_close(out[:1], cross(x[:1], (tokens[:1, [0, 2]], None)), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(out[1:], cross(x[1:], (tokens[1:], None)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("masked", [False, True])
def test_the_formula_written_out_is_the_fused_kernel(masked: bool) -> None:
    """They agree in bf16 on a CPU, with gradients and without, to a few times 2^-8, the distance of neighbours near 1;
    so do the gradients.
    """
    q, k, v = (gaussian(2, 3, 5 + (i > 0), 4, seed=i) for i in range(3))
    there = torch.tensor([[True, False, True, True, True, False]]).expand(2, -1) if masked else None
    grown = [x.float().requires_grad_() for x in (q, k, v)]
    exact = attend(*grown, there)
    expected = torch.autograd.grad(exact.square().sum(), grown)
    trained = [x.bfloat16().requires_grad_() for x in (q, k, v)]
    out = attend(*trained, there)
    with torch.no_grad():
        torch.testing.assert_close(out, attend(*trained, there), rtol=0.02, atol=0.02)
    torch.testing.assert_close(out.float(), exact, rtol=0.02, atol=0.03)
    for got, want in zip(torch.autograd.grad(out.square().sum(), trained), expected, strict=True):
        torch.testing.assert_close(got.float(), want, rtol=0.05, atol=0.1)


def test_heads_are_dealt_in_order() -> None:
    x = torch.arange(12.0).reshape(1, 2, 6)
    assert heads_of(x, 3)[0, :, 1].tolist() == [[6, 7], [8, 9], [10, 11]]


@pytest.mark.parametrize("positions", ["sinusoidal", "rotary"])
def test_tokens_know_their_place(positions: str) -> None:
    """If two patches change places, the answers do not just change places too."""
    network = random(build_network(replace(SMALL, positions=positions), (1, 8, 8)))
    x = gaussian(1, 1, 8, 8).float()
    swapped = x.clone()
    swapped[..., :2, :2], swapped[..., 4:6, 2:4] = x[..., 4:6, 2:4], x[..., :2, :2]
    out, other = network(x, torch.zeros(1)), network(swapped, torch.zeros(1))
    assert (out[..., :2, :2] - other[..., 4:6, 2:4]).abs().max() > 1e-3


@pytest.mark.parametrize("positions", ["sinusoidal", "rotary"])
@pytest.mark.parametrize("inject", ["film", "concat"])
def test_what_is_padded_is_a_copy_of_the_edge(positions: str, inject: str) -> None:
    config = replace(SMALL, positions=positions, inject=inject, patch=4)
    network, x = random(build_network(config, (2, 7, 9))), gaussian(2, 2, 7, 9).float()
    padded = pad_to_multiple(x, 4)
    assert padded.shape == (2, 2, 8, 12)
    assert torch.equal(padded[..., 7, :9], x[..., 6, :])
    close = network(padded, torch.zeros(2))[..., :7, :9]
    torch.testing.assert_close(network(x, torch.zeros(2)), close, rtol=1e-4, atol=1e-5)


def test_parameters_are_counted_by_hand() -> None:
    """DiT-S/2 on latents of 4 channels is 33.0M in the paper's table 1: with its 1001 classes, noise and variance."""
    width, depth = 384, 12
    config = NetworkConfig("dit", channels=(width,), blocks=depth, patch=2, heads=6, time_dim=width, time_features=256)
    with torch.device("meta"):
        network = build_network(config, (4, 32, 32), out_channels=8)
    assert isinstance(network, DiT)
    block = 4 * width**2 + 4 * width + 8 * width**2 + 5 * width + 6 * (width**2 + width)
    ends = (16 * width + width) + 2 * (width**2 + width) + (32 * width + 32)
    time = (256 * width + width) + (width**2 + width)
    count = sum(p.numel() for p in network.parameters())
    assert count == depth * block + ends + time
    assert count + 1001 * width == pytest.approx(33.0e6, rel=5e-3)
