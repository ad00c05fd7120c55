"""The transformer of sequences, its denoiser, and the objectives of tokens."""

import math
from dataclasses import replace

import pytest
import torch
from token_worlds import chain, process_of
from torch import nn

from gendi.diffusion.config import ConditionConfig
from gendi.diffusion.discrete.config import TokensConfig, validate
from gendi.diffusion.discrete.network import NetworkTokenDenoiser
from gendi.diffusion.discrete.objectives.registry import TOKEN_OBJECTIVES
from gendi.diffusion.networks.attention import line_rotations, rotate
from gendi.diffusion.networks.build import build_network
from gendi.diffusion.networks.config import NetworkConfig
from gendi.diffusion.networks.cost import cost_of
from gendi.diffusion.networks.registry import validate as validate_network
from gendi.errors import UsageError

SMALL = NetworkConfig("sequence", channels=(16,), blocks=2, heads=2, time_dim=16)


def network(length: int = 5, tokens: int = 4, conditions=()) -> nn.Module:
    torch.manual_seed(0)
    made = build_network(SMALL, (length,), conditions, tokens)
    for p in made.parameters():  # AdaLN-zero starts as no function of the input
        nn.init.normal_(p, std=0.2)
    return made.eval()


class Exact(nn.Module):
    """A network that answers with the exact posterior of a world; of masks at any time, of uniform noise at its t."""

    def __init__(self, world) -> None:
        super().__init__()
        self.world, self.seen = world, []

    def forward(self, x, value, **cond):
        self.seen.append(value)
        return self.world(x, (value.double() + 2) / 4).float().clamp(min=-1e4)  # masks do not care about the time


def test_logits_of_every_position_depend_on_every_other_in_both_directions():
    net, x = network(), torch.tensor([[0, 1, 2, 3, 4]])
    base = net(x, torch.zeros(1))
    assert base.shape == (1, 5, 4)
    for i in range(5):
        other = x.clone()
        other[0, i] = (x[0, i] + 1) % 5
        assert bool(((net(other, torch.zeros(1)) - base).abs().amax(-1) > 1e-6).all())


def test_places_are_told_apart_where_all_is_masked():
    out = network()(torch.full((1, 5), 4), torch.zeros(1))[0].detach()
    apart = torch.cdist(out, out) + torch.eye(5)
    assert float(apart.min()) > 1e-3


def test_a_convolution_shows_each_token_its_neighbours_and_begins_as_nothing():
    """With blocks that are the identity, a logit depends on as many tokens as the convolutions reach: 2 blocks of 3
    tokens are 2 to each side.
    """
    torch.manual_seed(0)
    made = build_network(replace(SMALL, local_conv=3), (9,), (), 4).eval()
    x = torch.arange(9)[None] % 5
    nn.init.normal_(made.head.linear.weight)
    nn.init.normal_(made.token.weight)

    def reach(place: int) -> list[int]:
        """The places whose logits change with the token of `place`."""
        other = x.clone()
        other[0, place] = (x[0, place] + 1) % 5
        moved = (made(other, torch.zeros(1)) - made(x, torch.zeros(1))).abs().amax(-1)[0]
        return torch.nonzero(moved > 1e-6).flatten().tolist()

    assert reach(4) == [4]
    for conv in made.local:
        nn.init.normal_(conv.weight)
    assert reach(4) == [2, 3, 4, 5, 6]
    assert reach(0) == [0, 1, 2]
    without = build_network(SMALL, (9,), (), 4)
    assert set(made.state_dict()) - set(without.state_dict()) == {"local.0.weight", "local.1.weight"}


def test_rotary_products_depend_on_the_distance_alone():
    turn = line_rotations(12, 8, torch.device("cpu"))
    q, k = (torch.randn(8, generator=torch.Generator().manual_seed(i)).expand(1, 1, 12, 8) for i in (0, 1))
    products = (rotate(q, turn) @ rotate(k, turn).transpose(-1, -2))[0, 0]
    for i in range(11):
        torch.testing.assert_close(products[i, :-1][: 11 - i], products[i + 1, 1:][: 11 - i], rtol=1e-4, atol=1e-4)


def test_the_network_takes_conditions_and_says_its_cost():
    specs = (ConditionConfig("class", "class", 3), ConditionConfig("dose", "value", 1))
    net, x = network(conditions=specs), torch.zeros(2, 5, dtype=torch.int64)
    cond = {"class": torch.tensor([0, 2]), "dose": torch.tensor([0.5, torch.nan])}
    assert not torch.equal(net(x, torch.zeros(2), **cond)[0], net(x, torch.zeros(2), **cond)[1])
    cost = cost_of(SMALL, (5,), specs, 4)
    assert cost.parameters == sum(p.numel() for p in net.parameters())
    assert cost.flops > 0


def test_what_a_network_of_sequences_cannot_be():
    for field, text in (
        ({"channels": (8, 8)}, "one width"),
        ({"patch": 2}, "for images"),
        ({"heads": 3}, "divide"),
        ({"local_conv": 4}, "odd"),
    ):
        with pytest.raises(UsageError, match=text):
            validate_network(replace(SMALL, **field))


def test_the_denoiser_tells_the_network_how_many_masks_there_are():
    process, net = process_of("absorbing", 3), Exact(chain(process_of("absorbing", 3)))
    denoiser = NetworkTokenDenoiser(net, process)
    denoiser(torch.tensor([[3, 3, 0, 1], [3, 3, 3, 3]]), torch.tensor(0.9))
    assert net.seen[0].tolist() == [0.0, 2.0]  # 4 n / L - 2, whatever the time is
    noisy = NetworkTokenDenoiser(Exact(chain(process_of("uniform", 3))), process_of("uniform", 3))
    noisy(torch.tensor([[0, 1]]), torch.tensor(0.25))
    assert noisy.network.seen[0].tolist() == [-1.0]


@pytest.mark.statistical
@pytest.mark.parametrize(("loss", "name"), [("any-order", "absorbing"), ("bound", "absorbing"), ("bound", "uniform")])
def test_the_loss_of_the_exact_denoiser_is_the_entropy_per_position(loss, name):
    """The mean over rows and stratified times, within 4.5 standard errors, which strata only make smaller."""
    process, length, n = process_of(name, 3), 3, 6000
    world = chain(process)
    objective = TOKEN_OBJECTIVES[loss].build(process)
    x_0 = world.sample(n, length, torch.Generator().manual_seed(3))
    draw = objective.draw(n, seed=0, step=5)
    losses = objective.losses(NetworkTokenDenoiser(Exact(world), process), x_0, None, draw)
    error = float(losses.std()) / math.sqrt(n)
    assert abs(float(losses.mean()) - world.entropy(length) / length) < 4.5 * error
    assert error < 0.15  # of uniform noise it spreads: few tokens are wrong near t = 0, and count for much there


@pytest.mark.statistical
def test_the_loss_of_a_chain_is_the_mean_of_its_bound():
    from test_token_bound import exact_bound

    world = chain(process_of("absorbing", 2, steps=3))
    objective = TOKEN_OBJECTIVES["bound"].build(world.process)
    n, length = 6000, 3
    x_0 = world.sample(n, length, torch.Generator().manual_seed(4))
    losses = objective.losses(NetworkTokenDenoiser(Exact(world), world.process), x_0, None, objective.draw(n, 0, 0))
    wanted = exact_bound(chain(process_of("absorbing", 2)), 3) / length
    assert abs(float(losses.mean()) - wanted) < 4.5 * float(losses.std()) / math.sqrt(n)


def test_any_order_spreads_less_than_the_bound():
    process = process_of("absorbing", 3)
    world = chain(process)
    x_0 = world.sample(3000, 4, torch.Generator().manual_seed(0))
    spreads = []
    for loss in ("any-order", "bound"):
        objective = TOKEN_OBJECTIVES[loss].build(process)
        losses = objective.losses(NetworkTokenDenoiser(Exact(world), process), x_0, None, objective.draw(3000, 0, 0))
        spreads.append(float(losses.std()))
    assert spreads[0] < spreads[1]


def test_times_are_stratified_and_in_order_for_held_out_rows():
    objective = TOKEN_OBJECTIVES["bound"].build(process_of("absorbing", 3))
    t = objective.draw(16, seed=1, step=2).t
    assert sorted((t * 16).ceil().long().tolist()) == list(range(1, 17))
    held = objective.draw_heldout(16, seed=1).t
    assert held.tolist() == sorted(held.tolist())
    assert not torch.equal(objective.draw(16, seed=1, step=3).t, t)


def test_cross_entropy_counts_noisy_tokens_alike():
    process = process_of("absorbing", 3)
    world = chain(process)
    objective = TOKEN_OBJECTIVES["cross-entropy"].build(process)
    x_0, t = torch.tensor([[0, 1, 2]]), torch.tensor([0.5], dtype=torch.float64)
    u = torch.tensor([[0.1, 0.9, 0.9]], dtype=torch.float64)  # alpha = 0.5: the last two are masked
    found = objective.at(NetworkTokenDenoiser(Exact(world), process), x_0, t, u, {})
    log_p = world(torch.tensor([[0, 3, 3]]), t)
    assert float(found) == pytest.approx(float(-(log_p[0, 1, 1] + log_p[0, 2, 2]) / 3), rel=1e-5)


def test_options_that_cannot_work_are_named():
    with pytest.raises(UsageError, match="tokens.loss = 'any-order' is for"):
        validate(TokensConfig("uniform"))
    with pytest.raises(UsageError, match="is for continuous time"):
        validate(TokensConfig("absorbing", steps=10))
    with pytest.raises(UsageError, match="any-order"):
        validate(TokensConfig("absorbing", loss="any-ordre"))
    with pytest.raises(UsageError, match="cosine"):
        validate(TokensConfig("absorbing", schedule="cosin"))
    validate(TokensConfig("uniform", loss="bound", steps=10))
    validate(TokensConfig())


def test_a_network_that_answers_in_another_shape_is_refused():
    class Wrong(nn.Module):
        def forward(self, x, value):
            return torch.zeros(*x.shape, 7)

    with pytest.raises(UsageError, match="expected"):
        NetworkTokenDenoiser(Wrong(), process_of())(torch.tensor([[0, 1]]), torch.tensor(0.5))
