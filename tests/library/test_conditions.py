import inspect

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gendi.diffusion.conditions import ask, drop, is_null, null_like, take, to_tensor
from gendi.diffusion.config import TAKEN, ConditionConfig
from gendi.diffusion.gaussian.denoiser import NetworkDenoiser
from gendi.diffusion.gaussian.samplers import SAMPLERS
from gendi.errors import UsageError
from gendi.train.config import RunConfig

DIGIT = ConditionConfig("class", size=3, names=("one", "two", "three"))
MARKS = ConditionConfig("marks", "tags", size=3, names=("a", "b", "c"))
DOSE = ConditionConfig("dose", "value", size=1)
PLACE = ConditionConfig("place", "vector", size=2)
SMALL = ConditionConfig("small", "image", size=1, via="channels")
ALL = (DIGIT, MARKS, DOSE, PLACE, SMALL)
ASKED = {
    "class": "two",
    "marks": ["a", "c"],
    "dose": 0.5,
    "place": [1.0, 2.0],
    "small": np.full((2, 2, 1), 255, np.uint8),
}


@pytest.mark.parametrize("shape", [(4,), (4, 3), (4, 1, 2, 2)])
@pytest.mark.parametrize("dtype", [torch.int64, torch.float32, torch.float64])
def test_a_null_row_is_known_whatever_its_kind(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    value = torch.arange(int(np.prod(shape))).reshape(shape).to(dtype)
    rows = torch.tensor([False, True, False, True])
    dropped = drop(value, rows)
    assert is_null(null_like(value)).all() and not is_null(value).any()
    assert torch.equal(is_null(dropped), rows)
    assert torch.equal(dropped[0], value[0]) and dropped.dtype == dtype


def test_what_is_asked_of_all_kinds() -> None:
    told = ask(ALL, ASKED, 2)
    assert told["class"].tolist() == [1, 1]
    assert told["marks"].tolist() == [[1, 0, 1]] * 2
    assert told["dose"].tolist() == [0.5, 0.5]
    assert told["place"].tolist() == [[1, 2]] * 2
    assert torch.equal(told["small"], torch.ones(2, 1, 2, 2))


def test_one_for_each_sample() -> None:
    told = ask(ALL, {"class": ["three", 0], "dose": [1.0, 2.0], "place": np.eye(2)}, 2)
    assert told["class"].tolist() == [2, 0] and told["dose"].tolist() == [1, 2]
    assert told["place"].tolist() == [[1, 0], [0, 1]]
    assert told.keys() == {"class", "dose", "place"}  # what is not asked for is null


@given(st.integers(0, 50), st.integers(1, 20))
def test_classes_in_turn_do_not_depend_on_where_one_begins(first: int, n: int) -> None:
    whole = ask(ALL, None, first + n)["class"]
    assert torch.equal(ask(ALL, None, n, first)["class"], whole[first:])
    assert ask([DOSE], None, n) == {} and ask([], {}, n) == {}


def test_digits_have_words_too() -> None:
    digits = ConditionConfig("class", size=10, names=tuple("0123456789"))
    assert ask([digits], {"class": ["three", "Nine", "7"]}, 3)["class"].tolist() == [3, 9, 7]
    assert ask([DIGIT], {"class": "three"}, 1)["class"].tolist() == [2]  # a name of its own comes first
    with pytest.raises(UsageError, match="zero"):
        ask([DIGIT], {"class": "zero"}, 1)


def test_none_is_null() -> None:
    assert ask(ALL, {"class": None, "dose": 1}, 1).keys() == {"dose"}
    assert is_null(ask(ALL, {"class": -1}, 2)["class"]).all()


@pytest.mark.parametrize(
    ("asked", "match"),
    [
        ({"class": 3}, "0 to 2"),
        ({"class": -2}, "0 to 2"),
        ({"class": 0.5}, "0 to 2"),
        ({"class": "tow"}, "two"),
        ({"class": [0, 1, 2]}, "3 values for 2"),
        ({"clas": 1}, "class"),
        ({"marks": ["d"]}, "tag of marks"),
        ({"dose": "much"}, "much"),
        ({"dose": [1.0, 2.0, 3.0]}, "3 values for 2"),
        ({"dose": float("inf")}, "infinity"),
        ({"place": 1.0}, r"\(2, 2\)"),
        ({"place": np.zeros((2, 3))}, r"\(2, 2\)"),
        ({"small": np.zeros((2, 2, 3), np.uint8)}, r"\(H, W, 1\)"),
        ({"small": np.zeros((2, 2, 1))}, "float64"),
    ],
)
def test_what_does_not_fit_is_named(asked: dict[str, object], match: str) -> None:
    with pytest.raises(UsageError, match=match):
        ask(ALL, asked, 2)


def test_an_unconditional_model_is_not_asked() -> None:
    with pytest.raises(UsageError, match="without conditions"):
        ask((), {"class": 1}, 2)


def test_rows_of_data_become_tensors() -> None:
    assert to_tensor(DIGIT, np.array([2, 0], np.uint8)).tolist() == [2, 0]
    picture = to_tensor(SMALL, np.array([0, 255], np.uint8).reshape(1, 1, 2, 1))
    assert picture.tolist() == [[[[-1.0, 1.0]]]]
    assert take({"dose": torch.arange(5.0)}, slice(1, 3))["dose"].tolist() == [1, 2]
    assert take(None, slice(1, 3)) == {}


def test_no_condition_can_take_an_argument_of_a_sampler() -> None:
    runs = [info.run for info in SAMPLERS.values()]
    taken = {name for run in [*runs, NetworkDenoiser.forward] for name in inspect.signature(run).parameters}
    assert taken - set(TAKEN) <= {"cond", "self"}


@pytest.mark.parametrize(
    ("conditions", "match"),
    [
        ((DIGIT, DIGIT), "the only one"),
        ((ConditionConfig("two words"),), "must be a word"),
        ((ConditionConfig("eta"),), "samplers have"),
        ((ConditionConfig("class", size=2, names=("a",)),), "1 names for a size of 2"),
        ((ConditionConfig("class", size=0),), "size"),
        ((ConditionConfig("class", dropout=1.5),), "dropout"),
        ((ConditionConfig("small", "image", size=1),), "is an image"),
        ((ConditionConfig("dose", "value", size=1, via="channels"),), "is no image"),
        ((ConditionConfig("dose", "value", size=1, std=0.0),), "std"),
    ],
)
def test_conditions_that_cannot_be_are_refused(conditions: tuple[ConditionConfig, ...], match: str) -> None:
    with pytest.raises(UsageError, match=match):
        RunConfig(conditions=conditions).validate()
    assert RunConfig.from_dict(RunConfig(conditions=ALL).to_dict()).conditions == ALL
