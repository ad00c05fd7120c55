"""Intervals, rescaling, thresholds, autoguidance and classifiers against their formulas."""

import math
from typing import Any

import pytest
import torch
from guided_worlds import COND, LABELS, Spy, SpyVariance, T, X, close, null, world
from torch import Tensor
from worlds import covariance, f64, scalar

from gendi.diffusion.gaussian.exact import ConditionalMixture, GaussianDenoiser
from gendi.diffusion.gaussian.guidance import (
    Autoguidance,
    ClassifierFree,
    ClassifierGuidance,
    Factorised,
    Interval,
    Rescale,
    Threshold,
)
from gendi.diffusion.gaussian.samplers import sample
from gendi.diffusion.gaussian.schedule import make_schedule
from gendi.errors import UsageError


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
    big, small = torch.arange(1.0, 11.0, dtype=torch.float64), torch.linspace(-0.6, 0.5, 10, dtype=torch.float64)
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
