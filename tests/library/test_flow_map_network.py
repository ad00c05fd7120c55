"""Flow maps of networks: the angle as the natural time, the denoiser inside, and the change along the path."""

import pytest
import torch
from torch import Tensor, nn
from worlds import SCHEDULES, covariance, f64, gaussian

from gendi.diffusion.config import ConditionConfig
from gendi.diffusion.forward_mode import dual, dual_level, lacks_forward_mode, tangent_of
from gendi.diffusion.gaussian.config import Parameterisation
from gendi.diffusion.gaussian.denoiser import NetworkDenoiser
from gendi.diffusion.gaussian.exact import GaussianDenoiser
from gendi.diffusion.gaussian.flow_map import FlowMap, GaussianFlow, average_velocity
from gendi.diffusion.gaussian.flow_map.angle import Place, angle_at, time_at, turning
from gendi.diffusion.gaussian.flow_map.network import FAR, FlowMapDenoiser
from gendi.diffusion.gaussian.flow_map.slope import slope_by_differences, slope_forward
from gendi.diffusion.gaussian.schedule import make_schedule
from gendi.diffusion.gaussian.sde import ode_velocity
from gendi.diffusion.networks.build import build_network
from gendi.diffusion.networks.config import NetworkConfig
from gendi.diffusion.networks.told import ANGLE, TO_GO, of_a_flow_map, without_effect
from gendi.errors import UsageError
from gendi.machine.threads import beside

NAMES = (*SCHEDULES, "sub-vp", "rectified-flow")
KINDS = {
    "edm": Parameterisation(precondition=True, flow_map=True),
    "v": Parameterisation("v", flow_map=True),
}


class Smooth(nn.Module):
    """A network of vectors, smooth in all that it is given; it is in float64."""

    def __init__(self, d: int = 3) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)
            self.layers = nn.Sequential(nn.Linear(d + 2, 32), nn.SiLU(), nn.Linear(32, d)).double()

    def forward(self, x: Tensor, value: Tensor, /, **cond: Tensor) -> Tensor:
        told = cond.get(TO_GO, torch.zeros_like(value))
        return self.layers(torch.cat([x, value[:, None].to(x), told[:, None].to(x)], 1)).to(x)


def flow_map(name: str = "cosine", kind: str = "edm", steps: int | None = None) -> FlowMapDenoiser:
    return FlowMapDenoiser(Smooth(), make_schedule(name, steps), KINDS[kind], 0.8)


@pytest.mark.parametrize("name", NAMES)
def test_the_velocity_by_the_angle_is_that_of_the_ode(name: str) -> None:
    """dz / dtheta = cos eps_hat - sin x0_hat, and dx / dt = d(radius z) / dt, here with the rates by differences."""
    schedule, x, t = make_schedule(name), gaussian(3, 3, seed=1), f64(0.3, 0.5, 0.8)
    exact, h = GaussianDenoiser(schedule, f64(0.7, -0.4, 0.2), covariance(3, seed=4)), 1e-6
    theta, radius = angle_at(schedule, t)
    (later, wider), (sooner, closer) = angle_at(schedule, t + h), angle_at(schedule, t - h)
    z, x_0 = x / radius[:, None], exact(x, t)
    eps = (z - theta.cos()[:, None] * x_0) / theta.sin()[:, None]
    again, v = turning(x_0, eps, theta)
    torch.testing.assert_close(again, z, rtol=1e-12, atol=1e-12)
    turns, grows = ((later - sooner) / (2 * h))[:, None], ((wider - closer) / (2 * h))[:, None]
    torch.testing.assert_close(ode_velocity(exact, x, t), grows * z + radius[:, None] * turns * v, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("steps", [None, 50])
def test_places_move_as_differences_say(name: str, steps: int | None) -> None:
    """dt / dtheta and d(radius) / dtheta; on a chain, a step's own slope, here by a difference within the step."""
    schedule = make_schedule(name, steps)
    t, h = f64(0.1, 0.5, 0.78), 1e-5
    with dual_level():
        place = Place.of(schedule, t).moving(schedule)
        moved = [tangent_of(value) for value in (place.theta, place.radius, place.t)]
    (theta, radius), (before, smaller) = angle_at(schedule, t), angle_at(schedule, t - h)
    torch.testing.assert_close(moved[0], torch.ones(3, dtype=torch.float64))
    torch.testing.assert_close(moved[1], (radius - smaller) / (theta - before), rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(moved[2], h / (theta - before), rtol=1e-3, atol=0)
    torch.testing.assert_close(time_at(schedule, theta), t, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", KINDS)
def test_as_a_denoiser_it_is_what_the_network_was(name: str, kind: str) -> None:
    """The same network in a plain denoiser, which is told nothing: so a student begins as its teacher."""
    schedule, x = make_schedule(name), gaussian(4, 3, seed=2)
    t = schedule.time(-2 * f64(0.05, 0.5, 2.0, 15.0).log())  # of noise levels below FAR times 0.8
    plain = NetworkDenoiser(Smooth(), schedule, Parameterisation(KINDS[kind].prediction, KINDS[kind].precondition), 0.8)
    torch.testing.assert_close(flow_map(name, kind)(x, t), plain(x, t), rtol=1e-6, atol=1e-6)


def test_no_higher_noise_level_is_told_than_there_is_something_to_see() -> None:
    made, x = flow_map("rectified-flow"), gaussian(1, 3, seed=3)
    seen: list[float] = []
    made.network.register_forward_pre_hook(lambda module, args: seen.append(float(args[1])))
    for t in (0.5, 0.97, 1.0):
        made(x, t)
    assert seen[0] == pytest.approx(0, abs=1e-3)  # ln(sigma / alpha) / 4 of 1
    assert seen[1:] == pytest.approx([float(torch.tensor(FAR * 0.8).log() / 4)] * 2, rel=1e-6)


@pytest.mark.parametrize("name", ["cosine", "rectified-flow"])
def test_the_map_goes_by_its_average_velocity(name: str) -> None:
    """x_s = radius_s z_s with u = (z_t - z_s) / (theta_t - theta_s), and one step of nothing stays where it is."""
    made, x, t, s = flow_map(name), gaussian(3, 3, seed=4), f64(0.9, 0.5, 0.4), f64(0.3, 0.0, 0.4)
    assert isinstance(made, FlowMap)
    (theta_t, radius_t), (theta_s, radius_s) = (angle_at(made.schedule, time) for time in (t, s))
    x_s, z = made.move(x, t, s), x / radius_t[:, None]
    u = made.velocity(z, Place.of(made.schedule, t), theta_s)
    found = average_velocity(z[:2], (x_s / radius_s[:, None])[:2], theta_t[:2], theta_s[:2])
    torch.testing.assert_close(found, u[:2], rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(x_s[2], x[2], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(made.move(x[:1], 0.9, 0.3), x_s[:1], rtol=1e-6, atol=1e-6)
    made.clip = 0.1
    assert made.move(x, t, s)[1].abs().max() <= 0.1 < made.move(x, t, s)[0].abs().max()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("steps", [None, 100])
def test_forward_mode_is_central_differences(name: str, kind: str, steps: int | None) -> None:
    """Of a smooth network, with every time that is told in float32: 1e-3 of the slope's size, at a step of 0.02."""
    made = flow_map(name, kind, steps)
    t, r = (made.schedule.time(-2 * f64(*levels).log()) for levels in ((3.0, 1.5, 0.7, 0.7), (0.5, 1e-3, 0.2, 0.5)))
    place, to = Place.of(made.schedule, t), angle_at(made.schedule, r)[0]
    z, v = gaussian(4, 3, seed=5), gaussian(4, 3, seed=6)
    forward = slope_forward(made, z, v, place, to, {})
    differences = slope_by_differences(made, z, v, place, to, {}, step=0.01)
    tolerance = 5e-2 if steps else 3e-3  # a chain's curve has corners within the step
    assert (forward - differences).abs().max() < tolerance * forward.abs().max()
    assert forward.abs().max() > 0.1


def test_the_change_of_an_exact_flow_is_its_formula() -> None:
    """theta u is the way gone, so du / dtheta = (v - u) / (theta_t - theta_s) along the path: the MeanFlow identity."""
    exact = ExactMap()
    z, t, r = gaussian(4, 3, seed=7), f64(0.9, 0.5, 0.3, 1.0), f64(0.1, 0.3, 0.0, 0.0)
    place, to = Place.of(exact.schedule, t), angle_at(exact.schedule, r)[0]
    v, u = exact.velocity(z, place, place.theta), exact.velocity(z, place, to)
    expected = (v - u) / (place.theta - to)[:, None]
    torch.testing.assert_close(slope_forward(exact, z, v, place, to, {}), expected, rtol=1e-9, atol=1e-9)
    by_differences = slope_by_differences(exact, z, v, place, to, {}, step=1e-3)
    torch.testing.assert_close(by_differences[:3], expected[:3], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(by_differences[3:], expected[3:], rtol=1e-2, atol=1e-2)  # one-sided at t = 1


class ExactMap(FlowMapDenoiser):
    """The average velocity of one Gaussian, by formula, with the limit v where it goes nowhere."""

    def __init__(self) -> None:
        super().__init__(nn.Linear(1, 1), make_schedule("cosine"), KINDS["edm"])
        self.world = GaussianDenoiser(self.schedule, f64(0.7, -0.4, 0.2), covariance(3, seed=4))

    def velocity(self, z: Tensor, place: Place, to: Tensor, /, **cond: Tensor) -> Tensor:
        mean, values, vectors = self.world.means[0], self.world.values[0], self.world.vectors[0]
        (cos, sin), (cos_s, sin_s) = ((a.cos()[:, None], a.sin()[:, None]) for a in (place.theta, to))
        spread = cos**2 * values + sin**2
        away = (z - cos * mean) @ vectors
        z_s = cos_s * mean + ((cos_s**2 * values + sin_s**2) / spread).sqrt() * away @ vectors.T
        v = -sin * mean + (cos * sin * (1 - values) / spread * away) @ vectors.T
        span = (place.theta - to)[:, None]
        return torch.where(span == 0, v, (z - z_s) / torch.where(span == 0, 1.0, span))


def test_the_exact_map_is_the_gaussians_flow() -> None:
    exact = ExactMap()
    flow = GaussianFlow(exact.world)
    x, t, s = gaussian(3, 3, seed=8), f64(0.9, 0.5, 1.0), f64(0.2, 0.0, 0.0)
    torch.testing.assert_close(exact.move(x, t, s), flow.move(x, t, s), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(exact(x, t), exact.world(x, t), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("shape", "config"),
    [
        ((1, 8, 8), NetworkConfig(channels=(8, 16), groups=4, time_dim=16, attention=(1,))),
        ((1, 9, 7), NetworkConfig(channels=(8, 16), groups=4, time_dim=16, attention=(1,), resample="residual")),
        ((1, 8, 8), NetworkConfig("dit", channels=(16,), patch=2, time_dim=16, blocks=1)),
        ((1, 8, 8), NetworkConfig("dit", channels=(16,), patch=2, time_dim=16, blocks=1, positions="rotary")),
        ((5,), NetworkConfig("mlp", channels=(16,), time_dim=16, blocks=1)),
    ],
    ids=["unet", "residual", "dit", "rotary", "mlp"],
)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=["contiguous", "channels-last"])
def test_our_networks_have_forward_mode_with_attention(
    shape: tuple[int, ...], config: NetworkConfig, layout: torch.memory_format
) -> None:
    """Against the backward mode, which is other code: <J v, g> = <v, J^T g> for three g."""
    conditions = (
        ConditionConfig("class", size=3, via="tokens" if config.kind != "mlp" else "embedding"),
        *of_a_flow_map(),
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        network = build_network(config, shape, conditions).to(memory_format=layout)
        for parameter in network.parameters():
            nn.init.normal_(parameter, std=0.2)
    x, direction = gaussian(2, *shape, seed=1).float(), gaussian(2, *shape, seed=2).float()
    time, span, one = f64(0.1, -0.2).float(), f64(0.5, 0.2).float(), torch.ones(2)
    cond = {"class": torch.tensor([0, 2])}

    def answer(x: Tensor, span: Tensor) -> Tensor:
        return network(x, time, **cond, **{TO_GO: span, ANGLE: 1 - span})

    with torch.no_grad(), dual_level():
        found = tangent_of(answer(dual(x, direction), dual(span, one)))
    assert found is not None
    for seed in range(3):
        g = gaussian(2, *shape, seed=10 + seed).float()
        inputs = (x.clone().requires_grad_(), span.clone().requires_grad_())
        back = torch.autograd.grad(answer(*inputs), inputs, g)
        expected = float((back[0] * direction).sum() + back[1].sum())
        assert float((found * g).sum()) == pytest.approx(expected, rel=1e-3, abs=1e-4 * float(found.norm() * g.norm()))


def test_threads_share_the_level_of_dual_tensors() -> None:
    """What the first thread to leave took along, the others would miss."""
    x = gaussian(50, 3, seed=9)

    def work(k: int) -> Tensor:
        for _ in range(50):
            with dual_level():
                found = tangent_of(dual(x, x + k) ** 2)
        assert found is not None
        return found

    for k, found in enumerate(beside([lambda k=k: work(k) for k in range(4)])):
        torch.testing.assert_close(found, 2 * x * (x + k))


def test_an_operator_without_forward_mode_is_known_by_its_error() -> None:
    q = torch.randn(1, 1, 4, 8)
    with torch.no_grad(), dual_level(), pytest.raises((RuntimeError, NotImplementedError)) as caught:
        nn.functional.scaled_dot_product_attention(dual(q, q), q, q)
    assert lacks_forward_mode(caught.value)
    assert not lacks_forward_mode(RuntimeError("out of memory")) and not lacks_forward_mode(ValueError("forward AD"))


def test_what_is_told_starts_without_effect() -> None:
    config = NetworkConfig("mlp", channels=(16,), time_dim=16, blocks=1)
    told = of_a_flow_map()
    network = build_network(config, (3,), (ConditionConfig("class", size=2), *told))
    nn.init.normal_(network.head.weight)  # type: ignore[union-attr]
    nn.init.normal_(network.blocks[0].down.weight)  # type: ignore[union-attr, index]
    x, time, cond = gaussian(2, 3).float(), torch.tensor([0.1, 0.2]), {"class": torch.tensor([0, 1])}
    assert not torch.equal(network(x, time, **cond), network(x, time, **cond, **{TO_GO: torch.tensor([0.3, 0.9])}))
    without_effect(network, told)
    for span in (torch.tensor([0.3, 0.9]), torch.tensor([0.0, 0.5])):
        both = {TO_GO: span, ANGLE: 1 - span}
        assert torch.equal(network(x, time, **cond), network(x, time, **cond, **both))
    with pytest.raises(UsageError, match="does not embed conditions by gendi's ConditionEmbedding"):
        without_effect(Smooth(), told)


def test_a_network_that_predicts_noise_is_no_flow_map() -> None:
    for prediction in ("eps", "x0", "mu"):
        with pytest.raises(UsageError, match=f"predicts {prediction} cannot be a flow map"):
            FlowMapDenoiser(Smooth(), make_schedule("cosine", 10), Parameterisation(prediction, flow_map=True))
