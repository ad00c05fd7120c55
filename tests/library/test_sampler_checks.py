"""What `sample` refuses: a denoiser that returns another shape or NaN, and an option that the sampler does not have."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from gendi.diffusion.gaussian.samplers import SAMPLERS, get_sampler, sample
from gendi.diffusion.gaussian.samplers.checked import checked
from gendi.diffusion.gaussian.schedule import Schedule, make_schedule
from gendi.errors import DivergedError, UsageError

ANY_DENOISER = sorted(name for name, info in SAMPLERS.items() if info.takes != "map")


class Broken:
    """A denoiser that returns half of x_t, but something else from call `after` on."""

    def __init__(self, wrong: Callable[[Tensor], Tensor], after: int = 1, schedule: Schedule | None = None) -> None:
        self.schedule, self.wrong, self.after, self.calls = schedule or make_schedule("cosine", 100), wrong, after, 0

    def __call__(self, x_t: Tensor, t: Tensor, **_: Any) -> Tensor:
        self.calls += 1
        return self.wrong(x_t) if self.calls >= self.after else x_t / 2


def spoilt(value: float) -> Callable[[Tensor], Tensor]:
    def wrong(x: Tensor) -> Tensor:
        x = x.clone()
        x.view(-1)[4] = value
        return x

    return wrong


@pytest.mark.parametrize("sampler", ANY_DENOISER)
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_nan_names_the_call_the_time_and_the_shape(sampler: str, value: float) -> None:
    with pytest.raises(DivergedError, match=rf"in 1 of 8 values of x0_hat in call 1 of {sampler}, at t = 1, for x_t"):
        sample(Broken(spoilt(value)), (4,), 2, steps=8, sampler=sampler)


def test_nan_in_a_later_call() -> None:
    with pytest.raises(DivergedError, match=r"call 3 of ddim, at t = 0.5, for x_t of shape \(2, 4\); x_t was finite"):
        sample(Broken(spoilt(float("nan")), after=3), (4,), 2, steps=4, sampler="ddim")


def test_nan_that_a_sampler_made_itself() -> None:
    with pytest.raises(DivergedError, match="x_t was not finite either"):
        checked(Broken(lambda x: x), "ddim")(torch.full((1, 2), torch.nan), torch.ones(()))


def test_finite_values_whose_sum_overflows_are_finite() -> None:
    """Float32 ends at 3.4e38; and infinities of both signs, whose sum is NaN, are found."""
    x, t = torch.zeros(1, 4), torch.ones(())
    assert checked(Broken(lambda x: x + 3e38), "ddim")(x, t).sum().isinf()
    both = torch.tensor([[1.0, torch.inf, -torch.inf, 2.0]])
    with pytest.raises(DivergedError, match="in 2 of 4 values"):
        checked(Broken(lambda _: both), "ddim")(x, t)


@pytest.mark.parametrize("sampler", ANY_DENOISER)
@pytest.mark.parametrize("wrong", [lambda x: x[:1], lambda x: x[..., :1], lambda x: x.mean(), lambda x: x[:, None]])
def test_another_shape(sampler: str, wrong: Callable[[Tensor], Tensor]) -> None:
    with pytest.raises(UsageError, match=r"of shape \(.*\) in call 1 of .*, at t = 1, for x_t of shape \(2, 4\)"):
        sample(Broken(wrong), (4,), 2, steps=8, sampler=sampler)


class Learned(Broken):
    """A `Broken` denoiser whose variance is wrong."""

    def predict(self, x_t: Tensor, t: Tensor, **_: Any) -> tuple[Tensor, Tensor]:
        return x_t / 2, self(x_t, t)


def test_a_learned_variance_is_watched_too() -> None:
    x, t = torch.ones(2, 4), torch.tensor(0.5)
    watched = checked(Learned(lambda x: x), "ancestral")
    assert torch.equal(watched.predict(x, t)[1], x)  # type: ignore[attr-defined]
    assert watched.calls == 1
    assert not hasattr(checked(Broken(lambda x: x), "ancestral"), "predict")
    with pytest.raises(UsageError, match="share of shape"):
        checked(Learned(lambda x: x[:1]), "ancestral").predict(x, t)  # type: ignore[attr-defined]
    with pytest.raises(DivergedError, match="values of the variance's share"):
        checked(Learned(spoilt(float("nan"))), "ancestral").predict(x, t)  # type: ignore[attr-defined]


def test_the_mean_beside_a_learned_variance_is_watched_too() -> None:
    class Apart(Broken):
        def predict(self, x_t: Tensor, t: Tensor, **_: Any) -> tuple[Tensor, Tensor]:
            return self(x_t, t), x_t

    x, t = torch.ones(2, 4), torch.tensor(0.5)
    with pytest.raises(UsageError, match=r"x0_hat of shape \(1, 4\) in call 1 .*, for x_t of shape \(2, 4\)"):
        checked(Apart(lambda x: x[:1]), "ancestral").predict(x, t)  # type: ignore[attr-defined]
    with pytest.raises(DivergedError, match=r"1 of 8 values of x0_hat .*; x_t was finite\."):
        checked(Apart(spoilt(float("nan"))), "ancestral").predict(x, t)  # type: ignore[attr-defined]


def test_a_word_for_yes_or_no_becomes_one() -> None:
    info = get_sampler("sa-solver")
    assert [info.read_option("sa-solver", "correct", word) for word in ("true", "False")] == [True, False]
    with pytest.raises(UsageError, match="cannot be given as a word"):
        info.read_option("sa-solver", "correct", "perhaps")


@pytest.mark.parametrize(
    ("sampler", "option", "message"),
    [
        ("ddim", "etta", "'etta'. Perhaps you meant 'eta'"),
        ("unipc", "eta", "option of the sampler unipc .*order, rule"),
        ("dpmpp-3m", "order", "dpmpp-3m has no options; got 'order'"),
        ("heun", "steps_", "option of the sampler heun"),
    ],
)
def test_options_that_a_sampler_has_not(sampler: str, option: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        sample(Broken(lambda x: x), (4,), 2, steps=8, sampler=sampler, **{option: 1})


@pytest.mark.parametrize("sampler", ANY_DENOISER)
def test_steps_below_one_and_beyond_the_chain(sampler: str) -> None:
    with pytest.raises(UsageError, match="at least 1 step; got 0"):
        sample(Broken(lambda x: x), (4,), 2, steps=0, sampler=sampler)
    if not SAMPLERS[sampler].adaptive:
        with pytest.raises(UsageError, match="101 calls were asked .* 1 to 100"):
            sample(Broken(lambda x: x), (4,), 2, steps=101, sampler=sampler)
