"""Doses of combinations in scores: one number for all parts or one each, told apart exactly and shown as written."""

import warnings
from typing import Any

import anndata
import numpy as np
import pandas as pd
import pytest

from gendi.cells import perturbation
from gendi.data.cells.perturbation.treatment import parse_doses
from gendi.data.cells.scoring import score
from gendi.data.cells.scoring.inputs import Condition
from gendi.data.cells.scoring.references import reference_shifts
from gendi.errors import DataError

KEYS = {"control": "DMSO", "perturbation": "drug", "cell_type": "type", "dose": "dose"}
GIVEN = (("A", "1"), ("B", "0.5"), ("A+B", "1+0.5"), ("A+B", "0.5+1"), ("A+B", "2+2"))
UP = {"A": slice(0, 4), "B": slice(4, 8)}


def cells(seed: int, given: tuple[tuple[str, str], ...] = GIVEN) -> Any:
    """Return cells of two types in which A and B each raise four genes by a factor of 1 + 2 dose."""
    rng = np.random.default_rng(seed)
    rates = np.random.default_rng(9).gamma(2.0, 4.0, 20) + 2
    parts, rows = [], []
    for cell_type in "xy":
        for drug, dose in (("DMSO", "0"), *given):
            mean = rates.copy()
            if drug != "DMSO":
                names = drug.split("+")
                for name, x in zip(names, dose.split("+") * (1 + ("+" in drug and "+" not in dose)), strict=True):
                    mean[UP[name]] *= 1 + 2 * float(x)
            parts.append(rng.poisson(mean, (30, 20)))
            rows += [(cell_type, drug, dose)] * 30
    obs = pd.DataFrame(rows, columns=["type", "drug", "dose"], index=[f"c{i}" for i in range(len(rows))])
    return anndata.AnnData(
        np.concatenate(parts).astype(float), obs=obs, var=pd.DataFrame(index=[f"g{i}" for i in range(20)])
    )


def test_combinations_with_the_doses_of_their_parts_exchanged_are_two_conditions() -> None:
    found = score(cells(1), cells(2), **KEYS)
    names = [str(condition) for condition in found.conditions]
    assert len(names) == 10 and {"A+B at 1+0.5 in x", "A+B at 0.5+1 in x", "A+B at 2 in y"} <= set(names)
    swapped = cells(1)
    other = {"1+0.5": "0.5+1", "0.5+1": "1+0.5"}
    swapped.obs["dose"] = [other.get(dose, dose) for dose in swapped.obs["dose"]]
    worse = score(swapped, cells(2), **KEYS)
    for i, condition in enumerate(found.conditions):
        right, wrong = (each.each["prediction"]["mae"][i] for each in (found, worse))
        assert (wrong > 2 * right) == bool(condition.parts)  # genes off by factors of 2 and 3 against the noise of 30
    frame = found.frame()
    assert {"1", "0.5", "1+0.5", "0.5+1", "2"} == set(frame["dose"]) and "parts" not in frame


def test_one_number_for_all_parts_is_the_same_as_the_number_for_each() -> None:
    one, each = cells(1, (("A+B", "2"),)), cells(1, (("A+B", "2+2.0"),))
    assert np.array_equal(one.X, each.X)
    assert score(one, each, **KEYS).scores == score(each, one, **KEYS).scores
    number = cells(1, (("A", "2"),))
    words = number.copy()
    number.obs["dose"] = number.obs["dose"].astype(float)
    assert score(number, words, **KEYS).frame()["dose"].tolist() == [2.0] * len(score(words, words, **KEYS).frame())


def test_doses_that_real_cells_lack_are_named_with_the_nearest() -> None:
    with pytest.raises(
        DataError, match=r"A\+B at 1\+0\.25 in x and 1 more.*nearest that it has is A\+B at (1\+0\.5|0\.5\+1)"
    ):
        score(cells(1, (("A+B", "1+0.25"),)), cells(2), **KEYS)
    bad = cells(1, (("A+B", "1+0.5"),))
    bad.obs["dose"] = bad.obs["dose"].replace("1+0.5", "1+low")
    with pytest.raises(DataError, match=r"60 treated cells.*'1\+low'.*such as 1\+0\.5"):
        score(bad, cells(2), **KEYS)


def test_another_sign_and_large_numbers() -> None:
    under = cells(1)
    under.obs["dose"] = under.obs["dose"].str.replace("+", "_")
    again = cells(2)
    again.obs["dose"] = again.obs["dose"].str.replace("+", "_")
    plain, other = score(cells(1), cells(2), **KEYS), score(under, again, **KEYS, combine="_")
    assert plain.scores == other.scores
    assert parse_doses("1e+06+0.5", 2, "+") == (1e6, 0.5)
    assert parse_doses("1e6+2E-3", 2, "+") == (1e6, 2e-3)


def test_references_of_a_combination_are_of_the_same_doses() -> None:
    at = {
        Condition("x", "A+B", 1.0, (0.5, 2.0)): 1.0,
        Condition("y", "A+B", 1.0, (0.5, 2.0)): 2.0,
        Condition("y", "A+B", 1.0, (2.0, 0.5)): 10.0,
        Condition("y", "A+B", 1.0): 30.0,
        Condition("x", "A+B", 2.0): 40.0,
    }
    shifts = {condition: np.full(3, value) for condition, value in at.items()}
    asked = next(iter(at))
    found, _ = reference_shifts(shifts, [asked])
    assert found["additive"][asked] == pytest.approx(np.full(3, 2.0))
    assert "interpolation" not in found  # nothing lies between two doses of two parts on a line


def test_a_predicted_combination_is_scored_at_its_doses() -> None:
    real = cells(1)
    keys = {"drug": "drug", "cell_type": "type", "dose": "dose", "control": "DMSO"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of a curve at the edge: single drugs have one dose here
        model = perturbation.fit(real, **keys)
    found = score(perturbation.predict(model, cell_type="x", drug="A+B", dose="1+0.5"), real, **KEYS)
    assert [str(condition) for condition in found.conditions] == ["A+B at 1+0.5 in x"]
