"""Whatever models come with gendi, they are what their cards say.

Rounding: a card gives |D_16 - D_32| / |D_32|, and D_32 did not come along. But any float32 weights that round to the
shipped ones could have been it: weights drawn evenly within half a unit of the last place of float16 around each
shipped one change the answers by as much, up to chance.
"""

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from torch import Tensor

import gendi
from gendi.data import open_data
from gendi.data.images.digit_classifier import class_probabilities, load_classifier
from gendi.errors import GendiError
from gendi.evaluate import Evaluation
from gendi.storage.safe_tensors import read_header
from gendi.train.kept.bundle import Bundle
from gendi.train.kept.shipped import home, read_shipped, shipped_names

PACKAGE = Path(gendi.__file__).parent
MOST_BYTES = 8_000_000
NAMES = shipped_names()
MEASURED = [name for name in NAMES if (home() / name / "evaluation.json").is_file()]


def test_there_are_some_and_all_weights_are_small_enough() -> None:
    assert NAMES[:1] == ("digits",)
    assert sum(path.stat().st_size for path in PACKAGE.rglob("*.safetensors")) <= MOST_BYTES


@pytest.mark.parametrize("name", NAMES)
def test_a_model_is_whole_and_its_card_is_about_it(name: str) -> None:
    bundle, card = gendi.load(name), read_shipped(name)
    assert bundle.sha256 == card.weights.sha256
    stored = read_header(card.folder / "model.safetensors")
    assert {dtype for _, dtype in stored.values()} == {torch.float16}
    assert card.facts["parameters"] == sum(tensor.numel() for tensor in bundle.state.values())
    assert card.facts["command"].startswith("gendi ") and card.facts["license"]
    assert all(bundle.meta[key] is not None for key in ("seed", "images", "data_spec", "fingerprint"))
    text = (card.folder / "README.md").read_text(encoding="utf-8")
    assert card.facts["command"] in text and card.facts["license"] in text


@pytest.mark.parametrize("name", MEASURED)
def test_its_figures_are_those_of_the_evaluation_beside_it(name: str) -> None:
    bundle = gendi.load(name)
    found = Evaluation.from_dict(json.loads((home() / name / "evaluation.json").read_text(encoding="utf-8")))
    assert found.source["weights"] == bundle.sha256 and found.fingerprint == bundle.meta["fingerprint"]
    assert found.source["steps"] == bundle.config.sample.steps
    assert {m.name: m.value for m in found.metrics} == {k: v["value"] for k, v in bundle.meta["metrics"].items()}


def could_have_been(weights: Tensor, generator: torch.Generator) -> Tensor:
    """Return weights drawn evenly from those that round to `weights`, as far as these are normal numbers of float16."""
    exponent = torch.floor(torch.log2(weights.abs().clamp(min=2.0**-14)))
    ulp = torch.exp2(exponent - 10)  # a float16 has ten bits after the point
    return weights + ulp * (torch.rand(weights.shape, generator=generator) - 0.5)


def changed(bundle: Bundle, other: Bundle, x_0: Tensor, level: float) -> float:
    """Return |D - D'| / |D'| at the noise level sigma / alpha, root mean squares."""
    schedule = bundle.schedule()
    alpha, sigma = (value.float() for value in schedule(schedule.time(-2 * math.log(level))))
    x_t = alpha * x_0 + sigma * torch.randn(x_0.shape, generator=torch.Generator().manual_seed(1))
    cond = {"class": torch.arange(len(x_0)) % 10}
    with torch.no_grad():
        here, there = (b.denoiser()(x_t, schedule.time(-2 * math.log(level)), **cond) for b in (bundle, other))
    return float((here - there).norm() / there.norm())


@pytest.mark.statistical
@pytest.mark.parametrize("name", NAMES)
def test_rounding_changes_its_answers_by_as_much_as_the_card_says(name: str) -> None:
    """By a third to three times as much: weights and pictures are others, but as many."""
    bundle, generator = gendi.load(name), torch.Generator().manual_seed(0)
    before = {key: could_have_been(tensor, generator) for key, tensor in bundle.state.items()}
    same = torch.cat([(before[key].half().float() == tensor).flatten() for key, tensor in bundle.state.items()])
    assert same.float().mean() > 0.99  # all but some that are powers of two, below which the unit is half as large
    other = dataclasses.replace(bundle, state=before)
    drawn = gendi.sample(bundle, n=20, steps=min(8, bundle.config.sample.steps))
    x_0 = bundle.codec.encode(torch.from_numpy(drawn))
    rounding = bundle.meta["shipped"]["rounding"]
    assert len(rounding) >= 3 and max(rounding.values()) <= 5e-3
    for level, claimed in rounding.items():
        assert claimed / 3 < changed(bundle, other, x_0, float(level)) < 3 * claimed, level


def digits_seen(samples: np.ndarray) -> tuple[np.ndarray, float]:
    """Return the digits that the classifier of the package sees in samples, and the rate of the card that this is."""
    return class_probabilities(load_classifier(), samples).argmax(1), 1.0


def clothes_seen(samples: np.ndarray) -> tuple[np.ndarray, float]:
    """Return the classes that linear discriminants of real pictures see in samples, and how often these are right on
    other real pictures, at least.
    """
    try:
        data = open_data("fashion-mnist")
    except GendiError:
        pytest.skip("the pictures of Fashion-MNIST are not on this machine")

    def flat(pictures: np.ndarray) -> np.ndarray:
        return pictures.reshape(len(pictures), -1) / 255.0

    assert data.train.labels is not None and data.heldout.labels is not None
    judge = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.1)
    judge.fit(flat(data.train.batch(range(8000))), data.train.labels[:8000])
    right = int((judge.predict(flat(data.heldout.batch(range(4000)))) == data.heldout.labels[:4000]).sum())
    return judge.predict(flat(samples)), stats.binomtest(right, 4000).proportion_ci(0.999).low


SEEN = {"mnist": digits_seen, "fashion-mnist": clothes_seen}
"""By the name of the data, a judge of classes that had no part in training or measuring the model."""


@pytest.mark.statistical
@pytest.mark.parametrize(("name", "n"), [(name, 400 if "student" in name else 60) for name in MEASURED])
def test_the_requested_class_is_drawn_as_often_as_the_card_says(name: str, n: int) -> None:
    """The count of n samples is binomial, with the rate p of the card's interval times the rate at which the judge is
    right, up to one chance in 10,000. A judge that errs may be right on more samples than that, as samples are rarer
    borderline cases than pictures, but no more often than always.
    """
    meta = gendi.load(name).meta
    low, high = meta["metrics"]["asked-seen"]["interval"]
    seen, rate = SEEN[meta["data_spec"]](gendi.sample(name, n=n, seed=2))
    count = int((seen == np.arange(n) % 10).sum())
    assert count >= stats.binom.ppf(1e-4, n, low * rate)
    if rate == 1:
        assert count <= stats.binom.ppf(1 - 1e-4, n, high)
