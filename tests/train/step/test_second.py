"""A second network that learns beside the first one."""

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn

from gendi.diffusion.gaussian.config import Parameterisation
from gendi.diffusion.gaussian.denoiser import NetworkDenoiser
from gendi.diffusion.gaussian.schedule import make_schedule
from gendi.errors import BundleError
from gendi.machine.distributed import Team
from gendi.train.config import OptimConfig
from gendi.train.step.optim import make_optimizers
from gendi.train.step.second import SecondNetwork


class Beside(Team):
    """A team of two, whose other process has these gradients."""

    size = 2

    def __init__(self, theirs: Sequence[Tensor | None]) -> None:
        self.theirs = torch.cat([gradient.flatten() for gradient in theirs if gradient is not None])

    def join_rows(self, mine: Tensor, shares: Sequence[slice]) -> Tensor:
        return torch.cat([mine, self.theirs[None]])


def second(team: Team | None = None, clip: float = 0.0) -> SecondNetwork:
    network = nn.Sequential(nn.Linear(3, 4), nn.SiLU(), nn.Linear(4, 3))
    with torch.no_grad():
        for k, p in enumerate(network.parameters()):
            p.copy_(torch.linspace(-1, 1, p.numel()).view_as(p) + 0.1 * k)
    options = OptimConfig(name="adamw", lr=1e-2, clip=clip)
    denoiser = NetworkDenoiser(network, make_schedule("cosine"), Parameterisation("v"))
    return SecondNetwork(denoiser, make_optimizers(network, options), options, team or Team())


def gradients(seed: int) -> list[Tensor | None]:
    made = torch.Generator().manual_seed(seed)
    return [torch.randn(p.shape, generator=made) for p in second().denoiser.parameters()]


def weights(of: SecondNetwork) -> list[Tensor]:
    return [p.detach().clone() for p in of.denoiser.parameters()]


def test_the_gradients_of_two_processes_are_added() -> None:
    """One process that has the sum of both takes the same step; a weight without a gradient stays."""
    mine, theirs = gradients(1), gradients(2)
    mine[1] = theirs[1] = None
    two, one = second(Beside(theirs)), second()
    before = weights(two)[1]
    two.learn(mine, 0.1)
    one.learn([None if a is None else a + b for a, b in zip(mine, theirs, strict=True)], 0.1)
    for a, b in zip(weights(two), weights(one), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-7)
    assert torch.equal(weights(two)[1], before)
    assert not torch.equal(weights(two)[0], weights(second())[0])


def test_a_gradient_that_is_not_finite_changes_nothing() -> None:
    found = second()
    bad = gradients(1)
    assert bad[0] is not None
    bad[0][0, 0] = torch.nan
    found.learn(bad, 0.1)
    for a, b in zip(weights(found), weights(second()), strict=True):
        assert torch.equal(a, b)


def test_it_goes_on_from_its_tensors_exactly() -> None:
    one, two = second(), second()
    one.learn(gradients(1), 0.1)
    two.restore(one.tensors())
    for each in (one, two):
        each.learn(gradients(2), 0.05)
    for a, b in zip(weights(one), weights(two), strict=True):
        assert torch.equal(a, b)
    with pytest.raises(BundleError, match="second network needs '0.weight'"):
        two.restore({})
