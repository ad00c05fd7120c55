"""Guidance rules against their formulas, on mixtures whose conditional and unconditional denoisers are exact."""

import itertools
import math
from typing import Any

import pytest
import torch
from torch import Tensor
from worlds import covariance, f64, gaussian, scalar

from gendi.diffusion.conditions import null_like
from gendi.diffusion.gaussian.exact import ConditionalMixture, GaussianDenoiser
from gendi.diffusion.gaussian.guidance import (
    Autoguidance,
    ClassifierFree,
    ClassifierGuidance,
    Factorised,
    Interval,
    Rescale,
    Threshold,
    by_log_snr,
)
from gendi.diffusion.gaussian.process import x0_from_score
from gendi.diffusion.gaussian.samplers import sample
from gendi.diffusion.gaussian.schedule import make_schedule
from gendi.errors import UsageError

CLASSES = torch.tensor([0, 0, 1, 2])
T = f64(0.1, 0.35, 0.6, 0.8, 0.95)
X, LABELS = gaussian(5, 2, seed=1), torch.tensor([0, 1, 2, 1, 0])
COND = {"class": LABELS}


def world(name: str = "cosine") -> ConditionalMixture:
    """Return four Gaussians in the plane, of different shapes, in three classes."""
    covariances = torch.stack([covariance(2, seed) for seed in (1, 2, 3, 4)]) * 0.3
    weights = f64(0.2, 0.1, 0.4, 0.3)
    return ConditionalMixture(make_schedule(name), weights, gaussian(4, 2, seed=5), covariances, {"class": CLASSES})


def product() -> ConditionalMixture:
    """Return a law of two independent numbers, each with a class of its own: 2 x 3 components."""
    first, second = f64(-1.0, 0.5), f64(-1.5, 0.0, 1.0)
    a, b = torch.meshgrid(torch.arange(2), torch.arange(3), indexing="ij")
    a, b = a.flatten(), b.flatten()
    spread = torch.diag_embed(torch.stack([f64(0.1, 0.3)[a], f64(0.2, 0.05, 0.4)[b]], 1))
    weights = f64(0.3, 0.7)[a] * f64(0.2, 0.5, 0.3)[b]
    means = torch.stack([first[a], second[b]], 1)
    return ConditionalMixture(make_schedule("cosine"), weights, means, spread, {"shape": a, "colour": b})


BOTH = {"shape": torch.tensor([0, 1, 1, 0, 1]), "colour": torch.tensor([2, 1, 0, 0, 2])}


class Spy:
    """A denoiser that passes calls on and keeps a list of them."""

    def __init__(self, denoiser: Any) -> None:
        self.denoiser, self.schedule = denoiser, denoiser.schedule
        self.calls: list[tuple[Tensor, Tensor, dict[str, Tensor]]] = []

    def __call__(self, x_t: Tensor, t: Tensor, **cond: Tensor) -> Tensor:
        self.calls.append((x_t, t, cond))
        return self.denoiser(x_t, t, **cond)  # type: ignore[no-any-return]

    @property
    def rows(self) -> list[int]:
        return [len(x) for x, _, _ in self.calls]


class SpyVariance(Spy):
    """A `Spy` that learned a variance: its share is the class that it is given, or -1 if it is given none."""

    def predict(self, x_t: Tensor, t: Tensor, **cond: Tensor) -> tuple[Tensor, Tensor]:
        label = cond.get("class", torch.full((len(x_t),), -1))
        return self(x_t, t, **cond), label.to(x_t.dtype)[:, None].expand_as(x_t)


def null(cond: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: null_like(value) for name, value in cond.items()}


def close(a: Tensor, b: Tensor) -> None:
    torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("t", [scalar(0.4), T])
@pytest.mark.parametrize("w", [0.5, 2.0, 7.0])
def test_classifier_free_is_the_score_of_the_powered_densities(w: float, t: Tensor) -> None:
    """The score of q(x_t | c)^w q(x_t)^(1 - w), by automatic differentiation, through Tweedie's formula."""
    exact, x = world(), X.clone().requires_grad_()
    log_q = w * exact.log_density(x, t, **COND) + (1 - w) * exact.log_density(x, t)
    (score,) = torch.autograd.grad(log_q.sum(), x)
    guided = ClassifierFree(exact, w)(X, t, **COND)
    close(guided, x0_from_score(X, score, *exact.schedule(t)))
    assert guided.dtype == torch.float64


@pytest.mark.parametrize("t", [scalar(0.4), T])
def test_scale_one_and_zero_are_one_plain_call(t: Tensor) -> None:
    for w, cond in ((1.0, COND), (0.0, null(COND))):
        spy = Spy(world())
        out = ClassifierFree(spy, w)(X, t, **COND)
        assert torch.equal(out, world()(X, t, **cond)) and spy.rows == [5]
        assert torch.equal(spy.calls[0][2]["class"], cond["class"])
    assert torch.equal(world()(X, t, **null(COND)), world()(X, t))


@pytest.mark.parametrize("t", [scalar(0.4), T])
def test_any_other_scale_is_one_doubled_batch(t: Tensor) -> None:
    spy = Spy(world())
    out = ClassifierFree(spy, 3.0)(X, t, **COND)
    assert spy.rows == [10]
    x, times, cond = spy.calls[0]
    assert torch.equal(x, torch.cat([X, X])) and torch.equal(cond["class"], torch.cat([LABELS, null_like(LABELS)]))
    assert times.ndim == t.ndim
    close(out, world()(X, t) + 3.0 * (world()(X, t, **COND) - world()(X, t)))


def test_the_scale_moves_samples_and_the_null_branch_differs() -> None:
    """This is the trap of a published code, in which a mask was empty and guidance did nothing."""
    exact = world()
    assert bool(((exact(X, T, **COND) - exact(X, T)).abs().amax(1) > 1e-4).all())
    drawn = [
        sample(ClassifierFree(exact, w), (2,), 5, steps=10, sampler="ddim", cond=COND) for w in (0.0, 1.0, 2.0, 4.0)
    ]
    for a, b in itertools.pairwise(drawn):
        assert bool(((a - b).abs().amax(1) > 1e-3).all())
    plain = sample(exact, (2,), 5, steps=10, sampler="ddim", cond=COND)
    assert torch.equal(drawn[1], plain)


def test_a_negative_gaussian_of_the_same_covariance_moves_the_mean() -> None:
    """N(m_1, C) with N(m_0, C) as the negative condition gives the denoiser of N(m_0 + w (m_1 - m_0), C)."""
    c, means, w = covariance(2, 3), gaussian(2, 2, seed=6), 2.5
    schedule = make_schedule("linear")
    pair = ConditionalMixture(schedule, f64(0.4, 0.6), means, torch.stack([c, c]), {"class": torch.tensor([0, 1])})
    expected = GaussianDenoiser(schedule, means[0] + w * (means[1] - means[0]), c)
    ones = torch.ones(5, dtype=torch.int64)
    spy = Spy(pair)
    for negative in (0, torch.tensor(0)):
        close(ClassifierFree(spy, w, negative={"class": negative})(X, T, **{"class": ones}), expected(X, T))
    assert spy.rows == [10, 10]


def test_a_negative_condition_alone_leads_from_it_to_anything() -> None:
    exact, w = world(), 2.0
    bad = exact(X, T, **{"class": torch.full((5,), 2)})
    close(ClassifierFree(exact, w, negative={"class": 2})(X, T), bad + w * (exact(X, T) - bad))


def test_the_scale_is_a_function_of_time_or_of_log_snr() -> None:
    exact = world()
    plain, conditional = exact(X, T), exact(X, T, **COND)
    spy = Spy(exact)
    out = ClassifierFree(spy, lambda t: 1 + 3 * t)(X, T, **COND)
    close(out, plain + (1 + 3 * T)[:, None] * (conditional - plain))
    log_snr = exact.schedule.log_snr(T)
    out = ClassifierFree(spy, by_log_snr(lambda v: torch.sigmoid(v) * 4, exact.schedule))(X, T, **COND)
    close(out, plain + 4 * torch.sigmoid(log_snr)[:, None] * (conditional - plain))
    assert spy.rows == [10, 10]
    step = ClassifierFree(spy, lambda t: torch.where(t < 0.5, 1.0, 2.0))
    out = step(X, T, **COND)
    assert spy.rows[2:] == [5 + 3]  # the null branch of the three rows with t >= 0.5 alone
    close(out, torch.where(T[:, None] < 0.5, conditional, 2 * conditional - plain))
    close(ClassifierFree(exact, lambda t: 2.0)(X, T, **COND), 2 * conditional - plain)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, -0.5])
def test_a_scale_that_cannot_be_is_refused(bad: float) -> None:
    for make in (
        lambda: ClassifierFree(world(), bad),
        lambda: Autoguidance(world(), world(), bad),
        lambda: ClassifierGuidance(world(), world().log_posterior, bad),
        lambda: ClassifierFree(world(), lambda t: bad)(X, T, **COND),
    ):
        with pytest.raises(UsageError, match=f"{bad:g} is out of range"):
            make()
    if not math.isfinite(bad):
        with pytest.raises(UsageError, match="out of range"):
            Factorised(world(), {"class": bad})


def test_a_scale_of_another_shape_is_refused() -> None:
    with pytest.raises(UsageError, match=r"shape \(2,\) for times of shape \(5,\)"):
        ClassifierFree(world(), lambda t: t[:2])(X, T, **COND)


def test_no_condition_and_unknown_names_are_refused() -> None:
    with pytest.raises(UsageError, match="needs a condition"):
        ClassifierFree(world(), 2.0)(X, T)
    with pytest.raises(UsageError, match="Perhaps you meant 'class'"):
        ClassifierFree(world(), 2.0, names=["clas"])(X, T, **COND)
    with pytest.raises(UsageError, match="no condition named 'dose'"):
        Factorised(world(), {"class": 2.0, "dose": 1.0})(X, T, **COND)
    with pytest.raises(UsageError, match="at least one condition"):
        Factorised(world(), {})
    with pytest.raises(UsageError, match="needs a condition"):
        ClassifierGuidance(world(), world().log_posterior, 2.0)(X, T)


def test_names_say_what_the_null_branch_forgets() -> None:
    exact = product()
    out = ClassifierFree(exact, 3.0, names=["shape"])(X, T, **BOTH)
    base = exact(X, T, colour=BOTH["colour"])
    close(out, base + 3 * (exact(X, T, **BOTH) - base))


def test_each_conditions_null_works_alone() -> None:
    """A null row is an absent condition for that row, and for that condition only."""
    exact = product()
    mixed = {"shape": torch.tensor([0, -1, 1, -1, 1]), "colour": torch.tensor([2, 1, -1, -1, 2])}
    out = exact(X, T, **mixed)
    for row, names in enumerate((["shape", "colour"], ["colour"], ["shape"], [], ["shape", "colour"])):
        given = {name: BOTH[name][row : row + 1] for name in names}
        close(out[row : row + 1], exact(X[row : row + 1], T[row], **given))
    assert bool(((out - exact(X, T, **BOTH)).abs().amax(1)[1:4] > 1e-6).all())


@pytest.mark.parametrize("nested", [False, True])
def test_factorised_scales_of_one_are_the_joint_of_independent_conditions(nested: bool) -> None:
    exact = product()
    close(Factorised(exact, {"shape": 1.0, "colour": 1.0}, nested=nested)(X, T, **BOTH), exact(X, T, **BOTH))


def test_factorised_is_its_formula() -> None:
    exact, w = product(), {"shape": 2.0, "colour": -0.5}
    plain = exact(X, T)
    shape, colour = (exact(X, T, **{name: BOTH[name]}) for name in w)
    spy = Spy(exact)
    close(Factorised(spy, w)(X, T, **BOTH), plain + 2 * (shape - plain) - 0.5 * (colour - plain))
    nested = Factorised(spy, w, nested=True)(X, T, **BOTH)
    close(nested, plain + 2 * (shape - plain) - 0.5 * (exact(X, T, **BOTH) - shape))
    assert spy.rows == [15, 15]


def test_factorised_asks_only_what_it_needs() -> None:
    spy, joint = Spy(product()), product()(X, T, **BOTH)
    assert torch.equal(Factorised(spy, {"shape": 1.0, "colour": 1.0}, nested=True)(X, T, **BOTH), joint)
    assert torch.equal(
        Factorised(spy, {"shape": 1.0, "colour": 0.0})(X, T, **BOTH), product()(X, T, shape=BOTH["shape"])
    )
    Factorised(spy, {"shape": 3.0, "colour": 3.0}, nested=True)(X, T, **BOTH)  # w_1 = w_2: joint and null alone
    assert spy.rows == [5, 5, 10]
    kept = Factorised(spy, {"shape": 3.0})(X, T, **BOTH)  # colour has no scale, so both branches have it
    close(kept, ClassifierFree(product(), 3.0, names=["shape"])(X, T, **BOTH))


def test_guidance_interval_skips_the_null_branch() -> None:
    exact = world()
    alpha, sigma = exact.schedule(T)
    low, high = (sigma / alpha)[1].item(), (sigma / alpha)[3].item()  # open below, closed above
    spy = Spy(exact)
    out = Interval(ClassifierFree(spy, 3.0), spy, low, high)(X, T, **COND)
    guided, plain = ClassifierFree(exact, 3.0)(X, T, **COND), exact(X, T, **COND)
    inside = torch.tensor([False, False, True, True, False])
    close(out, torch.where(inside[:, None], guided, plain))
    assert sorted(spy.rows) == [3, 4]
    for row, within in enumerate(inside.tolist()):
        spy.calls.clear()
        out = Interval(ClassifierFree(spy, 3.0), spy, low, high)(X, T[row], **COND)
        assert spy.rows == [10 if within else 5]
        assert torch.equal(out, (ClassifierFree(exact, 3.0) if within else exact)(X, T[row], **COND))


@pytest.mark.parametrize(("low", "high"), [(1.0, 1.0), (2.0, 1.0), (-1.0, 1.0), (math.nan, 1.0), (0.0, math.nan)])
def test_an_empty_interval_is_refused(low: float, high: float) -> None:
    with pytest.raises(UsageError, match="empty"):
        Interval(world(), world(), low, high)


def test_the_open_interval_is_everywhere() -> None:
    close(
        Interval(ClassifierFree(world(), 3.0), world(), 0.0)(X, T, **COND), ClassifierFree(world(), 3.0)(X, T, **COND)
    )


@pytest.mark.parametrize("phi", [0.0, 0.3, 0.7, 1.0])
def test_rescale_brings_back_the_conditional_spread(phi: float) -> None:
    spy = Spy(world())
    out = Rescale(ClassifierFree(spy, 4.0), phi)(X, T, **COND)
    guided, plain = ClassifierFree(world(), 4.0)(X, T, **COND), world()(X, T, **COND)
    ratio = plain.std(1, keepdim=True) / guided.std(1, keepdim=True)
    close(out, phi * ratio * guided + (1 - phi) * guided)
    if phi == 1.0:
        close(out.std(1), plain.std(1))
    assert spy.rows == [10]
    assert torch.equal(Rescale(ClassifierFree(world(), 1.0), phi)(X, T, **COND), plain)


def test_rescale_of_what_has_no_spread_changes_nothing() -> None:
    line = ConditionalMixture(
        make_schedule("cosine"), f64(0.5, 0.5), f64(-1, 1)[:, None], torch.ones(2, 1, 1), {"class": torch.arange(2)}
    )
    rule, cond = ClassifierFree(line, 3.0), {"class": torch.zeros(5, dtype=torch.int64)}
    assert torch.equal(Rescale(rule, 0.7)(X[:, :1], T, **cond), rule(X[:, :1], T, **cond))


@pytest.mark.parametrize("phi", [-0.1, 1.1, math.nan])
def test_a_rescale_out_of_range_is_refused(phi: float) -> None:
    with pytest.raises(UsageError, match="between 0 and 1"):
        Rescale(ClassifierFree(world(), 2.0), phi)


class Fixed:
    """A denoiser of one answer."""

    def __init__(self, x_0: Tensor) -> None:
        self.x_0, self.schedule = x_0, make_schedule("cosine")

    def __call__(self, x_t: Tensor, t: Tensor, **_: Any) -> Tensor:
        return self.x_0


def test_dynamic_thresholding_by_hand() -> None:
    """The 90th percentile of 1, ..., 10 is 9: 10 is clipped to 9 and all are divided by 9; small samples stay."""
    big, small = torch.arange(1.0, 11.0, dtype=torch.float64), torch.linspace(-1, 1, 10, dtype=torch.float64)
    x_0 = torch.stack([-big, small])
    out = Threshold(Fixed(x_0), 0.9)(x_0, scalar(0.5))
    close(out[0], -torch.cat([big[:9], f64(9)]) / 9)
    assert torch.equal(out[1], small)
    close(Threshold(Fixed(x_0), 0.9, limit=3.0)(x_0, scalar(0.5))[0], -torch.cat([big[:9], f64(9)]) / 3)
    assert torch.equal(Threshold(Fixed(x_0), None)(x_0, scalar(0.5)), x_0.clamp(-1, 1))


@pytest.mark.parametrize(
    ("percentile", "limit"), [(0.0, 1.0), (1.5, 1.0), (math.nan, 1.0), (0.9, 0.0), (0.9, math.inf)]
)
def test_a_threshold_out_of_range_is_refused(percentile: float, limit: float) -> None:
    with pytest.raises(UsageError, match="out of range"):
        Threshold(world(), percentile, limit)


def test_autoguidance_is_its_formula_and_calls_what_it_needs() -> None:
    """Gaussians of covariance C and 2 C, the worse model too wide: the scale narrows what is drawn."""
    schedule, c = make_schedule("cosine"), covariance(2, 1)
    good, bad = (Spy(GaussianDenoiser(schedule, f64(1, -1), scale * c)) for scale in (1, 2))
    out = Autoguidance(good, bad, 2.0)(X, T)
    close(out, 2 * good.denoiser(X, T) - bad.denoiser(X, T))
    assert good.rows == bad.rows == [5]
    assert torch.equal(Autoguidance(good, bad, 1.0)(X, T), good.denoiser(X, T)) and bad.rows == [5]
    assert torch.equal(Autoguidance(good, bad, 0.0)(X, T), bad.denoiser(X, T)) and good.rows == [5, 5]
    spy = Spy(world())
    Autoguidance(spy, spy, 2.0)(X, T, **COND)
    assert [torch.equal(cond["class"], LABELS) for _, _, cond in spy.calls] == [True, True]


def test_a_bad_model_of_another_process_is_refused() -> None:
    with pytest.raises(UsageError, match="schedule"):
        Autoguidance(world("cosine"), world("linear"), 2.0)
    with pytest.raises(UsageError, match="learned its variance"):
        Autoguidance(SpyVariance(world()), world(), 2.0)


@pytest.mark.parametrize("t", [scalar(0.4), T])
@pytest.mark.parametrize("inference", [False, True])
def test_the_exact_classifier_with_scale_one_is_the_conditional_denoiser(t: Tensor, inference: bool) -> None:
    exact, spy = world(), Spy(world())
    with torch.inference_mode(inference):
        x, t, labels = X.clone(), t.clone(), LABELS.clone()
        out = ClassifierGuidance(spy, exact.log_posterior, 1.0)(x, t, **{"class": labels})
        assert out.is_inference() == inference
    close(out, exact(X, t, **COND))
    assert spy.rows == [5] and spy.calls[0][2] == {}


def test_classifier_guidance_beside_a_conditional_model_and_null_rows() -> None:
    """If the denoiser is given the class too, w adds to the 1 that this is worth; a null row is not guided."""
    exact = world()
    close(
        ClassifierGuidance(exact, exact.log_posterior, 1.5, conditional=True)(X, T, **COND),
        ClassifierFree(exact, 2.5)(X, T, **COND),
    )
    out = ClassifierGuidance(exact, exact.log_posterior, 3.0)(X, T, **null(COND))
    close(out, exact(X, T))
    assert torch.equal(ClassifierGuidance(exact, exact.log_posterior, 0.0)(X, T, **COND), exact(X, T))
    with pytest.raises(UsageError, match="class 3 is out of range"):
        ClassifierGuidance(exact, exact.log_posterior, 1.0)(X, T, **{"class": torch.full((5,), 3)})


def test_a_learned_variance_stays_the_conditional_one() -> None:
    spy, label = SpyVariance(world()), LABELS.double()[:, None].expand(5, 2)
    for rule in (
        ClassifierFree(spy, 3.0),
        Rescale(ClassifierFree(spy, 3.0), 0.7),
        Threshold(ClassifierFree(spy, 3.0)),
        Interval(ClassifierFree(spy, 3.0), spy, 0.3, 1.0),
        Factorised(spy, {"class": 3.0}),
        Autoguidance(spy, spy, 3.0),
        ClassifierGuidance(spy, world().log_posterior, 3.0, conditional=True),
    ):
        x_0, share = rule.predict(X, T, **COND)
        assert torch.equal(share, label)
        assert torch.equal(x_0, rule(X, T, **COND))
    assert bool((ClassifierFree(spy, 0.0).predict(X, T, **COND)[1] == -1).all())
    assert not hasattr(ClassifierFree(world(), 3.0), "predict")


def test_rules_compose_under_every_kind_of_sampler() -> None:
    """Ancestral with a learned variance, adaptive with times of its own for each sample, under inference mode."""
    exact = world("linear")

    def stack(denoiser: Any) -> Any:
        return Threshold(Interval(Rescale(ClassifierFree(denoiser, 2.0), 0.5), denoiser, 0.1, 5.0), 0.995, limit=4.0)

    cond = {"class": LABELS}
    x = sample(stack(SpyVariance(exact)), (2,), 5, steps=8, sampler="ancestral", variance="learned", cond=cond)
    assert bool(x.isfinite().all())
    x = sample(stack(exact), (2,), 5, steps=400, sampler="dopri5", cond=cond)
    one = sample(stack(exact), (2,), 1, steps=400, sampler="dopri5", first_index=3, cond={"class": LABELS[3:4]})
    torch.testing.assert_close(x[3:4], one, rtol=1e-4, atol=1e-4)
    guided = ClassifierGuidance(exact, exact.log_posterior, 1.0)
    a, b = (sample(d, (2,), 5, steps=30, sampler="ddim", cond=cond) for d in (guided, exact))
    torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


def test_guidance_can_be_differentiated() -> None:
    """Other rules need this: the derivative of the mix is the mix of the derivatives."""
    exact, w = world(), 2.0
    x = X.clone().requires_grad_()

    def slope(function: Any, **cond: Tensor) -> Tensor:
        return torch.autograd.grad(function(x, T, **cond).sum(), x)[0]

    expected = slope(exact) + w * (slope(exact, **COND) - slope(exact))
    close(slope(ClassifierFree(exact, w), **COND), expected)
