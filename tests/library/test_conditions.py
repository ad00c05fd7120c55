import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gendi.diffusion.conditions import drop, is_null, null_like, requested_conditions, take, to_tensor
from gendi.diffusion.config import ConditionConfig
from gendi.diffusion.gaussian.conditioned import conditioned
from gendi.diffusion.gaussian.config import Parameterisation
from gendi.diffusion.gaussian.denoiser import NetworkDenoiser
from gendi.diffusion.gaussian.guidance import ClassifierFree
from gendi.diffusion.gaussian.samplers import SAMPLERS, Drawing, get_sampler, sample
from gendi.diffusion.gaussian.schedule.preserving import Cosine
from gendi.diffusion.networks.build import build_network
from gendi.diffusion.networks.config import NetworkConfig
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


def test_requests_of_all_kinds() -> None:
    cond = requested_conditions(ALL, ASKED, 2)
    assert cond["class"].tolist() == [1, 1]
    assert cond["marks"].tolist() == [[1, 0, 1]] * 2
    assert cond["dose"].tolist() == [0.5, 0.5]
    assert cond["place"].tolist() == [[1, 2]] * 2
    assert torch.equal(cond["small"], torch.ones(2, 1, 2, 2))


def test_one_for_each_sample() -> None:
    cond = requested_conditions(ALL, {"class": ["three", 0], "dose": [1.0, 2.0], "place": np.eye(2)}, 2)
    assert cond["class"].tolist() == [2, 0] and cond["dose"].tolist() == [1, 2]
    assert cond["place"].tolist() == [[1, 0], [0, 1]]
    assert cond.keys() == {"class", "dose", "place"}  # a condition that is not requested is null
    pictures = np.array([0, 255], np.uint8).repeat(4).reshape(2, 2, 2, 1)
    cond = requested_conditions(ALL, {"marks": [[1.0, 0.0, 1.0], [0.0, 1.0, 0.0]], "small": pictures}, 2)
    assert cond["marks"].tolist() == [[1, 0, 1], [0, 1, 0]]  # tags as numbers, and as numbers for all samples
    assert cond["small"].mean((1, 2, 3)).tolist() == [-1, 1]
    assert requested_conditions(ALL, {"marks": [0.0, 1.0, 1.0]}, 2)["marks"].tolist() == [[0, 1, 1]] * 2


@given(st.integers(0, 50), st.integers(1, 20))
def test_classes_in_turn_do_not_depend_on_where_one_begins(first: int, n: int) -> None:
    whole = requested_conditions(ALL, None, first + n)["class"]
    assert torch.equal(requested_conditions(ALL, None, n, first)["class"], whole[first:])
    assert requested_conditions([DOSE], None, n) == {} and requested_conditions([], {}, n) == {}


def test_digits_have_words_too() -> None:
    digits = ConditionConfig("class", size=10, names=tuple("0123456789"))
    assert requested_conditions([digits], {"class": ["three", "Nine", "7"]}, 3)["class"].tolist() == [3, 9, 7]
    own = requested_conditions([DIGIT], {"class": "three"}, 1)["class"]
    assert own.tolist() == [2]  # a class's own name comes first
    with pytest.raises(UsageError, match="zero"):
        requested_conditions([DIGIT], {"class": "zero"}, 1)


def test_none_is_null() -> None:
    assert requested_conditions(ALL, {"class": None, "dose": 1}, 1).keys() == {"dose"}
    assert is_null(requested_conditions(ALL, {"class": -1}, 2)["class"]).all()


@pytest.mark.parametrize(
    ("requested", "match"),
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
def test_what_does_not_fit_is_named(requested: dict[str, object], match: str) -> None:
    with pytest.raises(UsageError, match=match):
        requested_conditions(ALL, requested, 2)


def test_an_unconditional_model_refuses_conditions() -> None:
    with pytest.raises(UsageError, match="without conditions"):
        requested_conditions((), {"class": 1}, 2)


def test_rows_of_data_become_tensors() -> None:
    assert to_tensor(DIGIT, np.array([2, 0], np.uint8)).tolist() == [2, 0]
    picture = to_tensor(SMALL, np.array([0, 255], np.uint8).reshape(1, 1, 2, 1))
    assert picture.tolist() == [[[[-1.0, 1.0]]]]
    assert take({"dose": torch.arange(5.0)}, slice(1, 3))["dose"].tolist() == [1, 2]
    assert take(None, slice(1, 3)) == {}


NAMES = ("self", "eta", "noise", "order", "times", "x", "t", "x_t", "denoiser", "cond", "steps", "time_value")


@pytest.mark.parametrize("sampler", [name for name, info in SAMPLERS.items() if info.takes != "map"])
def test_a_condition_may_have_the_name_of_any_argument(sampler: str) -> None:
    """A network is given them by name; the sampler, with an option of the same name, does not see them."""
    specs = [ConditionConfig(name, size=2) for name in NAMES]
    network = build_network(NetworkConfig(kind="mlp", channels=(8,), blocks=1, time_dim=8), (3,), specs)
    denoiser = ClassifierFree(NetworkDenoiser(network, Cosine(), Parameterisation()), 2.0)
    options = {"eta": 0.5} if "eta" in get_sampler(sampler).options else {}
    how = Drawing(steps=100 if get_sampler(sampler).adaptive else 4, sampler=sampler, options=options)
    cond = {name: torch.tensor([0, 1]) for name in NAMES}
    assert sample(denoiser, (3,), 2, how, cond=cond).shape == (2, 3)


def test_the_conditions_of_a_batch_are_bound_by_name() -> None:
    received: dict[str, torch.Tensor] = {}

    class Spy:
        schedule = Cosine()

        def __call__(self, x_t: torch.Tensor, t: torch.Tensor, /, **cond: torch.Tensor) -> torch.Tensor:
            received.update(cond)
            return x_t

    x, spy, cond = torch.zeros(2, 3), Spy(), {name: torch.arange(2) for name in (*NAMES, "self")}
    assert conditioned(spy, None) is spy
    assert torch.equal(conditioned(spy, cond)(x, torch.tensor(0.5)), x)
    assert received == cond


@pytest.mark.parametrize(
    ("conditions", "match"),
    [
        ((DIGIT, DIGIT), "must be a word that no other condition has"),
        ((ConditionConfig("two words"),), "must be a word"),
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
