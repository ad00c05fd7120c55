import math
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from gendi.diffusion.config import ConditionConfig
from gendi.diffusion.networks import build_network
from gendi.diffusion.networks.config import NetworkConfig
from gendi.machine.distributed import Team
from gendi.train.config import OptimConfig
from gendi.train.step.muon import Muon, divided, orthogonalise, orthogonalise_by_gram
from gendi.train.step.optim import learning_rate_factor, make_optimizers

SHAPES = [(6, 6), (4, 9), (9, 4), (1, 5), (16, 72)]


def matrix(m: int, n: int, low: float = 0.2, seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return U, s, V^T, and the matrix (m, n) with singular values from 1 down to `low`."""
    generator = torch.Generator().manual_seed(seed)
    u, _, vt = torch.linalg.svd(torch.randn(m, n, generator=generator, dtype=torch.float64), full_matrices=False)
    s = torch.linspace(1, low, min(m, n), dtype=torch.float64)
    return u, s, vt, u * s @ vt


def newton_schulz(s: Tensor) -> Tensor:
    """Return what five rounds of the quintic make of singular values, in exact arithmetic."""
    s = s / s.norm()
    for _ in range(5):
        s = 3.4445 * s - 4.7750 * s**3 + 2.0315 * s**5
    return s


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e3])
def test_orthogonalise_keeps_directions_and_levels_lengths(shape: tuple[int, int], scale: float) -> None:
    """U p(s) V^T with p the polynomial, to 10% (15 products in bf16, of 3 digits each); p(s) is in [0.65, 1.25]."""
    u, s, vt, x = matrix(*shape)
    expected = u * newton_schulz(s) @ vt
    (got,) = orthogonalise((scale * x).float()[None])
    assert got.dtype == torch.float32
    assert (got - expected).norm() < 0.1 * expected.norm()
    values = torch.linalg.svdvals(got)
    assert values.min() > 0.65
    assert values.max() < 1.25
    # the nearest semi-orthogonal matrix: values in [a, b] leave a cosine of at least 2 sqrt(ab) / (a + b) = 0.949
    assert ((got * (u @ vt)).sum() / got.norm() / (u @ vt).norm()) > 0.94


def test_orthogonalise_treats_each_matrix_alone_and_zero_as_zero() -> None:
    a, b = matrix(4, 6)[3].float(), matrix(4, 6, seed=1)[3].float()
    out = orthogonalise(torch.stack([a, torch.zeros_like(a), b]))
    assert out[1].abs().max() == 0
    torch.testing.assert_close(out[0], orthogonalise(a[None])[0], rtol=0, atol=0.02)
    torch.testing.assert_close(out[2], orthogonalise(b[None])[0], rtol=0, atol=0.02)


def test_products_of_the_short_sides_are_the_same_polynomial() -> None:
    """U p(s) V^T again, of matrices that share a short side, wide and tall, in their order; and zero stays zero."""
    shapes = [(6, 20), (20, 6), (6, 6), (6, 31), (6, 20)]
    parts = [matrix(*shape, seed=k) for k, shape in enumerate(shapes)]
    given = [10.0 ** (k - 2) * x.float() for k, (*_, x) in enumerate(parts)]
    for got, (u, s, vt, _) in zip(orthogonalise_by_gram(given), parts, strict=True):
        expected = u * newton_schulz(s) @ vt
        assert (got - expected).norm() < 1e-4 * expected.norm()
    assert orthogonalise_by_gram([torch.zeros(3, 5)])[0].abs().max() == 0


@pytest.mark.parametrize("rank", [1, 3])
def test_directions_without_a_gradient_stay_small(rank: int) -> None:
    """Of 64 singular values all but few are 0, and round-off is amplified to at most 3.4445^5 = 485 times itself."""
    u, _, vt, _ = matrix(64, 200)
    x = (u[:, :rank] @ vt[:rank]).float()
    (got,) = orthogonalise_by_gram([x])
    values = torch.linalg.svdvals(got)
    assert values[:rank].min() > 0.65
    assert values[:rank].max() < 1.25
    assert values[rank:].max() < 485 * 64 * torch.finfo(torch.float32).eps


@pytest.mark.parametrize("precision", ["bf16", "fp32"])
def test_muon_by_hand(precision: str) -> None:
    """Two steps: m = .95 m + .05 g, u = .05 g + .95 m = U S V^T, p -= lr (wd p + .2 sqrt(max(shape)) U p(S) V^T)."""
    lr, decay = 0.1, 0.5
    shapes = [(4, 6), (6, 2, 2, 2)]
    params = [nn.Parameter(torch.randn(s, generator=torch.Generator().manual_seed(k))) for k, s in enumerate(shapes)]
    expected = [p.detach().double().flatten(1) for p in params]
    momenta = [torch.zeros_like(p) for p in expected]
    muon = Muon(params, lr=lr, weight_decay=decay, precision=precision)
    for step in range(2):
        for k, p in enumerate(params):
            g = matrix(*expected[k].shape, seed=7 * step + k)[3]
            p.grad = g.float().reshape(p.shape)
            momenta[k] = 0.95 * momenta[k] + 0.05 * g
            u, s, vt = torch.linalg.svd(0.05 * g + 0.95 * momenta[k], full_matrices=False)
            update = 0.2 * math.sqrt(max(expected[k].shape)) * (u * newton_schulz(s) @ vt)
            expected[k] = expected[k] * (1 - lr * decay) - lr * update
        muon.step()
    for p, e in zip(params, expected):
        # two updates of root mean square 0.02, each to 10%
        assert (p.detach().flatten(1) - e).square().mean().sqrt() < 0.1 * 2 * 0.02


def test_muons_update_is_of_adamws_size() -> None:
    """Root mean square 0.2 lr times what five rounds make of the singular values (0.65 to 1.25)."""
    for m, n in SHAPES:
        p = nn.Parameter(torch.zeros(m, n))
        p.grad = matrix(m, n)[3].float()
        Muon([p], lr=1.0).step()
        assert 0.2 * 0.65 < p.detach().square().mean().sqrt().item() < 0.2 * 1.25


class Threads(Team):
    """Two processes played by two threads: each waits for the rows of the other."""

    def __init__(self, rank: int, size: int, table: list[Tensor | None], met: threading.Barrier) -> None:
        self.rank, self.size, self.table, self.met = rank, size, table, met

    def join_rows(self, mine: Tensor, shares: Sequence[slice]) -> Tensor:
        assert len(mine) == shares[self.rank].stop - shares[self.rank].start
        self.table[self.rank] = mine
        self.met.wait(20)
        joined = torch.cat([part for part in self.table if part is not None])
        self.met.wait(20)
        return joined


@pytest.mark.parametrize("precision", ["bf16", "fp32"])
@pytest.mark.parametrize("size", [2, 3])
def test_processes_that_share_muons_work_come_to_the_weights_of_one(size: int, precision: str) -> None:
    """Each matrix is orthogonalised in a batch of other matrices than alone: 15 products in bf16, to 2% (as above)."""
    shapes = [(4, 6), (6, 2, 2, 2), (4, 6), (6, 4), (4, 6)]

    def trained(team: Team | None) -> list[Tensor]:
        params = [
            nn.Parameter(matrix(s[0], math.prod(s[1:]), seed=k)[3].reshape(s).float()) for k, s in enumerate(shapes)
        ]
        muon = Muon(params, lr=0.1, weight_decay=0.5, team=team, precision=precision)
        for step in range(2):
            for k, p in enumerate(params[:-1]):  # the last has no gradient
                p.grad = matrix(p.shape[0], p[0].numel(), seed=7 * step + k)[3].reshape(p.shape).float()
            muon.step()
        return [p.detach() for p in params]

    table: list[Tensor | None] = [None] * size
    met = threading.Barrier(size)
    with ThreadPoolExecutor(size) as pool:
        found = list(pool.map(lambda rank: trained(Threads(rank, size, table, met)), range(size)))
    alone = trained(None)
    for each in zip(*found, strict=True):
        assert all(torch.equal(each[0], other) for other in each)
    for p, expected in zip(found[0], alone, strict=True):
        torch.testing.assert_close(p, expected, rtol=0, atol=2 * 0.1 * 0.2 * 6**0.5 * 0.02)
    assert torch.equal(found[0][-1], alone[-1])


def test_the_dearest_matrices_are_divided_first() -> None:
    assert divided([(4, 4), (8, 8), (4, 4), (8, 2)], 2) == [1, 0, 1, 1]  # 64, 512, 64, 32 products
    assert divided([(4, 4)] * 5, 3) == [0, 1, 2, 0, 1]
    assert divided([(4, 4)], 3) == [0] and divided([], 2) == []


def test_muon_leaves_alone_what_has_no_gradient() -> None:
    p = nn.Parameter(torch.ones(3, 3))
    Muon([p], lr=1.0, weight_decay=0.1).step()
    assert torch.equal(p.detach(), torch.ones(3, 3))


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_every_parameter_has_one_optimiser(name: str) -> None:
    network = build_network(
        NetworkConfig(channels=(8, 16), blocks=1, attention=(1,)), (1, 8, 8), [ConditionConfig("class", size=3)]
    )
    optimizers = make_optimizers(network, OptimConfig(name=name, lr=0.3))
    held = [[id(p) for group in o.param_groups for p in group["params"]] for o in optimizers]
    assert sorted(i for ids in held for i in ids) == sorted(id(p) for p in network.parameters())
    assert all(group["lr"] == 0.3 for o in optimizers for group in o.param_groups)
    names = {id(p): n for n, p in network.named_parameters()}
    if name == "adamw":
        assert len(optimizers) == 1
        return
    muon = {names[i] for i in held[0]}
    assert not any(n.startswith(("stem", "head", "time")) for n in muon)
    assert all(p.ndim >= 2 for n, p in network.named_parameters() if n in muon)
    kernels = {n for n, p in network.named_parameters() if p.ndim == 4} - {"stem.weight", "head.weight"}
    assert kernels <= muon


@pytest.mark.parametrize(("kind", "shape"), [("unet", (1, 8, 8)), ("dit", (1, 8, 8)), ("mlp", (5,))])
def test_muon_takes_the_matrices_inside_and_nothing_that_meets_the_data(kind: str, shape: tuple[int, ...]) -> None:
    told = [ConditionConfig("class", size=3), ConditionConfig("dose", "value", size=1)]
    network = build_network(NetworkConfig(kind, channels=(8,), blocks=1, time_dim=8, heads=2), shape, told)
    names = {id(p): n for n, p in network.named_parameters()}
    muon, _ = make_optimizers(network, OptimConfig(name="muon"))
    held = {names[id(p)] for p in muon.param_groups[0]["params"]}
    outer = {n for n in names.values() if n.split(".")[0] in ("stem", "head", "time", "conditions")}
    assert {"stem.weight", "conditions.each.0.body.weight", "conditions.each.1.body.0.weight"} <= outer
    assert held == {n for n, p in network.named_parameters() if p.ndim >= 2} - outer
    assert any("film" in n for n in held)


def test_adamw_takes_its_settings_and_lowers_a_loss() -> None:
    network = build_network(NetworkConfig(channels=(8,), blocks=1), (1, 8, 8))
    (adamw,) = make_optimizers(network, OptimConfig(lr=1e-2, betas=(0.8, 0.95), weight_decay=0.1))
    assert adamw.defaults["betas"] == (0.8, 0.95)
    assert adamw.defaults["weight_decay"] == 0.1
    x, losses = torch.ones(2, 1, 4, 4), []
    for _ in range(5):
        adamw.zero_grad()
        loss = (network(x, torch.zeros(2)) - 1).square().mean()
        loss.backward()
        adamw.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]


@pytest.mark.parametrize(
    ("progress", "warmup", "decay", "factor"),
    [
        (0, 0.1, 0.4, 0),
        (0.05, 0.1, 0.4, 0.5),
        (0.1, 0.1, 0.4, 1),
        (0.5, 0.1, 0.4, 1),
        (0.8, 0.1, 0.4, 0.5),
        (1, 0.1, 0.4, 0),
        (0, 0, 0, 1),
        (1, 0, 0, 1),
        (0.5, 0, 1, 0.5),
        (0.25, 1, 0, 0.25),
        (1.2, 0.1, 0.4, 0),
    ],
)
def test_learning_rate_rises_stays_and_falls(progress: float, warmup: float, decay: float, factor: float) -> None:
    assert learning_rate_factor(progress, OptimConfig(warmup=warmup, decay=decay)) == pytest.approx(factor, abs=1e-12)


@given(st.floats(0, 1), st.floats(0, 0.5), st.floats(0, 0.5))
def test_the_factor_is_a_share(progress: float, warmup: float, decay: float) -> None:
    assert 0 <= learning_rate_factor(progress, OptimConfig(warmup=warmup, decay=decay)) <= 1
