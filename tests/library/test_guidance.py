"""Guidance rules against their formulas, on mixtures whose conditional and unconditional denoisers are exact."""

import itertools
import math

import pytest
import torch
from guided_worlds import BOTH, COND, LABELS, Spy, T, X, close, null, product, world
from torch import Tensor
from worlds import covariance, f64, gaussian, scalar

from gendi.diffusion.conditions import null_like
from gendi.diffusion.gaussian.exact import ConditionalMixture, GaussianDenoiser
from gendi.diffusion.gaussian.guidance import (
    Autoguidance,
    ClassifierFree,
    ClassifierGuidance,
    Factorised,
    by_log_snr,
)
from gendi.diffusion.gaussian.process import x0_from_score
from gendi.diffusion.gaussian.samplers import sample
from gendi.diffusion.gaussian.schedule import make_schedule
from gendi.errors import UsageError


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


def test_factorised_scales_may_be_negative_functions_of_time() -> None:
    exact = product()
    of_time = Factorised(exact, {"shape": 2.0, "colour": lambda t: -0.5 * torch.ones_like(t)})
    close(of_time(X, T, **BOTH), Factorised(exact, {"shape": 2.0, "colour": -0.5})(X, T, **BOTH))


def test_factorised_calls_only_the_branches_it_needs() -> None:
    spy, joint = Spy(product()), product()(X, T, **BOTH)
    assert torch.equal(Factorised(spy, {"shape": 1.0, "colour": 1.0}, nested=True)(X, T, **BOTH), joint)
    assert torch.equal(
        Factorised(spy, {"shape": 1.0, "colour": 0.0})(X, T, **BOTH), product()(X, T, shape=BOTH["shape"])
    )
    Factorised(spy, {"shape": 3.0, "colour": 3.0}, nested=True)(X, T, **BOTH)  # w_1 = w_2: joint and null alone
    assert spy.rows == [5, 5, 10]
    kept = Factorised(spy, {"shape": 3.0})(X, T, **BOTH)  # colour has no scale, so both branches have it
    close(kept, ClassifierFree(product(), 3.0, names=["shape"])(X, T, **BOTH))
